"""Put right what a header misspells, before anything is read from it: a value is what was meant, or is refused.

What pixels and geometry depend on is never replaced by a default because it could not be read. Where the meaning is
beyond doubt (a decimal comma, another value representation of the same number, a padding value of the wrong sign) the
element is written anew, so that every reader after, pydicom's decoders among them, finds the same value.
"""

import math
import struct
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fistula.dicom.header.raw import is_absent, is_empty, plain_numbers
from fistula.dicom.header.signs import mend_signs
from fistula.dicom.header.spelling import (
    IMPOSSIBLE,
    OTHERWISE,
    Form,
    Mended,
    element_at,
    numbers_of,
    parts_of_element,
    standard_vr,
    tag_of,
)
from fistula.dicom.parse import number, numbers, whole
from fistula.dicom.pixels.frames import CONVERTED

WHOLE, SPACING = Form(is_whole=True), Form(num_values=2, low=1e-4, high=1e3)
ASPECT = Form(num_values=2, low=1e-6, high=1e6)
NUMBERS = dict.fromkeys(
    (
        "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "NumberOfFrames",
    ),
    WHOLE,
) | dict.fromkeys(("PixelRepresentation", "PlanarConfiguration"), Form(is_whole=True, low=0, high=1))  # fmt: skip
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
PHOTOMETRICS = frozenset(
    (
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT",
        "YBR_RCT",
    )
)  # fmt: skip
WORDS = {  # by what they are without blanks
    "PhotometricInterpretation": {word.replace(" ", ""): word for word in PHOTOMETRICS},
    "VOILUTFunction": {word: word for word in ("LINEAR", "LINEAR_EXACT", "SIGMOID")},
}
SLOPE, INTERCEPT = "RescaleSlope", "RescaleIntercept"
LARGEST_SLOPE = 1e30  # and the smallest is one over it: single precision has room on both sides
LARGEST_INTERCEPT = 2.0**26  # in slopes: beside it, stored values that differ by 8 are one in single precision
ORIENTATION = "ImageOrientationPatient"
ROUNDED = 0.02  # how far lengths and right angles (as a cosine) may be off: some makers round to two digits
WINDOW = ("WindowCenter", "WindowWidth")
# What parts volumes, and stops no image that lacks it.
PARTING = (
    "EchoTime", "EchoNumbers", "RepetitionTime", "InversionTime", "FlipAngle", "TriggerTime", "KVP", "DiffusionBValue",
    "AcquisitionNumber", "TemporalPositionIdentifier", "SliceThickness",
)  # fmt: skip
PARTING_GROUPS = {  # the same in functional groups
    "MRDiffusionSequence": ("DiffusionBValue",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "FrameContentSequence": ("TemporalPositionIndex", "InStackPositionNumber", "FrameAcquisitionNumber"),
    "MRTimingAndRelatedParametersSequence": ("RepetitionTime", "FlipAngle"),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime", "NominalPercentageOfCardiacPhase"),
    "RespiratorySynchronizationSequence": ("NominalPercentageOfRespiratoryPhase",),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "PixelMeasuresSequence": ("SliceThickness",),
}
# What stands in which functional group of an enhanced object (PS3.3 C.7.6.16.2), and in a classic object itself.
GROUPS: dict[str, dict[str, Form]] = {
    "PixelValueTransformationSequence": {SLOPE: Form(), INTERCEPT: Form()},
    "FrameVOILUTSequence": dict.fromkeys(WINDOW, Form(num_values=0)),
    "PlanePositionSequence": {"ImagePositionPatient": Form(num_values=3, low=-1e5, high=1e5)},
    "PlaneOrientationSequence": {ORIENTATION: Form(num_values=6, low=-2, high=2)},
    "PixelMeasuresSequence": dict.fromkeys(SPACINGS, SPACING),
}
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
ITEM = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # begins the item of a sequence, in either byte order
TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def mend(dataset: Dataset) -> Mended:
    """Write anew, in `dataset`, what is misspelt and can be meant in one way only; say what cannot be read."""
    mended = Mended()
    for keyword in NUMBERS:
        _mend(dataset, keyword, NUMBERS[keyword], mended)
    for keyword in WORDS:
        _mend_word(dataset, keyword, mended)
    tables = {keyword: _items(dataset, keyword, mended) for keyword in TABLES}
    for keyword in PARTING:
        _mend_parting(dataset, keyword, mended)
    if is_empty(dataset, "ImagePositionPatient"):
        _mend(dataset, "SliceLocation", Form(low=-1e5, high=1e5), mended)
    if all(is_empty(dataset, keyword) for keyword in SPACINGS):
        _mend(dataset, "PixelAspectRatio", ASPECT, mended)
    mend_signs(dataset, tables["ModalityLUTSequence"], mended)
    _mend_group(dataset, GROUPS, mended)
    groups = [*_items(dataset, PER_FRAME, mended), *_items(dataset, SHARED, mended)]
    for group in groups:
        for keyword, forms in GROUPS.items():
            for item in _items(group, keyword, mended):
                _mend_group(item, {keyword: forms}, mended)
        for keyword in CONVERTED:
            for item in _items(group, keyword, mended)[:1]:
                _mend_group(item, GROUPS, mended)
                for name in PARTING:
                    _mend_parting(item, name, mended)
        for keyword, names in PARTING_GROUPS.items():
            for item in _items(group, keyword, mended)[:1]:
                for name in names:
                    _mend_parting(item, name, mended)
    own, frames = len(_items(dataset, PER_FRAME, mended)), whole(dataset, "NumberOfFrames")
    if own and frames is not None and own != frames:
        mended.unreadable.setdefault(PER_FRAME, "of another number of items than NumberOfFrames")
    return mended


def _mend_group(place: Dataset, groups: dict[str, dict[str, Form]], mended: Mended) -> None:
    for forms in groups.values():
        for keyword, form in forms.items():
            is_there = _mend(place, keyword, form, mended)
            if is_there and keyword in SPACINGS:
                break  # the others are of no account
            if is_there and keyword == ORIENTATION:
                _mend_directions(place, mended)
    if SLOPE in groups.get("PixelValueTransformationSequence", {}):
        _judge_rescale(place, mended)


def _judge_rescale(place: Dataset, mended: Mended) -> None:
    """Refuse a slope and an intercept of which one is empty, or that leave no pixels to look at in single precision."""
    stated = [keyword for keyword in (SLOPE, INTERCEPT) if not is_empty(place, keyword)]
    empty = [keyword for keyword in (SLOPE, INTERCEPT) if keyword not in stated and not is_absent(place, keyword)]
    if stated and empty:
        mended.unreadable |= dict.fromkeys(empty, f"without a value beside {stated[0]}")
        return
    slope, intercept = number(place, SLOPE), number(place, INTERCEPT)
    slope, intercept = 1.0 if slope is None else abs(slope), abs(intercept or 0)
    if slope == 0:
        mended.unreadable.setdefault(SLOPE, "of 0, which makes all pixels one")
    elif not 1 / LARGEST_SLOPE <= slope <= LARGEST_SLOPE:
        mended.unreadable.setdefault(SLOPE, IMPOSSIBLE)
    elif intercept > slope * LARGEST_INTERCEPT:
        mended.unreadable.setdefault(INTERCEPT, IMPOSSIBLE)


def _mend(place: Dataset, keyword: str, form: Form, mended: Mended) -> bool:
    """Mend one element; says whether it is there and has a value."""
    element = element_at(place, tag_of(keyword))
    if element is None:
        return False
    if _is_plain(element, keyword, form):
        return True
    try:
        values, is_as_written = numbers_of(element, keyword, form)
    except (ValueError, OverflowError, struct.error) as error:
        mended.refuse(keyword, error)
        return True
    if not is_as_written:
        mended.notes.add(f"{keyword} {OTHERWISE}")
        numbers: list[Any] = [int(value) for value in values] if form.is_whole else values
        _put(place, keyword, numbers[0] if len(numbers) == 1 else numbers or None)
    return bool(values)


def _mend_directions(place: Dataset, mended: Mended) -> None:
    """Give directions the length 1, and note those that have another or are not at right angles."""
    values = numbers(place, ORIENTATION, 6)
    if values is None:  # unreadable, which is said
        return
    pair = values[:3], values[3:]
    lengths = [math.hypot(*one) for one in pair]
    if not all(lengths):  # no directions, which whoever looks at the plane notes
        return
    units = [[value / length for value in one] for one, length in zip(pair, lengths, strict=True)]
    if max(abs(length - 1) for length in lengths) > ROUNDED:
        _put(place, ORIENTATION, [*units[0], *units[1]])
        mended.notes.add(f"{ORIENTATION} {OTHERWISE}")
    if abs(sum(one * other for one, other in zip(*units, strict=True))) > ROUNDED:
        mended.notes.add(f"{ORIENTATION}: rows and columns are not at right angles")


def _mend_parting(place: Dataset, keyword: str, mended: Mended) -> None:
    """Mend an element without which an image can be read; one that cannot be read is noted."""
    element = element_at(place, tag_of(keyword))
    if element is None or plain_numbers(element, keyword) is not None:
        return
    own = Mended()
    _mend(place, keyword, Form(), own)
    mended.notes |= own.notes | {f"{name} {why}" for name, why in own.unreadable.items()}


def _is_plain(element: Any, keyword: str, form: Form) -> bool:
    """Whether it is one whole number of the dictionary's type, as nearly all are; spares the rest for all these."""
    return (
        form.is_whole
        and isinstance(element, RawDataElement)
        and element.VR in (None, "US")
        and standard_vr(keyword) == "US"
        and element.value is not None
        and len(element.value) == 2
        and (form.high == math.inf or element.value in (b"\0\0", b"\1\0"))
    )


def _mend_word(dataset: Dataset, keyword: str, mended: Mended) -> None:
    element = element_at(dataset, tag_of(keyword))
    if element is None:
        return
    try:
        parts, is_as_written = parts_of_element(element, keyword)
    except ValueError:
        mended.refuse(keyword)
        return
    words = {str(part) for part in parts} - {""}
    if not words:
        return
    known = WORDS[keyword].get(str(parts[0]).upper().replace(" ", ""))
    if len(words) > 1 or known is None:
        mended.refuse(keyword)
        return
    if not is_as_written or words != {known}:
        mended.notes.add(f"{keyword} {OTHERWISE}")
        _put(dataset, keyword, known)


def _items(place: Dataset, keyword: str, mended: Mended) -> list[Dataset]:
    """The items of a sequence; one that is there and is none is unreadable."""
    element = element_at(place, tag_of(keyword))
    if element is None:
        return []
    content = element.value if isinstance(element, RawDataElement) else b""
    if content and content[:4] not in ITEM:
        mended.refuse(keyword)
        return []
    try:
        value = place.get(keyword)
    except Exception:  # a damaged sequence fails in any of pydicom's ways
        value = keyword
    if isinstance(value, Sequence) or value is None:
        return list(value or [])
    mended.refuse(keyword)
    return []


def _put(place: Dataset, keyword: str, value: Any) -> None:
    place[tag_of(keyword)] = DataElement(tag_of(keyword), standard_vr(keyword), value)
