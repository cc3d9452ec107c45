"""Whose an object is: pseudonyms of what its header says of the person, to hold one fact against others."""

import re
import unicodedata
from datetime import date
from functools import lru_cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from fistula.dicom.header.raw import PADDING
from fistula.dicom.header.spelling import element_at, tag_of
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.parse import number, text

# What de-identification and scanners put where a PatientID should stand, letters and digits alone.
DEFAULTS = re.compile(
    r"(0*|0*1|123(4(56?(78?9?)?)?)?|x+|n?/?a|anon\w*|de?identified|default|dummy|na|nil|no(id|name|ne)?|null|patient(id)?"
    r"|phantom|removed|sample|subject|test|unknown|unbekannt|inconnu|desconocido|xxx+|9{5,}"
    r"|匿名\w*|无名氏?|無名|未知|不明|テスト|患者|익명\w*|테스트|환자)",
    re.IGNORECASE,
)
DAYS_A_YEAR = 365.25
NO_LETTER = "\ufffd"  # what stands for bytes that cannot be decoded
MOST_DIGITS = 64  # as many as a PatientID has characters (LO)
HEIGHTS = (0.3, 2.5)  # metres that a person can have; what is higher is in centimetres


def person_facts(
    dataset: Dataset, pseudonyms: Pseudonyms, *, birth: date | None, day: date | None, age: float | None
) -> dict[str, Any]:
    """The object's patient, and what may contradict that it is one person.

    Args:
        dataset: The header.
        pseudonyms: Names everything.
        birth: Date of birth, where it is known and no placeholder.
        day: Of the study.
        age: As stated, in years.

    Returns:
        `patient_key`, of the PatientID, or where there is none of the study; `is_named`, whether there is one, and
        `is_default_id`, whether it is a word that many people may share and no birth date tells apart (1 January
        does not: it is what de-identification leaves of a year); `issuer_key`, `birth_key`, `institution_key`
        and `person_key` (birth date, sex and day together), each empty where the header does not say; `name_keys`, of
        the words of the name; `device_key`, of the scanner; `alike_key`, the patient's of all ids that differ in case,
        blanks, other signs or leading zeros alone; `near_keys`, of such a word that ends in a number, those of the two
        numbers before and the two after; and on secret scales of the patient's `born`, the day of
        birth that the stated age comes to, `height` in cm, and `second`, when the image was taken.
    """
    patient, sex = patient_id(dataset), text(dataset, "PatientSex")
    study = text(dataset, "StudyInstanceUID") or text(dataset, "SeriesInstanceUID") or text(dataset, "SOPInstanceUID")
    issuer, institution = text(dataset, "IssuerOfPatientID"), text(dataset, "InstitutionName")
    person = f"{birth}|{sex}|{day}" if birth and day else ""
    device = [institution, *(text(dataset, key) for key in ("ManufacturerModelName", "StationName"))]
    device.append(text(dataset, "DeviceSerialNumber"))
    told = {"issuer": issuer.upper(), "birth": str(birth or ""), "institution": institution.upper(), "person": person}
    told["device"] = "\0".join(device) if any(device[2:]) else ""
    key = pseudonyms("patient", patient) if patient else pseudonyms("patient of study", study)
    numbers = {
        "born": round(day.toordinal() - age * DAYS_A_YEAR) if day and age is not None else None,
        "height": _height(dataset),
        "second": _second(dataset, day),
    }
    is_default = _is_default(patient) and (birth is None or (birth.month, birth.day) == (1, 1))
    return {
        "patient_key": key,
        "is_named": bool(patient),
        "is_default_id": is_default,
        **{f"{kind}_key": pseudonyms(kind, value) if value else "" for kind, value in told.items()},
        "alike_key": pseudonyms("patient", _plain(patient)) if patient else "",
        "near_keys": [pseudonyms("patient", near) for near in _near(patient)] if is_default else [],
        "name_keys": [pseudonyms("name", word) for word in _name(dataset)],
        **{scale: None if value is None else pseudonyms.hidden(scale, key, value) for scale, value in numbers.items()},
    }


def patient_id(dataset: Dataset) -> str:
    """PatientID; of bytes that its character set does not have, as Latin letters, so that no two ids become one."""
    element = element_at(dataset, tag_of("PatientID"))
    content = element.value if isinstance(element, RawDataElement) else None
    stated = text(dataset, "PatientID")
    return content.decode("latin-1").strip(PADDING) if content and NO_LETTER in stated else stated


@lru_cache(maxsize=1024)  # the slices of a patient share their id
def _is_default(patient: str) -> bool:
    return DEFAULTS.fullmatch(re.sub(r"[\W_]", "", patient)) is not None


@lru_cache(maxsize=1024)
def _plain(patient: str) -> str:
    """A PatientID without what spreadsheets and typists add or take away."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", patient)).upper().lstrip("0") or patient


@lru_cache(maxsize=1024)
def _near(patient: str) -> list[str]:
    """The plain ids of the two numbers before and the two after the one that a PatientID ends in."""
    plain = _plain(patient)
    stem = plain.rstrip("0123456789")
    # Python reads no number of thousands of digits, and no patient has one.
    if not (digits := plain[len(stem) :]) or len(digits) > MOST_DIGITS:
        return []
    near = (int(digits) + step for step in (-2, -1, 1, 2))
    return [f"{stem}{value:0{len(digits)}}" for value in near if value >= 0]


def _name(dataset: Dataset) -> list[str]:
    """The words of PatientName; none of a name that many may share."""
    element = element_at(dataset, tag_of("PatientName"))
    value = "" if element is None else element.value or ""
    if isinstance(value, bytes) and value.isascii() and b"\x1b" not in value:  # an escape begins another script
        return _words(value.decode("ascii"))
    return _words(text(dataset, "PatientName"))


@lru_cache(maxsize=1024)
def _words(name: str) -> list[str]:
    """Those of a name's first script (others stand after "="); Müller, Mueller and Muller are one."""
    words = re.findall(r"[^\W_]{2,}", unicodedata.normalize("NFC", name.split("=")[0] or name))
    if DEFAULTS.fullmatch("".join(words)):
        return []
    plain = (re.sub(r"[\u0300-\u036f]", "", unicodedata.normalize("NFKD", word.upper())) for word in words)
    return sorted({re.sub("([AOU])E", r"\1", word.replace("Ø", "O").replace("Æ", "A")) for word in plain})


def _height(dataset: Dataset) -> int | None:
    """PatientSize in cm, whether metres are written as the standard wants it or cm."""
    stated = number(dataset, "PatientSize") or 0.0
    metres = stated if stated <= HEIGHTS[1] else stated / 100
    return round(100 * metres) if HEIGHTS[0] <= metres <= HEIGHTS[1] else None


def _second(dataset: Dataset, day: date | None) -> int | None:
    """When the image was taken, in seconds."""
    moment = text(dataset, "AcquisitionDateTime")[8:] or text(dataset, "AcquisitionTime").replace(":", "")
    found = re.match(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)", moment)
    if not found or not day:
        return None
    hours, minutes, seconds = map(int, found.groups())
    return day.toordinal() * 86400 + hours * 3600 + minutes * 60 + seconds
