"""Write results as DICOM: an overlay as Secondary Capture, scores as a Structured Report (TID 1500).

These objects belong to the patient's record and name the patient as the source image does: the user asks for them.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from fistula.dicom.drawn.pointed import SCHEME, Place, measured, place_groups
from fistula.dicom.out.weighed import Weighed, weighed_groups
from fistula.dicom.out.write import IMPLEMENTATION_UID, make_uid, save
from fistula.dicom.pixels.geometry import stance, towards

logging.getLogger("highdicom").setLevel(logging.CRITICAL)  # it would name studies and images on the terminal

MANUFACTURER = "fistula"
# CID 240 of PS3.16.
ANSWERS = {
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("272519000", "SCT", "Absent"),
    "indeterminate": Code("373068000", "SCT", "Undetermined"),
}
# By modality: CID 100 of PS3.16, which may be extended, as here by ultrasound and mammography.
X_RAY = Code("43468-8", "LN", "XR unspecified body region")
PROCEDURES = {
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "CR": X_RAY,
    "DX": X_RAY,
    "RG": X_RAY,
    "MG": Code("71651007", "SCT", "Mammography"),
    "US": Code("25061-3", "LN", "US unspecified body region"),
}
ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
OVERLAY_SERIES, REPORT_SERIES = 9100, 9101


@dataclass(frozen=True)
class Algorithm:
    """What made a result."""

    name: str  # of the run, or of the first of several and how many
    version: str  # of this package
    fingerprint: str  # of the run, or of several together


@dataclass(frozen=True)
class Subject:
    """What is looked for, as a code: value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str


def require_library() -> None:
    """Import now what writing objects takes; a missing extra would else cost every object by itself.

    Raises:
        ImportError: If it is not installed.
    """
    import_module("highdicom")


def write_overlay(
    path: Path,
    image: NDArray[np.uint8],
    source: Dataset,
    *,
    frame: int,
    spacing_mm: float,
    algorithm: Algorithm,
    description: str = "Regions that raised the score (Grad-CAM)",
) -> None:
    """Write an overlay, RGB ``(H, W, 3)``, as a Secondary Capture image of the source's study.

    Args:
        path: File to write.
        image: The picture, in the stored orientation (`fistula.dicom.pixels.geometry.STORED`).
        source: The image that it lies over, as `fistula.dicom.out.original.read_source` gives it for the frame.
        frame: Of the source, from 0.
        spacing_mm: Distance of pixels.
        algorithm: What made it. Its fingerprint, the source and the picture decide the UID: another picture, as where
            other overlays were asked for, must not have the same one.
        description: Of the series that it is in.
    """
    sc: Any = import_module("highdicom.sc")  # here, because an extra brings it
    key = (algorithm.fingerprint, source.SOPInstanceUID, frame)
    cosines = source.get("ImageOrientationPatient")
    lies = stance(list(map(float, cosines))) if cosines else None
    directions = towards(lies.cosines) if lies else None
    with warnings.catch_warnings(action="ignore"):
        capture = sc.SCImage.from_ref_dataset(
            source,
            pixel_array=image,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=make_uid(algorithm.fingerprint, source.SeriesInstanceUID, "overlays", description),
            series_number=OVERLAY_SERIES,
            sop_instance_uid=make_uid(*key, "overlay", digest(image.tobytes())),
            instance_number=int(source.InstanceNumber) + frame,
            manufacturer=MANUFACTURER,
            patient_orientation=directions or ("L", "P"),
            pixel_spacing=(spacing_mm, spacing_mm),
            transfer_syntax_uid=UID("1.2.840.10008.1.2.1"),
        )
    if not directions:
        capture.PatientOrientation = None  # unknown, which may stand empty
    capture.SeriesDescription = description
    capture.DerivationDescription = f"{algorithm.name} {algorithm.fingerprint[:16]}"
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.BurnedInAnnotation = "NO"
    if source.get("BodyPartExamined"):
        capture.BodyPartExamined = source.BodyPartExamined
    else:
        capture.Laterality = None  # asked for where the body part may be a paired one
    capture.ManufacturerModelName = "fistula predict"
    capture.SoftwareVersions = algorithm.version
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if int(source.NumberOfFrames) > 1:
        reference.ReferencedFrameNumber = frame + 1
    capture.SourceImageSequence = [reference]
    _save(capture, path)


def write_report(
    path: Path,
    sources: Sequence[Dataset],
    *,
    score: float,
    answer: str,
    finding: Subject,
    algorithm: Algorithm,
    places: Sequence[Place] = (),
    slices: Sequence[Weighed] = (),
) -> None:
    """Write what a series came to as a Comprehensive SR after TID 1500, with references to its images.

    Args:
        path: File to write.
        sources: The images that were scored, of one study, likewise.
        score: Of the series, in [0, 1].
        answer: One of `ANSWERS`.
        finding: What is looked for.
        algorithm: What scored it.
        places: Where it is, in these images; one in the patient's coordinates makes it a Comprehensive 3D SR.
        slices: Those of the series with their weights in the patient's score, where patients were scored.
    """
    sr: Any = import_module("highdicom.sr")
    first = sources[0]
    identifier = sr.AlgorithmIdentification(
        name=algorithm.name[:64], version=algorithm.version, parameters=[f"run fingerprint {algorithm.fingerprint}"]
    )
    device = sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=make_uid(algorithm.fingerprint, "device"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name="fistula predict",
            serial_number=algorithm.fingerprint[:16],
        ),
    )
    concept = Code(finding.value, finding.scheme, finding.meaning)
    told: Any = {"finding": concept, "algorithm": identifier, "fingerprint": algorithm.fingerprint}
    found = [*place_groups(places, **told), *weighed_groups(slices, **told)]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=make_uid(algorithm.fingerprint, first.SeriesInstanceUID, "tracking"), identifier="series"
        ),
        finding_type=concept,
        algorithm_id=identifier,
        measurements=[measured("score", "Model score", score)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                name=Code("answer", SCHEME, "Answer at the operating point"), value=ANSWERS[answer]
            )
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID) for source in sources
        ],
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=PROCEDURES.get(str(first.Modality), ANY_PROCEDURE),
        imaging_measurements=[group, *found],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    said = report[0].to_json().encode()  # with another content it is another report, and has another UID
    with warnings.catch_warnings(action="ignore"):
        has_points = any(place.in_patient for place in places)
        document = (sr.Comprehensive3DSR if has_points else sr.ComprehensiveSR)(
            evidence=list(sources),
            content=report[0],
            series_instance_uid=make_uid(algorithm.fingerprint, first.StudyInstanceUID, "reports"),
            series_number=REPORT_SERIES,
            sop_instance_uid=make_uid(algorithm.fingerprint, first.SeriesInstanceUID, "report", digest(said)),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="fistula predict",
            software_versions=algorithm.version,
            device_serial_number=algorithm.fingerprint[:16],
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="Scores, not verified",
        )
    _separate(document)
    _save(document, path)


def digest(content: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(content).hexdigest()


def _separate(node: Dataset) -> None:
    """Make every container a list: the library's are running text, of which viewers show values without their names."""
    if node.get("ValueType") == "CONTAINER":
        node.ContinuityOfContent = "SEPARATE"
    for item in node.get("ContentSequence", []):
        _separate(item)


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "FISTULA"
    save(dataset, path)
