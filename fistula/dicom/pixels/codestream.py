"""What compressed pixels declare themselves: their size, which a decoder would allocate, and how many frames begin."""

import struct
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, get_frame, parse_basic_offsets
from pydicom.uid import UID, RLELossless

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import whole

SEARCH = 1 << 16  # bytes from the start of a frame; the size stands among the first markers
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF of JPEG; F7 is that of JPEG-LS
STARTS = (b"\xff\x4f", b"\xff\xd8")  # of a frame of JPEG 2000, and of any other JPEG
RLE_START = struct.pack("<I", 64)  # bytes 4 to 8 of a frame of RLE: where its first segment begins (PS3.5 G.5)
STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}


def declared_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the SOF marker of JPEG (ISO 10918-1 B.2.2) or SIZ of JPEG 2000 (ISO 15444-1 A.5.1).

    None if the bytes are neither, or if the marker is not near the start.
    """
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        width, height, left, top = struct.unpack(">4I", frame[8:24])
        return height - top, width - left
    if frame[:2] != b"\xff\xd8":
        return None
    here = 2
    while here + 9 <= min(len(frame), SEARCH):
        if frame[here] != 0xFF:
            return None
        marker = frame[here + 1]
        if marker in FRAME_MARKERS:
            height, width = struct.unpack(">2H", frame[here + 5 : here + 9])
            return height, width
        if marker == 0xFF or marker in STANDALONE:
            here += 1 if marker == 0xFF else 2
            continue
        here += 2 + struct.unpack(">H", frame[here + 2 : here + 4])[0]
    return None


def refuse_other_size(dataset: Dataset, index: int) -> None:
    """Raise Refused if frame `index` is encapsulated and of another size than Rows and Columns, or begins too many."""
    syntax, frames = UID(dataset.file_meta.TransferSyntaxUID), whole(dataset, "NumberOfFrames") or 1
    if not syntax.is_encapsulated:
        return
    try:
        frame = get_frame(dataset.PixelData, index, number_of_frames=frames)
        begun = _begun(dataset.PixelData, syntax) if index == 0 else 0
    except Exception as error:  # broken fragments fail in several ways
        raise Refused("pixel data whose fragments cannot be separated", "Export it again") from error
    if begun > frames:
        raise Refused("compressed pixel data of more frames than it states", "Correct NumberOfFrames")
    size = declared_size(frame)
    if size is not None and size != (whole(dataset, "Rows"), whole(dataset, "Columns")):
        raise Refused("a compressed frame whose size differs from its header's", "Export it again")


def _begun(content: bytes, syntax: UID) -> int:
    """How many frames begin in pixel data, some of whose fragments may go on with one."""
    file = BytesIO(content)
    parse_basic_offsets(file)
    if syntax == RLELossless:
        return sum(fragment[4:8] == RLE_START for fragment in generate_fragments(file))
    return sum(fragment[:2] in STARTS for fragment in generate_fragments(file))
