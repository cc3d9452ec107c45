"""Elements that stand in a header more than once, of which the parser keeps the last in silence."""

from collections.abc import Sequence
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from fistula.dicom.header.spelling import Mended

PIXELS = frozenset((0x7FE00010, 0x7FE00009, 0x7FE00008))  # as they are, as double and as float
ITEM_HEAD = 8  # bytes of an item's own tag and length
WITHOUT_END = 0xFFFFFFFF  # the length of what ends with a delimiter
PICTURE_GROUPS = (0x0028, 0x5200)  # how pixels are stored and scaled; the functional groups
# What else pixels, geometry or the patient hang on: of two values none is taken.
DECISIVE = frozenset(
    (
        "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "ImagePositionPatient",
        "ImageOrientationPatient", "SliceLocation", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
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


def has_lost_a_value(item: Dataset) -> bool:
    """Whether a gap between the elements of a sequence's first item tells that one of them was stated twice.

    Whether the lost value was the same is lost with it. What follows a sequence among them is not looked at.
    """
    ends = {ITEM_HEAD, (item.seq_item_tell or 0) + ITEM_HEAD}  # of what comes before: by itself, or in the file
    for element in item._dict.values():
        if not isinstance(element, RawDataElement) or element.length == WITHOUT_END:
            break
        if not any(element.value_tell - end in (8, 12) for end in ends):
            return True
        ends = {element.value_tell + element.length}
    return False


def note_twice(tags: Sequence[BaseTag], mended: Mended) -> None:
    """Say what is stated with different values: that it is refused, or that the last one was used."""
    for tag in tags:
        name = keyword_for_tag(tag) or str(tag)
        if tag.group in PICTURE_GROUPS or name in DECISIVE:
            mended.twice.append(name)
        else:
            mended.notes.add(f"{name} stated twice, with different values, the last one used")
