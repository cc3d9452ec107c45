"""Plain values straight from an element's bytes, before pydicom converts it: most headers in a tenth of the time."""

import struct
from functools import cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

WORDS = frozenset({"AE", "AS", "CS", "DA", "LO", "SH", "UI"})
DECIMALS = frozenset({"DS", "IS"})
PADDING = " \0"
PRIVATE = (None, "CS", "FL", "LO", "UN")  # None: implicit VR, where the type of a private element is not in the file


@cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword of the standard."""
    return Tag(keyword)


def is_absent(dataset: Dataset, keyword: str) -> bool:
    """Whether the data set has no such element."""
    return dataset.get_item(tag_of(keyword)) is None


def is_empty(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is absent or has no value."""
    element = dataset.get_item(tag_of(keyword))
    value = None if element is None else element.value
    if isinstance(element, RawDataElement) and _vr(element, keyword) in WORDS | DECIMALS:
        value = value.strip(PADDING.encode())
    return value in (None, "", b"")


def plain_text(dataset: Dataset, keyword: str) -> str | None:
    """The words of an element in ASCII, joined by a backslash; None where only pydicom can tell."""
    element = dataset.get_item(tag_of(keyword))
    if not isinstance(element, RawDataElement) or (vr := _vr(element, keyword)) not in WORDS:
        return None
    if (words := _words(element)) is None:
        return None
    if vr in ("LO", "SH"):  # as pydicom does
        words = [word.rstrip(PADDING) for word in words]
    return "\\".join(words).strip(PADDING)


def plain_numbers(dataset: Dataset, keyword: str) -> list[float] | None:
    """The numbers of an element of VR DS, IS or US; None where only pydicom can tell."""
    element = dataset.get_item(tag_of(keyword))
    if not isinstance(element, RawDataElement):
        return None
    vr, value = _vr(element, keyword), element.value
    if vr == "US" and value is not None and len(value) == 2:
        return [float(struct.unpack("<H" if element.is_little_endian else ">H", value)[0])]
    if vr not in DECIMALS or (words := _words(element)) is None:
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def private_value(dataset: Dataset, tag: tuple[int, int]) -> Any:
    """A private element's bytes, or pydicom's value of it where they do not say enough; None if absent or damaged."""
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement) and element.is_little_endian and element.VR in PRIVATE:
        return element.value
    try:
        return None if element is None else dataset[tag].value
    except Exception:  # a damaged private element is no value
        return None


@cache
def _standard_vr(keyword: str) -> str:
    return dictionary_VR(tag_of(keyword))


def _vr(element: RawDataElement, keyword: str) -> str:
    return element.VR or _standard_vr(keyword)


def _words(element: RawDataElement) -> list[str] | None:
    value = element.value
    # An escape begins another character set (PS3.5 6.1.2.5).
    if value is None or not value.isascii() or b"\x1b" in value:
        return None
    return value.decode("ascii").rstrip(PADDING).split("\\")
