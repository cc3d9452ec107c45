"""The slices that a patient's score was made of, in a Structured Report: each one's weight, the heaviest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from fistula.dicom.drawn.pointed import measured
from fistula.dicom.out.write import make_uid


@dataclass(frozen=True)
class Weighed:
    """A slice in its patient's score."""

    source: Dataset  # the image, as `fistula.dicom.out.original.read_source` gives it
    frame: int  # of it, from 0
    weight: float  # share of the patient's score, in [0, 1]; those of all slices of the patient add up to 1
    score: float  # of the slice when it is seen alone, in [0, 1]


def weighed_groups(slices: Sequence[Weighed], *, finding: Code, algorithm: Any, fingerprint: str) -> list[Any]:
    """One group a slice (TID 1501), which refers to that image alone; the heaviest first, ties as they come.

    Args:
        slices: Those of a series.
        finding: What is looked for.
        algorithm: That weighed them, as highdicom has it.
        fingerprint: Of the run; with the image it decides the tracking UID.
    """
    sr: Any = import_module("highdicom.sr")
    groups = []
    for rank, one in enumerate(sorted(slices, key=lambda one: -one.weight), start=1):
        key = (fingerprint, one.source.SOPInstanceUID, one.frame, "weight")
        frames = [one.frame + 1] if int(one.source.NumberOfFrames) > 1 else None
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(uid=make_uid(*key), identifier=f"slice {rank}"),
                finding_type=finding,
                algorithm_id=algorithm,
                measurements=[
                    measured("weight", "Weight in the patient's score", one.weight),
                    measured("alone", "Model score of the single slice", one.score),
                ],
                source_images=[
                    sr.SourceImageForMeasurementGroup(one.source.SOPClassUID, one.source.SOPInstanceUID, frames)
                ],
            )
        )
    return groups
