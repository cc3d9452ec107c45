"""What compressed pixels declare themselves, which no decoder holds against the header: size, samples, bits, frames."""

import struct
from io import BytesIO
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame, parse_basic_offsets, parse_fragments
from pydicom.uid import UID, RLELossless

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import whole
from fistula.dicom.pixels.jpeg import STARTS, codestream, refuse_open

SEARCH = 1 << 16  # bytes from the start of a frame; the size stands among the first markers
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF of JPEG; F7 is that of JPEG-LS
RLE_START = struct.pack("<I", 64)  # bytes 4 to 8 of a frame of RLE: where its first segment begins (PS3.5 G.5)
INSEPARABLE = ("pixel data whose fragments cannot be separated", "Export it again")
STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}


class Declared(NamedTuple):
    """What a compressed frame says of itself."""

    size: tuple[int, int]  # rows and columns
    samples: int  # of a pixel
    bits: int  # of a sample
    is_signed: bool | None  # None where its kind does not say


def declared(frame: bytes) -> Declared | None:
    """By the SOF marker of JPEG (ISO 10918-1 B.2.2) or SIZ of JPEG 2000 (ISO 15444-1 A.5.1).

    None if the bytes are neither, or if the marker is not near the start.
    """
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 43:
        width, height, left, top = struct.unpack(">4I", frame[8:24])
        depth = frame[42]
        samples = int.from_bytes(frame[40:42], "big")
        return Declared((height - top, width - left), samples, (depth & 0x7F) + 1, depth > 0x7F)
    if frame[:2] != b"\xff\xd8":
        return None
    here = 2
    while here + 10 <= min(len(frame), SEARCH):
        if frame[here] != 0xFF:
            return None
        marker = frame[here + 1]
        if marker in FRAME_MARKERS:
            height, width = struct.unpack(">2H", frame[here + 5 : here + 9])
            return Declared((height, width), frame[here + 9], frame[here + 4], None)
        if marker == 0xFF or marker in STANDALONE:
            here += 1 if marker == 0xFF else 2
            continue
        here += 2 + struct.unpack(">H", frame[here + 2 : here + 4])[0]
    return None


def refuse_misplaced(dataset: Dataset) -> None:
    """Refuse compressed pixel data of which some frame may be taken for another.

    Raises:
        Refused: If more frames begin than the header states, or if a table says of one that it begins elsewhere
            (PS3.5 A.4, PS3.3 C.7.6.3.1.8).
    """
    syntax, frames = UID(dataset.file_meta.TransferSyntaxUID), whole(dataset, "NumberOfFrames") or 1
    if not syntax.is_encapsulated or "PixelData" not in dataset:
        return
    try:
        begun, tables = _begun(dataset.PixelData, syntax), _offsets(dataset)
        is_of_lengths = _is_of_lengths(dataset)
    except Exception as error:  # broken fragments fail in several ways
        raise Refused(*INSEPARABLE) from error
    if any((np.diff(table) <= 0).any() for table in tables):
        raise Refused("compressed frames whose table of offsets is not in their order", "Export it again")
    if len(begun) > frames:
        raise Refused("compressed pixel data of more frames than it states", "Correct NumberOfFrames")
    if any(table.size and not _fits(table, begun, frames) for table in tables):
        raise Refused("compressed frames that do not begin where their table of offsets says", "Export it again")
    if not is_of_lengths:
        raise Refused(
            "an extended table of offsets whose lengths are missing or not those of its frames", "Export it again"
        )


def encoded(dataset: Dataset, index: int) -> bytes:
    """Frame `index` as it is compressed; empty if it is not encapsulated.

    Raises:
        Refused: If it cannot be told from the others.
    """
    if not UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated:
        return b""
    try:
        return get_frame(dataset.PixelData, index, number_of_frames=whole(dataset, "NumberOfFrames") or 1)
    except Exception as error:  # as above
        raise Refused(*INSEPARABLE) from error


def compared(dataset: Dataset, frame: bytes) -> Declared | None:
    """What a frame, as it is compressed, says of itself; None if it does not.

    Raises:
        Refused: If it is of another size or number of samples than the header says, or has no end.
    """
    frame = codestream(frame)
    refuse_open(frame)
    found = declared(frame)
    if found and found.size != (whole(dataset, "Rows"), whole(dataset, "Columns")):
        raise Refused("a compressed frame whose size differs from its header's", "Export it again")
    if found and found.samples != (whole(dataset, "SamplesPerPixel") or 1):
        raise Refused("a compressed frame of another number of samples than SamplesPerPixel", "Export it again")
    return found


def contradictions(dataset: Dataset, found: Declared, stored: np.ndarray) -> list[str]:
    """What decoded values have otherwise than the header says; the bits are then the stream's, the sign the header's.

    Args:
        dataset: The object.
        found: What the frame says of itself.
        stored: Its decoded values.
    """
    is_signed, bits = whole(dataset, "PixelRepresentation") == 1, whole(dataset, "BitsStored") or found.bits
    # Where the sign fills all above it, or there is none, the bits say nothing of a value that fits into them.
    is_wide = int(stored.max()) >> bits > 0 if not is_signed else found.bits != bits
    notes = {"BitsStored, not applied": is_wide, "PixelRepresentation, applied": found.is_signed is not is_signed}
    if found.is_signed is None:
        del notes["PixelRepresentation, applied"]
    return [f"compressed values that contradict {note}" for note, is_so in notes.items() if is_so]


def _begun(content: bytes, syntax: UID) -> list[int]:
    """Where frames begin in pixel data, in bytes as a table counts them; some fragments may go on with one."""
    file = BytesIO(content)
    parse_basic_offsets(file)
    first = file.tell()
    _, fragments = parse_fragments(file)
    starts = ((here - first, content[here + 8 : here + 16]) for here in fragments)  # behind tag and length
    if syntax == RLELossless:
        return [here for here, start in starts if start[4:8] == RLE_START]
    return [here for here, start in starts if start[:2] in STARTS]


def _fits(table: np.ndarray, begun: list[int], frames: int) -> bool:
    """Whether a table is of this many frames and has them where they begin, as far as all were recognized."""
    return len(table) == frames and table[0] == 0 and (len(begun) < frames or table.tolist() == begun)


def _is_of_lengths(dataset: Dataset) -> bool:
    """Whether an extended table, if there is one, has the lengths of its frames (PS3.3 C.7.6.3.1.8)."""
    if not dataset.get("ExtendedOffsetTable"):
        return True
    stated = np.frombuffer(dataset.get("ExtendedOffsetTableLengths") or b"", "<u8").astype(np.int64)
    file = BytesIO(dataset.PixelData)
    parse_basic_offsets(file)
    _, fragments = parse_fragments(file)  # a frame each
    found = np.array([int.from_bytes(dataset.PixelData[here + 4 : here + 8], "little") for here in fragments])
    return len(stated) == len(found) and bool((stated + stated % 2 == found).all())


def _offsets(dataset: Dataset) -> list[np.ndarray]:
    """Where frames begin, in bytes, by the basic and the extended table; either may be empty."""
    extended = dataset.get("ExtendedOffsetTable") or b""
    return [np.array(parse_basic_offsets(dataset.PixelData), np.int64), np.frombuffer(extended, "<u8").astype(np.int64)]
