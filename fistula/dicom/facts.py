"""What is known about an object's frames without their pixels: numbers, listed words and pseudonyms only."""

import re
from datetime import date
from typing import Any

from pydicom.dataset import Dataset

from fistula.dicom import vocabulary
from fistula.dicom.frames import MOSAICS, Frame, component, contrast
from fistula.dicom.geometry import normal, orientation, position_along
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.kinds import num_frames
from fistula.dicom.parse import Header, text, whole
from fistula.dicom.syntax import syntax_name


def frame_facts(header: Header, *, pseudonyms: Pseudonyms, description: str) -> list[dict[str, Any]]:
    """One record a frame.

    Args:
        header: The object.
        pseudonyms: Names its patient, study, series and instance.
        description: Regular expression looked for in the series' and protocol's names; only whether it was found
            leaves this function.

    Returns:
        Records with the columns of `fistula.cohort.survey.FACTS` that concern an image.
    """
    dataset = header.dataset
    shared = _object_facts(header, pseudonyms=pseudonyms, description=description)
    frames = num_frames(header)
    records = []
    for index in range(frames):
        record = shared | _frame_facts(Frame(dataset, index))
        record["frame"] = index
        if frames > 1:
            record["slice_key"] = pseudonyms("frame", f"{record['slice_key']}#{index}")
        records.append(record)
    return records


def _object_facts(header: Header, *, pseudonyms: Pseudonyms, description: str) -> dict[str, Any]:
    dataset = header.dataset
    notes = [] if header.has_preamble else ["no preamble"]
    if lossy := text(dataset, "LossyImageCompression") == "01":
        notes.append("lossy compression in its past")
    photometric = text(dataset, "PhotometricInterpretation")
    if (whole(dataset, "SamplesPerPixel") or 1) > 1 or photometric == "PALETTE COLOR":
        notes.append("colour to grey")
    identity, identity_notes = _identity(dataset, pseudonyms)
    return identity | {
        "instance_number": whole(dataset, "InstanceNumber"),
        "rows": whole(dataset, "Rows"),
        "columns": whole(dataset, "Columns"),
        "frames": num_frames(header),
        "modality": vocabulary.modality(text(dataset, "Modality")),
        "manufacturer": vocabulary.vendor(text(dataset, "Manufacturer")),
        "scanner": vocabulary.model(text(dataset, "ManufacturerModelName"), pseudonyms),
        "contrast": contrast(dataset),
        "syntax": syntax_name(header.syntax),
        "photometric": photometric if photometric in PHOTOMETRICS else "OTHER",
        "bits": whole(dataset, "BitsStored") or whole(dataset, "BitsAllocated"),
        "is_lossy": lossy,
        "is_burned_in": text(dataset, "BurnedInAnnotation").upper() == "YES",
        "is_described": _is_described(dataset, description),
        "age": _age(dataset),
        "sex": vocabulary.sex(text(dataset, "PatientSex")),
        "notes": "|".join(notes + identity_notes),
    }


PHOTOMETRICS = frozenset(
    {
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_PARTIAL_420",
        "YBR_ICT",
        "YBR_RCT",
    }
)


def _identity(dataset: Dataset, pseudonyms: Pseudonyms) -> tuple[dict[str, Any], list[str]]:
    notes = []
    meta = getattr(dataset, "file_meta", None)
    instance = text(dataset, "SOPInstanceUID") or (text(meta, "MediaStorageSOPInstanceUID") if meta else "")
    study, series = text(dataset, "StudyInstanceUID"), text(dataset, "SeriesInstanceUID")
    patient = text(dataset, "PatientID")
    if not patient:
        notes.append("no PatientID: the study stands for the patient")
    whose = ("patient", patient) if patient else ("patient of study", study or series or instance)
    patient_key = pseudonyms(*whose)
    birth, day = _date(dataset, "PatientBirthDate"), _study_date(dataset)
    person = f"{birth}|{text(dataset, 'PatientSex')}|{day}" if birth and day else ""
    identity = {
        "slice_key": pseudonyms("instance", instance) if instance else "",
        "instance_key": pseudonyms("instance", instance) if instance else "",
        "patient_key": patient_key,
        "study_key": pseudonyms("study", study or series or instance),
        "series_key": pseudonyms("series", series or study or instance),
        "person_key": pseudonyms("person", person) if person else "",
        "study_day": pseudonyms.day(patient_key, day.toordinal()) if day else None,
    }
    return identity, notes


def _frame_facts(frame: Frame) -> dict[str, Any]:
    cosines, corner = frame.cosines(), frame.corner()
    plane = normal(cosines) if cosines else None
    spacing = frame.spacing()
    image_type = frame.image_type()
    return {
        "spacing_row": spacing[0] if spacing else None,
        "spacing_col": spacing[1] if spacing else None,
        "cosines": [round(value, 5) for value in cosines] if plane is not None and cosines else None,
        "orientation": orientation(plane) if plane is not None else "",
        "position_mm": position_along(plane, corner) if plane is not None and corner else None,
        "component": component(frame),
        "image_type": " ".join(
            filter(None, (vocabulary.image_type(image_type), vocabulary.scanning_sequence(frame.scanning_sequence())))
        ),
        "is_localizer": any("LOCALI" in value.upper() for value in image_type),
        "is_mosaic": any(word in value.upper() for value in image_type for word in MOSAICS),
    }


def _is_described(dataset: Dataset, pattern: str) -> bool:
    names = " ".join(text(dataset, keyword) for keyword in ("SeriesDescription", "ProtocolName"))
    return re.search(pattern, names, re.IGNORECASE) is not None


def _age(dataset: Dataset) -> float | None:
    """Age in years at the study: from the dates where both are there, else as stated (PS3.5 6.2, VR AS)."""
    birth, day = _date(dataset, "PatientBirthDate"), _study_date(dataset)
    if birth and day and 0 <= (days := (day - birth).days) <= 130 * 366:
        return round(days / 365.25, 1)
    stated = re.fullmatch(r"(\d{1,3})([DWMY])", text(dataset, "PatientAge"))
    if stated is None:
        return None
    per_year = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[stated[2]]
    return round(int(stated[1]) / per_year, 1)


def _study_date(dataset: Dataset) -> date | None:
    dates = (_date(dataset, keyword) for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    return next((day for day in dates if day), None)


def _date(dataset: Dataset, keyword: str) -> date | None:
    found = re.match(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", text(dataset, keyword))
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None
