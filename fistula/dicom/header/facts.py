"""What is known about an object's frames without their pixels: numbers, listed words and pseudonyms only."""

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from pydicom.dataset import Dataset

from fistula.dicom.header import vocabulary
from fistula.dicom.header.acquisition import acquisition, lie_apart, moments, nowhere
from fistula.dicom.header.persons import NO_LETTER, person_facts
from fistula.dicom.header.private import UnreadableError
from fistula.dicom.header.spelling import Mended
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.kinds import num_frames
from fistula.dicom.parse import Header, number, text, whole
from fistula.dicom.pixels.frames import MOSAICS, Frame, component, contrast
from fistula.dicom.pixels.geometry import BY_LOCATION, normal, position_along, stance
from fistula.dicom.pixels.plain import plain_of
from fistula.dicom.pixels.stated import is_rescaled, num_rescale, unused_tables
from fistula.dicom.pixels.syntax import syntax_name

# Series that agree in these may be one that was cut up; the first two must be stated.
ALIKE = ("SeriesNumber", "FrameOfReferenceUID", "Modality", "SeriesDescription", "ProtocolName")
STUDY_STANDS = ": the study is used as the patient"
DUMMY_DATES = frozenset((date(1, 1, 1), date(1753, 1, 1), date(1800, 1, 1), date(1900, 1, 1), date(9999, 12, 31)))
OLDEST = 115.0  # years
ELDEST = 90.0  # years; stands for this and every higher age
SAME_YEARS = 1.5  # stated ages are cut or rounded
PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def frame_facts(
    header: Header,
    *,
    pseudonyms: Pseudonyms,
    description: str,
    described: Sequence[str] = (),
    mended: Mended,
) -> list[dict[str, Any]]:
    """One record a frame.

    Args:
        header: The object.
        pseudonyms: Names its patient, study, series and instance.
        description: Regular expression looked for in the series' and protocol's names; only whether it was found
            leaves this function.
        described: Further ones, looked for likewise.
        mended: What became of the header; gets makers' own elements that cannot be read, and count for nothing here.

    Returns:
        Records with the columns of `fistula.source.survey.FACTS` that concern an image.
    """
    dataset = header.dataset
    shared = _object_facts(header, pseudonyms=pseudonyms, description=description)
    shared["described"] = [_is_described(header.dataset, pattern) for pattern in described]
    frames, records = [Frame(dataset, index) for index in range(num_frames(header))], []
    for index, frame in enumerate(frames):
        while (read := _read_facts(frame, mended)) is None:
            pass
        own, odd = read
        record = shared | own | {"frame": index}
        record["plain"] = plain_of(header, frame) if len(frames) == 1 else ""
        record["notes"] = "|".join([*record["notes"], *sorted(mended.notes), *odd])
        if len(frames) > 1:
            record["slice_key"] = pseudonyms("frame", f"{record['slice_key']}#{index}")
        records.append(record)
    if len({tuple(record["corner"] or ()) for record in records}) > 1:  # a mosaic taken apart keeps its ImageType
        records = [record | {"is_mosaic": False} for record in records]
    elif records[0]["corner"] and lie_apart(frames):
        records = [record | nowhere(record["notes"]) for record in records]
    return records


def _object_facts(header: Header, *, pseudonyms: Pseudonyms, description: str) -> dict[str, Any]:
    dataset = header.dataset
    notes = [] if header.has_preamble else ["no preamble"]
    if lossy := text(dataset, "LossyImageCompression") == "01":
        notes.append("compressed with loss at some point")
    photometric = text(dataset, "PhotometricInterpretation")
    if (whole(dataset, "SamplesPerPixel") or 1) > 1 or photometric == "PALETTE COLOR":
        notes.append("color to gray")
    if text(dataset, "InstanceNumber") and whole(dataset, "InstanceNumber") is None:
        notes.append("an image number that is not a number")
    if text(dataset, "PatientSex") and vocabulary.sex(text(dataset, "PatientSex")) is None:
        notes.append("a sex other than M, F or O")
    identity, identity_notes = _identity(dataset, pseudonyms)
    age, age_notes = _age(dataset)
    return identity | {
        "instance_number": whole(dataset, "InstanceNumber"),
        "rows": whole(dataset, "Rows"),
        "columns": whole(dataset, "Columns"),
        "frames": num_frames(header),
        "modality": vocabulary.modality(text(dataset, "Modality")),
        "manufacturer": vocabulary.vendor(text(dataset, "Manufacturer")),
        "scanner": vocabulary.model(text(dataset, "ManufacturerModelName"), pseudonyms),
        "field_strength": _field_strength(dataset),
        "contrast": contrast(dataset),
        "syntax": syntax_name(header.syntax),
        "photometric": photometric,
        "bits": whole(dataset, "BitsStored") or whole(dataset, "BitsAllocated"),
        "is_lossy": lossy,
        "is_burned_in": text(dataset, "BurnedInAnnotation").upper() == "YES",
        "is_described": _is_described(dataset, description),
        "age": age,
        "sex": vocabulary.sex(text(dataset, "PatientSex")),
        "notes": notes + identity_notes + age_notes,
    }


def _identity(dataset: Dataset, pseudonyms: Pseudonyms) -> tuple[dict[str, Any], list[str]]:
    notes = []
    meta = getattr(dataset, "file_meta", None)
    instance = text(dataset, "SOPInstanceUID") or (text(meta, "MediaStorageSOPInstanceUID") if meta else "")
    study, series = text(dataset, "StudyInstanceUID"), text(dataset, "SeriesInstanceUID")
    whole_uid = text(dataset, "ConcatenationUID")
    birth, day = _date(dataset, "PatientBirthDate"), _study_date(dataset)
    birth = None if birth in DUMMY_DATES else birth
    person = person_facts(dataset, pseudonyms, birth=birth, day=day, age=_stated_age(dataset))
    if NO_LETTER in text(dataset, "PatientID"):
        notes.append("PatientID in another character set than stated, its bytes compared")
    if not person["is_named"]:
        notes.append(f"no PatientID{STUDY_STANDS}")
    uids = {"SOPInstanceUID": instance, "SeriesInstanceUID": series, "StudyInstanceUID": study}
    notes += [f"no {keyword}" for keyword, uid in uids.items() if not uid]
    alike = [study, *(text(dataset, keyword) for keyword in ALIKE)]
    identity = person | {
        "slice_key": pseudonyms("instance", instance) if instance else "",
        "instance_key": pseudonyms("instance", instance) if instance else "",
        "study_key": pseudonyms("study", study or series or instance),
        "series_key": pseudonyms("series", series or study or instance),
        "concatenation_key": pseudonyms("concatenation", whole_uid) if whole_uid else "",
        "parts": [whole(dataset, f"InConcatenation{word}") for word in ("Number", "TotalNumber")],
        "accession_key": pseudonyms("accession", number) if (number := text(dataset, "AccessionNumber")) else "",
        "frame_key": pseudonyms("frame of reference", place) if (place := text(dataset, "FrameOfReferenceUID")) else "",
        "series_alike": pseudonyms("series alike", "\0".join(alike)) if all(alike[:3]) else "",
        "study_day": pseudonyms.day(person["patient_key"], day.toordinal()) if day else None,
    }
    return identity, notes


def _read_facts(frame: Frame, mended: Mended) -> tuple[dict[str, Any], list[str]] | None:
    """As `_frame_facts`; None where a maker's own element could not be read, which is then gone."""
    try:
        return _frame_facts(frame)
    except UnreadableError as error:
        mended.refuse(error.name)
        del error.dataset[error.tag]
        return None


def _frame_facts(frame: Frame) -> tuple[dict[str, Any], list[str]]:
    """Facts of one frame, and what is odd about it."""
    cosines, corner = frame.cosines(), frame.corner()
    lies = stance(cosines) if cosines else None
    plane = normal(lies.cosines) if lies else None
    spacing, location = frame.spacing(), frame.location()
    position = position_along(plane, corner) if plane is not None and corner else None
    along = location if position is None else None
    image_type = frame.image_type()
    facts = {
        "spacing_row": spacing[0] if spacing else None,
        "spacing_col": spacing[1] if spacing else None,
        "cosines": list(lies.cosines) if lies else None,
        "orientation": lies.orientation if lies else "",
        "tilt_degrees": lies.tilt_degrees if lies else None,
        "turned": lies.turned if lies else "",
        "position_mm": position if along is None else along,
        "location": location,
        "corner": list(corner) if plane is not None and corner else None,
        "component": component(frame),
        # Places along an axis that nobody names are not to be mixed with those in the patient.
        "acquisition": f"{acquisition(frame)}{'' if along is None else ' by location'}".strip(),
        "moments": moments(frame),
        "is_rescaled": is_rescaled(frame),
        "num_rescale": num_rescale(frame),
        "is_scaled": frame.scale_slope() is not None or None,
        "image_type": " ".join(
            filter(None, (vocabulary.image_type(image_type), vocabulary.scanning_sequence(frame.scanning_sequence())))
        ),
        "is_localizer": any("LOCALI" in value.upper() for value in image_type),
        "is_mosaic": any(word in value.upper() for value in image_type for word in MOSAICS) or frame.num_tiles() > 1,
    }
    odd = [] if lies else ["an invalid orientation: unchanged" if cosines else "no orientation: unchanged"]
    odd += [] if along is None else [BY_LOCATION]
    return facts, odd + unused_tables(frame)


def _field_strength(dataset: Dataset) -> float | None:
    """MagneticFieldStrength in tesla; some scanners state gauss. None where no magnet for patients has it."""
    stated = number(dataset, "MagneticFieldStrength") or 0.0
    tesla = stated / 10_000 if stated > 100 else stated
    return round(tesla, 3) if 0 < tesla < 20 else None


def _is_described(dataset: Dataset, pattern: str) -> bool:
    names = " ".join(text(dataset, keyword) for keyword in ("SeriesDescription", "ProtocolName"))
    return re.search(pattern, names, re.IGNORECASE) is not None


def _age(dataset: Dataset) -> tuple[float | None, list[str]]:
    """Age in years at the study: from the dates where both are there, else as stated (PS3.5 6.2, VR AS).

    One that no patient has is left out, and said: archives write dates such as 1900-01-01 where none is known, or the
    study's own.
    """
    notes = []
    birth, day = _date(dataset, "PatientBirthDate"), _study_date(dataset)
    by_dates = None
    if birth and day:
        days = (day - birth).days
        by_dates = round(days / 365.25, 1) if birth not in DUMMY_DATES and 0 < days <= OLDEST * 365.25 else None
        notes += ["an implausible birth date"] if by_dates is None else []
    elif not birth and text(dataset, "PatientBirthDate"):
        notes.append("an invalid birth date")
    stated = _stated_age(dataset)
    if stated is None and text(dataset, "PatientAge"):
        notes.append("an implausible age")
    if by_dates is not None and stated is not None and abs(by_dates - stated) > SAME_YEARS:
        notes.append("birth date and age differ")
    age = stated if by_dates is None else by_dates
    # 45 CFR 164.514(b)(2)(i)(C): ages over 89 are one category.
    return (age if age is None else min(age, ELDEST)), notes


def _stated_age(dataset: Dataset) -> float | None:
    """PatientAge in years; None where there is none, or one that no patient has."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text(dataset, "PatientAge").upper())
    years = int(found[1]) / PER_YEAR[found[2]] if found else 0.0
    return round(years, 1) if 0 < years <= OLDEST else None


def _study_date(dataset: Dataset) -> date | None:
    dates = (_date(dataset, keyword) for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate"))
    return next((day for day in dates if day), None)


def _date(dataset: Dataset, keyword: str) -> date | None:
    return _day(text(dataset, keyword))


@lru_cache(maxsize=1024)
def _day(stated: str) -> date | None:
    found = re.match(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", stated)
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None
