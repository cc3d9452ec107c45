"""Places of a finding in a Structured Report (TID 1410): in an image (SCOORD), and in the patient (SCOORD3D)."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from fistula.dicom.container import Part, open_part
from fistula.dicom.header.mend import mend
from fistula.dicom.out.write import make_uid
from fistula.dicom.outcome import damage_refused
from fistula.dicom.parse import read_header, text
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.planes import plane_of

SCHEME = "99FISTULA"  # private codes, for what no standard has a code for
NO_UNIT = Code("1", "UCUM", "no units")


@dataclass(frozen=True)
class Place:
    """Where a finding is in an image."""

    source: Dataset  # the image, as `fistula.dicom.out.original.read_source` gives it
    frame: int  # of it, from 0
    row: float  # in its pixels, the centre of the first at 0
    column: float  # likewise
    # Left, posterior, head in mm, and the UID of their frame of reference; None where its header does not say.
    in_patient: tuple[tuple[float, float, float], str] | None
    score: float  # of the slice, in [0, 1]
    answer: Code  # as `fistula.dicom.out.objects.ANSWERS` has it
    hour: float | None  # clock position in (0, 12]; None where it is not known
    from_canal_mm: float | None  # distance from the centre of the anal canal, likewise


def in_patient(
    part: Part, *, limit: int, frame: int, row: float, column: float
) -> tuple[tuple[float, float, float], str] | None:
    """A point of an image in the patient's coordinates (PS3.3 C.7.6.2.1.1), as `Place` has it.

    Args:
        part: The object.
        limit: Bytes that it may unpack to.
        frame: Of it, from 0.
        row: As in `Place`.
        column: Likewise.
    """
    with damage_refused(), open_part(part, limit=limit) as file:
        header = read_header(file, limit=limit).dataset
        mend(header)
    plane, uid = plane_of(Frame(header, frame)), text(header, "FrameOfReferenceUID")
    if plane is None or not uid:
        return None
    x, y, z = plane.points([row], [column])[0].tolist()
    return (x, y, z), uid


def place_groups(places: Sequence[Place], *, finding: Code, algorithm: Any, fingerprint: str) -> list[Any]:
    """Two groups a place, of one tracking identifier: its point in the image, and in the patient where that is known.

    Args:
        places: The most suspicious first.
        finding: What is there.
        algorithm: That found it, as highdicom has it.
        fingerprint: Of the run; with the image and the place's rank it decides the tracking UID.
    """
    sr: Any = import_module("highdicom.sr")
    groups = []
    for rank, place in enumerate(places, start=1):
        key = (fingerprint, place.source.SOPInstanceUID, place.frame, rank, "place")
        tracked = sr.TrackingIdentifier(uid=make_uid(*key), identifier=f"place {rank}")
        frames = [place.frame + 1] if int(place.source.NumberOfFrames) > 1 else None
        image = sr.SourceImageForRegion(place.source.SOPClassUID, place.source.SOPInstanceUID, frames)
        # Column and row, from the corner of the first pixel (PS3.3 C.18.6.1.1).
        point = np.array([[place.column + 0.5, place.row + 0.5]])
        regions = [sr.ImageRegion(graphic_type="POINT", graphic_data=point, source_image=image)]
        if place.in_patient is not None:
            point, uid = np.array([place.in_patient[0]]), place.in_patient[1]
            regions.append(sr.ImageRegion3D(graphic_type="POINT", graphic_data=point, frame_of_reference_uid=uid))
        said = [measured("score", "Model score", place.score)]
        if place.hour is not None:
            said.append(measured("clock", "Clock position in lithotomy", place.hour, Code("h", "UCUM", "hour")))
        if place.from_canal_mm is not None:
            name, unit = "Distance from the center of the anal canal", Code("mm", "UCUM", "millimeter")
            said.append(measured("from_canal", name, place.from_canal_mm, unit))
        answer = Code("answer", SCHEME, "Answer at the operating point")
        groups += [
            sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=tracked,
                referenced_region=region,
                finding_type=finding,
                algorithm_id=algorithm,
                measurements=said,
                qualitative_evaluations=[sr.QualitativeEvaluation(name=answer, value=place.answer)],
            )
            for region in regions
        ]
    return groups


def measured(value: str, meaning: str, number: float, unit: Code = NO_UNIT) -> Any:
    """A number under a private code, as highdicom has it."""
    sr: Any = import_module("highdicom.sr")
    return sr.Measurement(name=Code(value, SCHEME, meaning), value=round(number, 6), unit=unit)
