"""Put right what a header misspells, before anything is read from it: a value is what was meant, or is refused.

What pixels and geometry depend on is never replaced by a default because it could not be read. Where the meaning is
beyond doubt (a decimal comma, another value representation of the same number, a padding value of the wrong sign) the
element is written anew, so that every reader after, pydicom's decoders among them, finds the same value.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fistula.dicom.header.raw import is_absent, is_empty
from fistula.dicom.header.spelling import Form, element_at, numbers_of, parts_of_element, standard_vr, tag_of
from fistula.dicom.outcome import Refused
from fistula.dicom.parse import number, whole

WHOLE, SPACING = Form(is_whole=True), Form(num_values=2, low=1e-4, high=1e3)
NUMBERS = dict.fromkeys(
    (
        "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "PlanarConfiguration", "NumberOfFrames",
    ),
    WHOLE,
)  # fmt: skip
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
PHOTOMETRICS = frozenset(
    (
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT",
        "YBR_RCT",
    )
)  # fmt: skip
WORDS = {
    "PhotometricInterpretation": PHOTOMETRICS,
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
}
SLOPE, INTERCEPT = "RescaleSlope", "RescaleIntercept"
WINDOW = ("WindowCenter", "WindowWidth")
# What stands in which functional group of an enhanced object (PS3.3 C.7.6.16.2), and in a classic object itself.
GROUPS: dict[str, dict[str, Form]] = {
    "PixelValueTransformationSequence": {SLOPE: Form(), INTERCEPT: Form()},
    "FrameVOILUTSequence": dict.fromkeys(WINDOW, Form(num_values=0)),
    "PlanePositionSequence": {"ImagePositionPatient": Form(num_values=3, low=-1e5, high=1e5)},
    "PlaneOrientationSequence": {"ImageOrientationPatient": Form(num_values=6, low=-2, high=2)},
    "PixelMeasuresSequence": dict.fromkeys(SPACINGS, SPACING),
}
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
OTHERWISE = "read otherwise than it is written"
ITEM = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # begins the item of a sequence, in either byte order
TABLES = ("ModalityLUTSequence", "VOILUTSequence")


@dataclass
class Mended:
    """What became of a header.

    Attributes:
        notes: What was read otherwise than it is written; each a sentence on the element.
        unreadable: Elements that are there and cannot be read.
    """

    notes: set[str] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)

    def require(self) -> None:
        """Raise Refused if an element that pixels or geometry depend on cannot be read."""
        if self.unreadable:
            raise Refused(f"{self.unreadable[0]} that cannot be read", "Correct the header, or export it again")


def mend(dataset: Dataset) -> Mended:
    """Write anew, in `dataset`, what is misspelt and can be meant in one way only; say what cannot be read."""
    mended = Mended()
    for keyword in NUMBERS:
        _mend(dataset, keyword, NUMBERS[keyword], mended)
    for keyword in WORDS:
        _mend_word(dataset, keyword, mended)
    for keyword in TABLES:
        _items(dataset, keyword, mended)
    if is_empty(dataset, "ImagePositionPatient"):
        _mend(dataset, "SliceLocation", Form(low=-1e5, high=1e5), mended)
    _mend_padding(dataset, mended)
    _mend_group(dataset, GROUPS, mended)
    groups = [*_items(dataset, PER_FRAME, mended), *_items(dataset, SHARED, mended)]
    for group in groups:
        for keyword, forms in GROUPS.items():
            for item in _items(group, keyword, mended):
                _mend_group(item, {keyword: forms}, mended)
    own, frames = len(_items(dataset, PER_FRAME, mended)), whole(dataset, "NumberOfFrames")
    if own and frames is not None and own != frames:
        mended.unreadable.append(PER_FRAME)
    return mended


def _mend_group(place: Dataset, groups: dict[str, dict[str, Form]], mended: Mended) -> None:
    for forms in groups.values():
        for keyword, form in forms.items():
            is_there = _mend(place, keyword, form, mended)
            if is_there and keyword in SPACINGS:
                break  # the others are of no account
    if SLOPE not in groups.get("PixelValueTransformationSequence", {}):
        return
    stated = [keyword for keyword in (SLOPE, INTERCEPT) if not is_empty(place, keyword)]
    empty = [keyword for keyword in (SLOPE, INTERCEPT) if keyword not in stated and not is_absent(place, keyword)]
    if stated and empty:
        mended.unreadable += empty
    elif number(place, SLOPE) == 0:  # every pixel would be the same
        mended.unreadable.append(SLOPE)


def _mend(place: Dataset, keyword: str, form: Form, mended: Mended) -> bool:
    """Mend one element; says whether it is there and has a value."""
    element = element_at(place, tag_of(keyword))
    if element is None:
        return False
    if _is_plain(element, keyword, form):
        return True
    try:
        values, is_as_written = numbers_of(element, keyword, form)
    except (ValueError, OverflowError, struct.error):
        mended.unreadable.append(keyword)
        return True
    if not is_as_written:
        mended.notes.add(f"{keyword} {OTHERWISE}")
        numbers: list[Any] = [int(value) for value in values] if form.is_whole else values
        _put(place, keyword, numbers[0] if len(numbers) == 1 else numbers or None)
    return bool(values)


def _is_plain(element: Any, keyword: str, form: Form) -> bool:
    """Whether it is one whole number of the dictionary's type, as nearly all are; spares the rest for all these."""
    return (
        form.is_whole
        and isinstance(element, RawDataElement)
        and element.VR in (None, "US")
        and standard_vr(keyword) == "US"
        and element.value is not None
        and len(element.value) == 2
    )


def _mend_padding(dataset: Dataset, mended: Mended) -> None:
    """Bring padding values to the sign that PixelRepresentation says (PS3.3 C.7.5.1.1.2)."""
    if all(is_absent(dataset, keyword) for keyword in PADDING):
        return
    is_signed = whole(dataset, "PixelRepresentation") == 1
    bits = [whole(dataset, keyword) for keyword in ("BitsStored", "BitsAllocated")]
    for keyword in PADDING:
        element = element_at(dataset, tag_of(keyword))
        if element is None:
            continue
        vr = element.VR
        try:
            values, _ = numbers_of(element, keyword, WHOLE)
        except (ValueError, OverflowError, struct.error):
            mended.unreadable.append(keyword)
            continue
        if not values:
            _put(dataset, keyword, None)
            continue
        stated = int(values[0])
        meant = _with_sign(stated, [count for count in bits if count and 0 < count <= 64], is_signed=is_signed)
        # Implicit VR does not say the sign; there the bytes alone are no misspelling.
        if (vr is not None and meant != stated) or vr not in (None, "US", "SS", "US or SS"):
            mended.notes.add(f"{keyword} {OTHERWISE}")
        dataset[tag_of(keyword)] = DataElement(tag_of(keyword), "SL", meant)


def _with_sign(value: int, bits: list[int], *, is_signed: bool) -> int:
    """The value of a pixel that has the same bits; the value itself where no pixel has."""
    for count in bits:
        low, high = (-(1 << count - 1), (1 << count - 1) - 1) if is_signed else (0, (1 << count) - 1)
        for shifted in (value, value - (1 << count), value + (1 << count)):
            if low <= shifted <= high:
                return shifted
    return value


def _mend_word(dataset: Dataset, keyword: str, mended: Mended) -> None:
    element = element_at(dataset, tag_of(keyword))
    if element is None:
        return
    try:
        parts, is_as_written = parts_of_element(element, keyword)
    except ValueError:
        mended.unreadable.append(keyword)
        return
    words = {str(part) for part in parts} - {""}
    if not words:
        return
    known = {word for word in WORDS[keyword] if word.replace(" ", "") == str(parts[0]).upper().replace(" ", "")}
    if len(words) > 1 or not known:
        mended.unreadable.append(keyword)
        return
    if not is_as_written or words != known:
        mended.notes.add(f"{keyword} {OTHERWISE}")
        _put(dataset, keyword, known.pop())


def _items(place: Dataset, keyword: str, mended: Mended) -> list[Dataset]:
    """The items of a sequence; one that is there and is none is unreadable."""
    element = element_at(place, tag_of(keyword))
    if element is None:
        return []
    content = element.value if isinstance(element, RawDataElement) else b""
    if content and content[:4] not in ITEM:
        mended.unreadable.append(keyword)
        return []
    try:
        value = place.get(keyword)
    except Exception:  # a damaged sequence fails in any of pydicom's ways
        value = keyword
    if isinstance(value, Sequence) or value is None:
        return list(value or [])
    mended.unreadable.append(keyword)
    return []


def _put(place: Dataset, keyword: str, value: Any) -> None:
    place[tag_of(keyword)] = DataElement(tag_of(keyword), standard_vr(keyword), value)
