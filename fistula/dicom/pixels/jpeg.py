"""What streams of the JPEG family say that decoders take little notice of: where they end, what their colors are."""

import struct
from collections.abc import Iterator

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import text, whole

END, SCAN, CODES = b"\xff\xd9", b"\xff\xda", b"\xff\x93"  # EOI or EOC; SOS; SOD
STARTS = (b"\xff\x4f", b"\xff\xd8")  # of a frame of JPEG 2000, and of any other JPEG
JP2 = b"\0\0\0\x0cjP  "  # begins a file of JPEG 2000 (ISO 15444-1 I.5.1)
RESTARTS = tuple(bytes((0xFF, marker)) for marker in range(0xD0, 0xD8))
HUFFMAN = frozenset((0xC0, 0xC1, 0xC2, 0xC3))  # SOF of what is coded so, lossless or not
INTERVAL = 0xDD  # DRI: after how many units the coder starts anew
MARKS = range(0xE0, 0xF0)  # APPn, in which standards other than DICOM say what the colors are
MORE = bytes.fromhex("5ac3962d71b4e81d") * 4  # bits of no meaning
OF_ADOBE = {0: "RGB", 1: "YBR"}  # its transform (ISO 10918-6 6.5.3)
OF_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # says that nothing was transformed
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
NEEDED = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
OTHERWISE = "colors of a JPEG that contradict PhotometricInterpretation, read as the JPEG says"
UNSAID = "a JPEG that does not say whether its colors are RGB, as PhotometricInterpretation does"


def codestream(frame: bytes) -> bytes:
    """The stream that a file of JPEG 2000 holds, where a frame is one, against PS3.5 A.4.4; any other as it is.

    Raises:
        Refused: If its boxes lead nowhere, or in a circle.
    """
    if not frame.startswith(JP2):
        return frame
    here = 0
    while here + 8 <= len(frame):
        length = int.from_bytes(frame[here : here + 4], "big")
        if frame[here + 4 : here + 8] == b"jp2c":
            return frame[here + 8 :]
        if length < 8:
            break
        here += length
    raise Refused("a compressed frame without a picture in it", "Export it again")


def refuse_open(frame: bytes) -> None:
    """Refuse a stream without an end: a part of it was lost, or overwritten with zeros.

    Raises:
        Refused: If it has none.
    """
    if frame[:2] in STARTS:
        begin = max(frame.find(SCAN), frame.find(CODES) if frame[:2] == STARTS[0] else -1)
        if frame.find(END, max(begin, 0)) < 0:
            raise Refused("a compressed frame without its end", "Export it again")


def with_more(frame: bytes) -> bytes | None:
    """The stream with something added to its data; None if it is not coded by Huffman.

    A decoder never looks at that if the data are whole; if they are cut short, it takes it for them.
    """
    segments = {marker: frame[begin + 4 : end] for marker, begin, end in _segments(frame)}
    if HUFFMAN.isdisjoint(segments):
        return None
    end = frame.rfind(END)
    more = b"\0" * (frame[end - 1 : end] == b"\xff") + MORE  # half of a pair would make a mark of what follows
    if any(segments.get(INTERVAL, b"")):  # at the end of one a decoder looks for its mark first
        last = max((frame.rfind(one, 0, end), number) for number, one in enumerate(RESTARTS))
        more += RESTARTS[(last[1] + 1) % len(RESTARTS) if last[0] > 0 else 0] + MORE
    return frame[:end] + more + frame[end:]


def in_plain_colors(dataset: Dataset, frame: bytes) -> tuple[Dataset, list[str]] | None:
    """A lossy color JPEG as an object of its own that says once what its colors are, and what is odd about it.

    Decoders hold what the marks of other standards say against the header in ways of their own, and convert twice, or
    not at all. None if it is no such JPEG.
    """
    if dataset.file_meta.TransferSyntaxUID not in LOSSY or whole(dataset, "SamplesPerPixel") != 3:
        return None
    said, stated = text(dataset, "PhotometricInterpretation")[:3], _stated_colors(frame)
    notes = [OTHERWISE] * (stated not in ("", said)) + [UNSAID] * (not stated and said == "RGB")
    marks = [(begin, end) for marker, begin, end in _segments(frame) if marker in MARKS]
    for begin, end in reversed(marks):
        frame = frame[:begin] + frame[end:]
    if (stated or said) == "RGB":
        return alone(dataset, frame[:2] + OF_RGB + frame[2:], "RGB"), notes
    return alone(dataset, frame, "YBR_FULL_422"), notes


def alone(dataset: Dataset, frame: bytes, photometric: str = "") -> Dataset:
    """An object of one frame, with no more than a decoder needs."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    for keyword in NEEDED:
        if keyword in dataset:
            made[keyword] = dataset[keyword]
    if photometric:
        made.PhotometricInterpretation = photometric
    made.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    return made


def _stated_colors(frame: bytes) -> str:
    """RGB or YBR by the stream's own account; empty if it leaves that to the header.

    By Adobe's and JFIF's segments, or the letters that are the components' numbers; and since nobody stores red, green
    and blue in different sizes, by these.
    """
    adobe = jfif = shape = ""
    for marker, begin, end in _segments(frame):
        content = frame[begin + 4 : end]
        if marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12:
            adobe = OF_ADOBE.get(content[11], "")
        elif marker == 0xE0 and content[:4] == b"JFIF":
            jfif = "YBR"
        elif marker in HUFFMAN and len(content) >= 15:
            numbers, sizes = content[6:15:3], content[7:15:3]
            shape = "YBR" if len({*sizes}) > 1 else "RGB" if numbers.upper() == b"RGB" else ""
    return shape or adobe or jfif


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of what stands before the data of a JPEG, as far as it can be followed."""
    here = 2 if frame[:2] == STARTS[1] else len(frame)
    while frame[here : here + 1] == b"\xff" and here + 4 <= len(frame):
        marker = frame[here + 1]
        if marker == SCAN[1]:
            return
        length = struct.unpack(">H", frame[here + 2 : here + 4])[0]
        if marker == 0xFF:  # fills
            here += 1
            continue
        yield marker, here, here + 2 + length
        here += 2 + max(length, 2)
