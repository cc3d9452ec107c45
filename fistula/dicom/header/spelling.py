"""Read the numbers and words of one element as they are meant, however they are spelt, or say that nobody can."""

import math
import re
import struct
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from fistula.dicom.outcome import Refused

TEXTS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
BINARIES = {"US": "H", "US or SS": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
UNNAMED = ("UN", "OB", "OW")  # bytes of which the dictionary says what they are
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA = re.compile(r"[+-]?(\d*),(\d+)([eE][+-]?\d+)?")
REMEDY = "Correct the header, or export it again"
OTHERWISE = "written incorrectly, read as meant"
UNREADABLE = "that cannot be read"
IMPOSSIBLE = "of an impossible value"  # not finite, not whole, or outside of all that can be meant
MISCOUNTED = "with too many or too few values"
BLANK = " \0\t\r\n"
CONTROLS = b"\0\t\r\n"


@dataclass
class Mended:
    """What became of a header."""

    # What was written incorrectly, read as meant; each a sentence on the element.
    notes: set[str] = field(default_factory=set)
    # Elements that are there and cannot be taken, and in what way, in words that follow the name.
    unreadable: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)  # those that stand there with two values

    def require(self) -> None:
        """Raise Refused if an element that pixels, geometry or patient depend on has no one value."""
        reasons = [f"{name} {why}" for name, why in self.unreadable.items()]
        reasons += [f"{name} stated twice" for name in self.twice]
        if reasons:
            raise Refused(reasons[0], REMEDY)

    def refuse(self, keyword: str, error: BaseException | None = None) -> None:
        """Note that an element cannot be taken; an `ImpossibleError` says why."""
        self.unreadable.setdefault(keyword, error.why if isinstance(error, ImpossibleError) else UNREADABLE)


class ImpossibleError(ValueError):
    """An element can be read, and its value cannot be meant.

    Args:
        why: In words that follow its name.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Form(NamedTuple):
    """What an element has to hold.

    Attributes:
        num_values: How many; 0 for one or more.
        is_whole: Whole numbers.
        low: The smallest that can be meant.
        high: The largest.
    """

    num_values: int = 1
    is_whole: bool = False
    low: float = -math.inf
    high: float = math.inf


def numbers_of(element: Any, keyword: str, form: Form) -> tuple[list[float], bool]:
    """The element's numbers, and whether they are written as the standard wants it; none if it has no value.

    Args:
        element: As `element_at` gives it.
        keyword: Its name in the dictionary.
        form: What it has to hold.

    Raises:
        ImpossibleError: If they are not as many as are meant, or cannot be meant.
        ValueError: If they cannot be read.
    """
    parts, is_as_written = parts_of_element(element, keyword)
    if form.num_values != 1 and len(parts) == 1 and isinstance(parts[0], str):
        # Numbers parted by a comma: beyond doubt where they have points, or where one comma would not do.
        pieces = [piece.strip() for piece in parts[0].split(",")]
        if len(pieces) == form.num_values and (form.num_values > 2 or all("." in piece for piece in pieces)):
            parts, is_as_written = [*pieces], False
    while parts and parts[-1] == "":
        parts, is_as_written = parts[:-1], is_as_written and len(parts) == 1
    values = []
    for part in parts:
        value, is_plain = _number(part, form) if isinstance(part, str) else (float(part), True)
        if not math.isfinite(value) or not form.low <= value <= form.high or (form.is_whole and value != int(value)):
            raise ImpossibleError(IMPOSSIBLE)
        values.append(value)
        is_as_written = is_as_written and is_plain
    if form.num_values == 1 and len(values) > 1 and len(set(values)) == 1:
        values, is_as_written = values[:1], False
    if values and form.num_values and len(values) != form.num_values:
        raise ImpossibleError(MISCOUNTED)
    return values, is_as_written


@lru_cache(maxsize=1024)  # the slices of a series share most of their values
def _number(word: str, form: Form) -> tuple[float, bool]:
    """A number in text; a comma is a decimal one unless it may part thousands."""
    if DECIMAL.fullmatch(word):
        return float(word), not form.is_whole or "." not in word
    found = COMMA.fullmatch(word)
    if found is None:
        raise ValueError(word)
    thousands = len(found[2]) == 3 and 1 <= len(found[1]) <= 3 and found[1][0] != "0" and not found[3]
    if thousands and form.low <= float(word.replace(",", "")) <= form.high:
        raise ValueError(word)
    return float(word.replace(",", ".")), False


def decimal(value: Any) -> float:
    """A number, or one in text, be it with a decimal comma.

    Raises:
        ValueError: If it is none.
    """
    return _number(value, Form())[0] if isinstance(value, str) else float(value)


def parts_of_element(element: Any, keyword: str) -> tuple[list[Any], bool]:
    """The element's values, words of text stripped, and whether they are written as the standard wants it.

    Raises:
        ValueError: If they are neither text nor numbers.
    """
    meant = standard_vr(keyword)
    parts = values_in(element, meant)
    if not isinstance(element, RawDataElement) or not element.value:
        return parts, not element.value or meant == element.VR
    vr = element.VR or meant
    content = element.value.rstrip(b" \0")
    is_clean = vr not in TEXTS or content == content.translate(None, CONTROLS)
    return parts, vr == meant and is_clean


def values_in(element: Any, meant: str) -> list[Any]:
    """An element's values: words stripped of blanks, or numbers; none if it is empty.

    Args:
        element: As `element_at` gives it.
        meant: The value representation to take it for where it does not say.

    Raises:
        ValueError: If it holds neither.
    """
    value = element.value
    if isinstance(element, RawDataElement):
        if not value:
            return []
        vr = meant if element.VR in UNNAMED else element.VR or meant
        return _unpacked(value, vr, is_little=element.is_little_endian)
    if isinstance(value, bytes) and value:
        return _unpacked(value, meant, is_little=True)
    parts = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    # DSfloat and IS keep what was written, which says more than what Python takes for a number.
    return ["" if part is None else str(getattr(part, "original_string", part)).strip(BLANK) for part in parts]


@lru_cache(maxsize=1024)
def _unpacked(value: bytes, vr: str, *, is_little: bool) -> list[Any]:
    if vr in TEXTS:
        words = value.decode("ascii").strip(BLANK).split("\\")  # a UnicodeDecodeError is a ValueError
        return [word.strip(BLANK) for word in words]
    kind = BINARIES.get(vr, "")
    size = struct.calcsize(kind) if kind else 0
    if not size or len(value) % size:
        raise ValueError(vr)
    return list(struct.unpack(f"{'<' if is_little else '>'}{len(value) // size}{kind}", value))


def element_at(dataset: Dataset, tag: Any) -> Any:
    """The element with this tag as the data set holds it, raw or converted; None if there is none.

    One that pydicom cannot even hand out, such as one of unknown value representation without a value, is there and
    cannot be read.
    """
    # What `get_item` looks up; it makes the tag anew each time, which is most of what a lookup costs.
    element = dataset._dict.get(tag)
    if element is None or element.value is not None:
        return element
    try:
        return dataset.get_item(tag)
    except Exception:  # whatever is wrong with it
        return RawDataElement(Tag(tag), "??", 1, b"?", 0, False, True)


class _Tag(BaseTag):
    """A tag that is compared as the number that it is; pydicom's own comparison is a third of a lookup."""

    __eq__, __ne__, __hash__ = int.__eq__, int.__ne__, int.__hash__
    __lt__, __le__, __gt__, __ge__ = int.__lt__, int.__le__, int.__gt__, int.__ge__


@cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword of the standard."""
    return _Tag(Tag(keyword))


@cache
def standard_vr(keyword: str) -> str:
    """The value representation that the standard gives to a keyword."""
    return dictionary_VR(tag_of(keyword))
