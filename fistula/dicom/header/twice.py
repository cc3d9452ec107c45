"""Elements that stand in a header more than once, of which the parser keeps the last in silence."""

from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Literal

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from fistula.dicom.header.spelling import Mended, tag_of

PIXELS = frozenset((0x7FE00010, 0x7FE00009, 0x7FE00008))  # as they are, as double and as float
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
WITHOUT_END = 0xFFFFFFFF  # the length of what ends with a delimiter
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
PICTURE_GROUPS = (0x0028, 0x5200)  # how pixels are stored and scaled; the functional groups
# Sequences in whose items stands what pixels and geometry hang on.
DEEP = frozenset(
    map(
        tag_of,
        (
            "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence",
            "VOILUTSequence",
        ),
    )
)  # fmt: skip
# What else pixels, geometry or the patient hang on: of two values none is taken.
DECISIVE = frozenset(
    (
        "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "ImagePositionPatient",
        "ImageOrientationPatient", "SliceLocation", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
        "PlanePositionSequence", "PlaneOrientationSequence",
    )
)  # fmt: skip


def of_two_values(file: BinaryIO) -> tuple[BaseTag, ...]:
    """Elements before the pixels that are stated with different values; of a file that can be parsed."""
    found: dict[BaseTag, set[bytes]] = {}

    def note(tag: BaseTag, _: str | None, length: int) -> bool:
        if length or found:  # the first may be looked at once more, with no length, for how it is written
            begin = file.tell()
            value = f"at {begin}".encode() if length == WITHOUT_END else file.read(length).strip(b" \0")
            file.seek(begin)
            found.setdefault(tag, set()).add(value)
        return tag in PIXELS

    file.seek(0)
    read_partial(file, note, force=True)
    return tuple(tag for tag, values in found.items() if len(values) > 1)


def deep_of_two_values(file: BinaryIO, dataset: Dataset, *, end: int) -> tuple[BaseTag, ...]:
    """Elements that one item states with different values, in the sequences of `DEEP` and in what these hold.

    Args:
        file: The object.
        dataset: What was parsed of it.
        end: Where its pixels begin.
    """
    if DEEP.isdisjoint(dataset._dict):
        return ()
    file.seek(0)
    content = file.read(end)
    is_implicit, is_little = dataset.original_encoding
    walk = _Walk(content, "big" if is_little is False else "little")
    here = 132 if content[128:132] == b"DICM" else 0
    with suppress(RecursionError):  # damaged, and nothing that a parser takes
        walk.through(here, len(content), is_item=True, is_implicit=bool(is_implicit))
    return tuple(map(Tag, dict.fromkeys(walk.found)))


class _Walk:
    """Goes through the elements of an object, and into its sequences as far as needed to find those of `DEEP`."""

    def __init__(self, content: bytes, order: Literal["big", "little"]) -> None:
        self._content, self._order = content, order
        self.found: list[int] = []

    def through(self, here: int, end: int, *, is_item: bool, is_implicit: bool, depth: int = 0) -> int:
        """Go through an item's elements, or a sequence's items, and say where it ends; `depth` counts from `DEEP`."""
        seen: dict[int, bytes] = {}
        while here + 8 <= end:
            tag, vr, length, begin = self._head(here, is_implicit=is_implicit)
            if tag in (ITEM_END, SEQUENCE_END):
                return begin
            is_open = length == WITHOUT_END
            stop, goes_in, is_next_item = end if is_open else min(begin + length, end), is_open, False
            inside = depth
            if tag == ITEM and not is_item:
                goes_in = is_next_item = True
            elif is_item:
                is_sequence = is_open or vr == b"SQ" or (is_implicit and self._is_sequence(tag, begin, length))
                if depth:
                    # What a sequence holds is not compared: the parser takes the last one whole.
                    value = f"at {begin}".encode() if is_sequence else self._content[begin:stop].strip(b" \0")
                    if seen.setdefault(tag, value) != value:
                        self.found.append(tag)
                goes_in = is_open or (is_sequence and (depth > 0 or tag in DEEP))
                inside = depth + int(is_sequence and (depth > 0 or tag in DEEP))
            if goes_in:
                # What has no type and no length is in implicit VR (PS3.5 6.2.2).
                is_plain = is_implicit or vr == b"UN"
                ended = self.through(begin, stop, is_item=is_next_item, is_implicit=is_plain, depth=inside)
                here = ended if is_open else stop
            else:
                here = stop
        return here

    def _head(self, here: int, *, is_implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, value representation if stated, length, and where the value begins."""
        content = self._content
        order = "little" if content[here : here + 2] == b"\x02\x00" else self._order
        group, number = (int.from_bytes(content[at : at + 2], order) for at in (here, here + 2))
        vr = content[here + 4 : here + 6]
        if group in (0x0000, 0xFFFE) or (is_implicit and group != 0x0002):
            return group << 16 | number, b"", int.from_bytes(content[here + 4 : here + 8], order), here + 8
        if vr in LONG:
            return group << 16 | number, vr, int.from_bytes(content[here + 8 : here + 12], order), here + 12
        return group << 16 | number, vr, int.from_bytes(content[here + 6 : here + 8], order), here + 8

    def _is_sequence(self, tag: int, begin: int, length: int) -> bool:
        """Whether a value is a sequence, in implicit VR."""
        if tag >> 16 & 1:  # a maker's own
            return length >= 8 and self._content[begin : begin + 4] == b"\xfe\xff\x00\xe0"
        return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def note_twice(tags: Sequence[BaseTag], mended: Mended) -> None:
    """Say what is stated with different values: that it is refused, or that the last one was used."""
    for tag in tags:
        name = keyword_for_tag(tag) or str(tag)
        if tag.group in PICTURE_GROUPS or name in DECISIVE:
            mended.twice.append(name)
        else:
            mended.notes.add(f"{name} stated twice, with different values, the last one used")
