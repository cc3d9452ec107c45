"""Plain values straight from an element's bytes, before pydicom converts it: most headers in a tenth of the time."""

import struct
from functools import lru_cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from fistula.dicom.header.spelling import element_at, standard_vr, tag_of

WORDS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"})
DECIMALS = frozenset({"DS", "IS"})
TEXTS = WORDS | DECIMALS
PADDING = " \0\t\r\n"  # blanks at the ends of a value, which mean nothing


def is_absent(dataset: Dataset, keyword: str) -> bool:
    """Whether the data set has no such element."""
    return element_at(dataset, tag_of(keyword)) is None


def is_empty(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is absent or has no value."""
    element = element_at(dataset, tag_of(keyword))
    value = None if element is None else element.value
    if isinstance(value, bytes) and _vr(element, keyword) in TEXTS:
        value = value.strip(PADDING.encode())
    return value in (None, "", b"")


def plain_text(element: Any, keyword: str) -> str | None:
    """The words of an element in ASCII, joined by a backslash; None where only pydicom can tell."""
    if not isinstance(element, RawDataElement) or (vr := _vr(element, keyword)) not in TEXTS:
        return None
    return _joined(element.value, is_stripped=vr in ("LO", "SH"))  # each word, as pydicom does


def plain_numbers(element: Any, keyword: str) -> list[float] | None:
    """The numbers of an element of VR DS, IS or US; None where only pydicom can tell."""
    if not isinstance(element, RawDataElement):
        return None
    vr, value = _vr(element, keyword), element.value
    if vr == "US" and value is not None and len(value) == 2:
        return [float(struct.unpack("<H" if element.is_little_endian else ">H", value)[0])]
    return _decimals(value) if vr in DECIMALS else None


def _vr(element: RawDataElement, keyword: str) -> str:
    return element.VR or standard_vr(keyword)


@lru_cache(maxsize=1024)  # the slices of a series share most of their values
def _joined(value: bytes | None, *, is_stripped: bool) -> str | None:
    if (words := _words(value)) is None:
        return None
    return "\\".join(word.rstrip(PADDING) if is_stripped else word for word in words).strip(PADDING)


@lru_cache(maxsize=1024)
def _decimals(value: bytes | None) -> list[float] | None:
    words = _words(value)
    try:
        return None if words is None else [float(word) for word in words]
    except ValueError:
        return None


def _words(value: bytes | None) -> list[str] | None:
    # An escape begins another character set (PS3.5 6.1.2.5).
    if value is None or not value.isascii() or b"\x1b" in value:
        return None
    return value.decode("ascii").rstrip(PADDING).split("\\")
