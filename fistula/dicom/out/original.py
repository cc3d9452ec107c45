"""What results say of the image that they refer to: its patient and study, as it has them, in a form that is valid."""

import re
import warnings
from collections.abc import Callable
from datetime import date
from typing import Any

from pydicom.charset import convert_encodings, python_encoding
from pydicom.dataset import Dataset
from pydicom.uid import UID

from fistula.dicom.container import Part, open_part
from fistula.dicom.header.mend import mend
from fistula.dicom.outcome import NotTaken, damage_refused
from fistula.dicom.parse import numbers, read_header, text, whole
from fistula.dicom.pixels.frames import Frame
from fistula.errors import DataError

CHARSET = "SpecificCharacterSet"
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Names and identifiers stay as they are, to the byte: whoever stores the object knows the patient by them.
NAMES = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
LARGEST = 2**31 - 1  # of a value of IS
python_encoding.setdefault("ISO_IR 203", "iso8859_15")  # of the standard since 2023; pydicom has yet to know it


def read_source(part: Part, *, limit: int, frame: int = 0, left_empty: set[str] | None = None) -> Dataset:
    """What an object says of its patient, study and plane, for results that refer to it.

    A damaged date, time, sex or body part is left empty, as the standard allows; text in several character sets becomes
    UTF-8 and stays the same text.

    Args:
        part: The object.
        limit: Bytes that it may unpack to.
        frame: Whose plane is meant, from 0.
        left_empty: Gets the keywords of what could not be read.

    Raises:
        DataError: If it cannot be read, lacks a UID, has two names or ids, or its text is in a character set that
            nobody knows.
    """
    try:
        with damage_refused(), open_part(part, limit=limit) as file:
            header = read_header(file, limit=limit).dataset
            mend(header)
    except NotTaken as outcome:
        raise DataError("dicom", f"a source image cannot be read ({outcome.reason})") from outcome
    with warnings.catch_warnings(action="ignore"):
        return _presentable(header, frame, set() if left_empty is None else left_empty)


def _presentable(source: Dataset, frame: int, left_empty: set[str]) -> Dataset:
    found = Dataset()
    for keyword in UIDS:
        if not text(source, keyword):
            raise DataError("dicom", f"a source image has no {keyword}")
        setattr(found, keyword, text(source, keyword))
    if UID(found.SOPClassUID).name == found.SOPClassUID:  # a maker's own, or a pseudonym of one
        raise DataError("dicom", "a source image is of a class that the standard does not know (SOPClassUID)")
    _copy_names(source, found)
    readings: dict[str, Callable[[str], str]] = {
        "PatientBirthDate": _date, "StudyDate": _date, "StudyTime": _time, "PatientSex": _sex,
        "BodyPartExamined": _word, "Modality": _word,
    }  # fmt: skip
    for keyword, read in readings.items():
        said = text(source, keyword)
        value = read(said)
        if said and not value:
            left_empty.add(keyword)
        setattr(found, keyword, value)
    number = whole(source, "InstanceNumber") or 0
    found.InstanceNumber = number if 0 < number < LARGEST else 1
    found.NumberOfFrames = max(whole(source, "NumberOfFrames") or 1, 1)
    if cosines := Frame(source, frame).cosines():
        found.ImageOrientationPatient = list(cosines)
    if position := numbers(source, "ImagePositionPatient", 3):
        found.ImagePositionPatient = position
    return found


def _copy_names(source: Dataset, found: Dataset) -> None:
    """Copy `NAMES`: as bytes where one character set is stated by its name, or none; else as UTF-8."""
    charset = source.get(CHARSET)
    if isinstance(charset, str) and charset not in python_encoding and (spelt := _spelt(charset)) in python_encoding:
        source.SpecificCharacterSet = charset = spelt
        # Text that is yet to be decoded would else be taken for Latin.
        is_implicit, is_little = source.original_encoding
        source.set_original_encoding(is_implicit, is_little, convert_encodings(spelt))
    plain = charset is None or (isinstance(charset, str) and charset in python_encoding and "2022" not in charset)
    if plain:
        if charset:
            setattr(found, CHARSET, charset)
    else:
        _refuse_unknown(source, [charset] if isinstance(charset, str) else list(charset))
        source.decode()
        source.walk(_without_escapes)
        setattr(found, CHARSET, "ISO_IR 192")
    for keyword in NAMES:
        if keyword in source:
            if "\\" in text(source, keyword):
                raise DataError("dicom", f"a source image has several values of {keyword}")
            found[keyword] = source[keyword]
        elif keyword != "IssuerOfPatientID":
            setattr(found, keyword, "")


def _refuse_unknown(source: Dataset, charsets: list[str]) -> None:
    """Raise DataError where a set is unknown, and there is text that is not of the basic one."""
    unknown = [name for name in charsets if name and name not in python_encoding]
    stored = (source.get_item(keyword) for keyword in NAMES if keyword in source)
    values = [item.value for item in stored if item is not None and item.value]
    is_basic = all(value.isascii() if isinstance(value, bytes) else str(value).isascii() for value in values)
    if unknown and not is_basic:
        raise DataError("dicom", "a source image has text in a character set that is unknown")


def _spelt(charset: str) -> str:
    """A character set's name as the standard spells it, of the ways in which others do."""
    if re.fullmatch(r"UTF[-_ ]?8", charset, re.IGNORECASE):
        return "ISO_IR 192"
    return re.sub(r"^ISO[-_ ]?(8859[-_ ])?IR[-_ ]?(\d+)$", r"ISO_IR \2", charset.upper())


def _without_escapes(dataset: Dataset, element: Any) -> None:
    """Take out the escapes of PS3.3 C.12.1.1.2 that the decoder of a Chinese or Korean name leaves in it."""
    if element.VR in ("PN", "LO", "SH", "ST", "LT", "UC", "UT") and "\x1b" in str(element.value):
        dataset[element.tag].value = re.sub(r"\x1b\$?[()]?.", "", str(element.value))


def _date(said: str) -> str:
    parts = re.fullmatch(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})", said)
    try:
        return date(int(parts[1]), int(parts[2]), int(parts[3])).strftime("%Y%m%d") if parts else ""
    except ValueError:
        return ""


def _time(said: str) -> str:
    parts = re.fullmatch(r"([01]\d|2[0-3]):?(?:([0-5]\d):?(?:([0-5]\d)(\.\d{1,6})?\d*)?)?", said)
    return "".join(part or "" for part in parts.groups()) if parts else ""


def _sex(said: str) -> str:
    words = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
    return words.get(said.upper(), "")


def _word(said: str) -> str:
    return said.upper() if re.fullmatch(r"[A-Za-z0-9 _]{1,16}", said) else ""
