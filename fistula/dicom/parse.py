"""Read one DICOM object's header, or all of it, from any Part-10 file, with or without a preamble."""

import io
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from fistula.dicom.container import inflated, is_closed_archive
from fistula.dicom.foreign import START, foreign
from fistula.dicom.header.raw import PADDING, is_absent, plain_numbers, plain_text
from fistula.dicom.header.spelling import element_at, tag_of
from fistula.dicom.header.twice import PIXELS, WITHOUT_END, deep_of_two_values, of_two_values
from fistula.dicom.outcome import Refused

# Archives hold values that break the standard; they are judged here, not announced one by one.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom|highdicom|pynetdicom")

HEAD = 1 << 16  # bytes; headers are shorter, but for enhanced objects' and those with pictures in them
META = re.compile(rb"\x02\0[\0-\x02]\0(UL|OB|UI)")  # the first element behind a preamble and its mark
MARK = re.compile(b"DICM" + META.pattern)
PIXEL_HEAD = 12  # bytes before the pixels, at most: tag, value representation, length
SEVERAL = (list, pydicom.multival.MultiValue)
LARGEST = 1 << 53  # above, a float is no whole number for sure


@dataclass(frozen=True)
class Header:
    """All of an object but its pixels."""

    dataset: Dataset  # the attributes before the pixel data
    syntax: str  # transfer syntax in which the pixels are encoded; empty where it cannot be known
    pixel_bytes: int | None  # length of the pixel data in bytes; None if there is none, -1 if it is encapsulated
    bytes_left: int  # bytes in the file after the pixel data's own header
    has_preamble: bool  # False for a bare data set
    pixel_start: int = -1  # where the first byte of PixelData stands in the object; -1 if there is none
    behind: bytes = b""  # the first bytes after pixels of a known length
    twice: tuple[BaseTag, ...] = ()  # elements before the pixels that stand there more than once, with different values


def read_header(file: BinaryIO, *, limit: int) -> Header:
    """Read up to the pixel data and look at its length.

    Args:
        file: The object; the position is left anywhere.
        limit: Bytes that a deflated object may inflate to.

    Raises:
        Skipped: If it is not DICOM.
        Refused: If it is, but cannot be read.
    """
    has_preamble = _recognise(file)
    file, is_deflated = inflated(file, limit=limit)
    dataset, may_repeat = _parse_head(file)
    end = file.tell()
    if not len(dataset) and not len(_meta(dataset)):
        raise Refused("a DICOM file with nothing in it")
    pixel_bytes, bytes_left, pixel_start = _peek(file, dataset)
    behind = b""
    if pixel_bytes is not None and 0 <= pixel_bytes < bytes_left:
        file.seek(pixel_bytes - bytes_left, io.SEEK_END)
        behind = file.read(START)
    syntax = DeflatedExplicitVRLittleEndian if is_deflated else _syntax(dataset)
    twice = (*(of_two_values(file) if may_repeat else ()), *deep_of_two_values(file, dataset, end=end))
    return Header(dataset, str(syntax), pixel_bytes, bytes_left, has_preamble, pixel_start, behind, twice)


def read_dataset(file: BinaryIO, *, limit: int) -> Dataset:
    """Read an object whole, its pixels still encoded; the file meta always names a transfer syntax.

    Args:
        file: The object; the position is left anywhere.
        limit: Bytes that a deflated object may inflate to.

    Raises:
        Skipped: If it is not DICOM.
        Refused: If it is, but cannot be read.
    """
    _recognise(file)
    file, _ = inflated(file, limit=limit)
    dataset = _parse(file)
    if not isinstance(getattr(dataset, "file_meta", None), FileMetaDataset):
        dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(_syntax(dataset))
    return dataset


def text(dataset: Dataset, keyword: str) -> str:
    """The attribute as one stripped string, values joined by a backslash; empty if absent, unreadable or no text."""
    element = element_at(dataset, tag_of(keyword))
    if element is None:
        return ""
    if (plain := plain_text(element, keyword)) is not None:
        return plain
    value = element.value if isinstance(element, DataElement) else attribute(dataset, keyword)
    if value is None or isinstance(value, pydicom.sequence.Sequence):  # whose items may name people
        return ""
    if isinstance(value, bytes):  # text in a value representation for bytes
        value = value.decode("latin-1")
    if isinstance(value, SEVERAL):
        return "\\".join(str(item) for item in value).strip(PADDING)
    return str(value).strip(PADDING)


def number(dataset: Dataset, keyword: str, index: int = 0) -> float | None:
    """The attribute's value number `index` as a finite float; None if absent or unreadable."""
    element = element_at(dataset, tag_of(keyword))
    if element is None:
        return None
    plain = plain_numbers(element, keyword)
    value = attribute(dataset, keyword) if plain is None else plain
    try:
        result = float(value[index] if isinstance(value, SEVERAL) else value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return result if abs(result) < float("inf") else None


def numbers(dataset: Dataset, keyword: str, count: int) -> list[float] | None:
    """The attribute's first `count` values as finite floats; None if there are fewer."""
    element = element_at(dataset, tag_of(keyword))
    plain = plain_numbers(element, keyword)
    values = [number(dataset, keyword, index) for index in range(count)] if plain is None else plain[:count]
    finite = [value for value in values if value is not None and abs(value) < float("inf")]
    return finite if len(finite) == count else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The attribute as an integer; None if absent, unreadable, not whole, or too large for a table."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) and abs(value) < LARGEST else None


def attribute(dataset: Dataset, keyword: str) -> Any:
    """The attribute's value; None if absent or if its bytes cannot be understood."""
    if is_absent(dataset, keyword):
        return None
    try:
        return dataset.get(keyword)
    except Exception:  # a damaged value fails in any of pydicom's ways, and is then no value
        return None


def sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty if it is absent, empty or unreadable."""
    value = attribute(dataset, keyword)
    return list(value) if isinstance(value, pydicom.sequence.Sequence) else []


def _recognise(file: BinaryIO) -> bool:
    """Tell whether there is a preamble; raise Skipped where the first bytes are not those of DICOM."""
    start = file.read(START)
    file.seek(0)
    if start[128:132] == b"DICM":
        return True
    # A bare data set begins with an element of group 2 or 8, in either byte order.
    is_element = start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08", b"\x00\x02") and len(start) > 8
    if is_element and (start[2:4] < b"\x80" or start[3:4] == b"\x00"):
        return False
    if is_closed_archive(start):
        raise Refused("an archive of a kind that is not opened", "Unpack it first")
    if MARK.search(start) or META.match(start, 132):  # whatever it is called
        raise Refused("a damaged DICOM file: its preamble is not as it should be", "Export it again")
    raise foreign(start)


def _parse_head(file: BinaryIO) -> tuple[Dataset, bool]:
    """What stands before the pixels, and whether an element may stand there twice.

    From the first bytes in memory where they hold all of it: a third faster.
    """
    tags: list[BaseTag] = []

    def note(tag: BaseTag, *_: Any) -> bool:
        if tag in PIXELS:
            return True
        tags.append(tag)
        return False

    head = io.BytesIO(file.read(HEAD))
    try:
        dataset = _parse(head, note)
    except Refused:
        dataset = None
    begin = head.tell()
    if dataset is None or begin + PIXEL_HEAD > HEAD:  # more may follow
        file.seek(0)
        tags.clear()
        dataset = _parse(file, note)
    else:
        file.seek(begin)
    return dataset, len({*tags}) < len(tags)


def _parse(file: BinaryIO, stop_when: Callable[[BaseTag, str | None, int], bool] | None = None) -> Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_partial(file, stop_when, force=True)
    except Exception as error:  # a damaged file breaks the parser in any of its parts
        raise Refused("a damaged DICOM file") from error
    return dataset


def _meta(dataset: Dataset) -> Dataset:
    return getattr(dataset, "file_meta", None) or FileMetaDataset()


def _syntax(dataset: Dataset) -> str:
    """The stated transfer syntax; without one, the uncompressed one in which the data set was found."""
    if stated := text(_meta(dataset), "TransferSyntaxUID"):
        return stated
    is_implicit, is_little = dataset.original_encoding
    if is_little is False:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian


def _peek(file: BinaryIO, dataset: Dataset) -> tuple[int | None, int, int]:
    """Length of the pixel data that the file stands at, how many bytes follow, and where they begin."""
    head = file.read(12)
    order: Literal["big", "little"] = "big" if dataset.original_encoding[1] is False else "little"
    if len(head) < 8 or int.from_bytes(head[:2], order) != 0x7FE0:
        return None, 0, -1
    has_vr = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    if not has_vr:
        file.seek(8 - len(head), io.SEEK_CUR)
    length = int.from_bytes(head[8:12] if has_vr else head[4:8], order)
    here = file.tell()
    bytes_left = file.seek(0, io.SEEK_END) - here
    is_plain = int.from_bytes(head[2:4], order) == 0x0010  # beside it there are FloatPixelData and the like
    return (-1 if length == WITHOUT_END else length), bytes_left, here if is_plain else -1
