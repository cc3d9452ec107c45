"""Which objects are images, by SOP class (PS3.4 B.5) and by what they hold."""

from typing import Literal

from pydicom.datadict import dictionary_has_tag
from pydicom.uid import UID, AllTransferSyntaxes
from pydicom.valuerep import VR

from fistula.dicom.header.mend import NUMBERS, Mended, mend
from fistula.dicom.header.raw import is_absent, is_empty
from fistula.dicom.header.twice import note_twice
from fistula.dicom.outcome import Refused, Skipped
from fistula.dicom.parse import Header, text, whole

PIXELS_PER_FRAME = 1 << 26  # 8192 x 8192: larger than any detector, small enough to allocate
MAX_FRAMES = 100_000
BEYOND = "pixel data of more bytes than its rows, columns and frames need, the rest not used"
PADDED = 1024  # bytes of padding behind the pixels, which some writers fill up to whole blocks
ELEMENT = 1 << 16  # bytes of one behind the pixels that is taken for an element
VRS = frozenset(str(vr).encode() for vr in VR if len(vr) == 2)
SIZES = NUMBERS.keys() | {"PhotometricInterpretation"}  # without these not even the facts of its frames are known

DICOMDIR = "a DICOMDIR"
# Tested in this order against the name of the SOP class; the first that occurs gives the reason.
NOT_IMAGES = {
    "Media Storage Directory": DICOMDIR,
    "Segmentation": "a segmentation",
    "Presentation State": "a presentation state",
    "Encapsulated": "an encapsulated document",
    " SR": "a structured report",
    "Structured Report": "a structured report",
    "Key Object": "a structured report",
    "Procedure Log": "a structured report",
    "Report": "a structured report",
    "RT ": "a radiotherapy object",
    "Radiotherapy": "a radiotherapy object",
    "Tractography": "a tractography result",
    "Raw Data": "raw data",
    "Spectroscopy": "a spectrum",
    "Waveform": "a waveform",
    "ECG": "a waveform",
    "Registration": "a spatial registration",
    "Fiducials": "spatial fiducials",
    "Parametric Map": "a parametric map",
    "Real World Value": "a value mapping",
    "Stereometric": "a stereometric relation",
    "Measurement": "a measurement",
    "Refraction": "a measurement",
    "Keratometry": "a measurement",
    "Acuity": "a measurement",
    "Hanging Protocol": "a protocol",
    "Protocol": "a protocol",
    "Color Palette": "a palette",
    "Surface": "a surface",
    "Inventory": "an inventory",
    "Content Assessment": "an assessment",
    "Microscopy Bulk Simple Annotations": "annotations",
}
# SOP classes that pydicom's dictionary may not have: retired and private ones.
OTHER_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation",  # label map
    "1.2.840.10008.5.1.4.1.1.66.8": "a segmentation",  # height map
    "1.2.840.10008.5.1.4.1.1.10": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.3.46.670589.11.0.0.12.1": "a spectrum",  # Philips private MR spectrum
    "1.3.46.670589.11.0.0.12.2": "raw data",  # Philips private MR series data
    "1.3.46.670589.11.0.0.12.4": "raw data",  # Philips private MR examcard
    "1.3.46.670589.2.3.1.1": "raw data",
    "1.3.46.670589.2.4.1.1": "a structured report",
    "1.3.46.670589.2.5.1.1": "a surface",
    "1.3.12.2.1107.5.9.1": "raw data",  # Siemens CSA non-image
    "1.2.840.113619.4.30": "raw data",  # GE private
}


def require_image(header: Header) -> Mended:
    """Mend the header of an image, and return what was mended if it makes sense.

    Raises:
        Skipped: If it is another kind of object.
        Refused: If it is an image without pixels, of one bit, of an absurd size, or cut short.
    """
    dataset = header.dataset
    sop_class = text(dataset, "SOPClassUID") or _meta_class(dataset)
    _refuse_other_kinds(sop_class)
    if not is_absent(dataset, "DirectoryRecordSequence"):
        raise Skipped(DICOMDIR)
    if header.has_preamble and header.pixel_bytes is None and not sop_class and not getattr(dataset, "file_meta", None):
        raise Refused("a damaged DICOM file: nothing in it says what it is", "Export it again")
    if header.pixel_bytes is None:
        has_matrix = not is_empty(dataset, "Rows") and not is_empty(dataset, "Columns")
        if not has_matrix and "Image" not in UID(sop_class).name:
            raise Skipped("a DICOM object without an image")
        raise Refused("an image object without pixel data", "Export it again")
    _refuse_what_follows(header)
    mended = mend(dataset)
    note_twice(header.twice, mended)
    if {*mended.unreadable, *mended.twice} & SIZES:
        mended.require()
    if _bytes_beyond(header) > 1:  # one makes an even length
        mended.notes.add(BEYOND)
    return mended


def _refuse_what_follows(header: Header) -> None:
    """Refuse what a header has behind its pixels: elements that belong before them, which nobody reads there."""
    behind, (is_implicit, is_little) = header.behind, header.dataset.original_encoding
    order: Literal["big", "little"] = "big" if is_little is False else "little"
    group, element = (int.from_bytes(behind[at : at + 2], order) for at in (0, 2))
    # Two pixels of 16 look like a tag: what follows has to be of its kind too.
    is_element = int.from_bytes(behind[4:8], order) < ELEMENT if is_implicit else behind[4:6] in VRS
    is_known = is_element and group < 0x7FE0 and dictionary_has_tag(group << 16 | element)
    if behind[128:132] == b"DICM" or (group == 0x0002 and behind[4:6] in VRS):
        raise Refused("a second DICOM object behind the first, in one file", "Export each to a file of its own")
    if group >= 0x0008 and is_known:
        remedy = "Write the elements in the order of their tags, as dcmconv does"
        raise Refused("attributes behind the pixel data, where they do not belong", remedy)


def _meta_class(dataset: object) -> str:
    meta = getattr(dataset, "file_meta", None)
    return text(meta, "MediaStorageSOPClassUID") if meta else ""


def _refuse_other_kinds(sop_class: str) -> None:
    if sop_class in OTHER_CLASSES:
        raise Skipped(OTHER_CLASSES[sop_class])
    name = UID(sop_class).name
    if name == sop_class:
        return
    for part, reason in NOT_IMAGES.items():
        if part in name:
            raise Skipped(reason)


def _bytes_beyond(header: Header) -> int:
    """How many bytes of uncompressed pixels are more than are needed; refuses what cannot be a size."""
    dataset = header.dataset
    rows, columns = whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0
    frames, stated = num_frames(header), whole(dataset, "SamplesPerPixel")
    samples = 1 if stated is None else stated
    allocated, stored = whole(dataset, "BitsAllocated") or 0, whole(dataset, "BitsStored")
    if rows <= 0 or columns <= 0:
        raise Refused("an image without rows or columns")
    if rows * columns * samples > PIXELS_PER_FRAME or frames > MAX_FRAMES:
        raise Refused("an implausible number of pixels or frames")
    if allocated == 1:
        raise Refused("one bit per pixel", "If it is a mask, give it as labels=masks; else export it with 8 bits")
    if allocated not in (8, 16, 32, 64):
        raise Refused(f"BitsAllocated {allocated}, not 8, 16, 32 or 64", "Export it again with 16 bits per pixel")
    if samples not in (1, 3):
        raise Refused(f"SamplesPerPixel {samples}, not 1 or 3", "Export it again as grayscale or RGB")
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric and photometric.startswith(("RGB", "YBR")) != (samples == 3):
        raise Refused(f"SamplesPerPixel {samples} with {photometric}", "Correct the header, or export it again")
    if missing := [keyword for keyword in _needed(allocated, samples) if is_empty(dataset, keyword)]:
        raise Refused(f"an image without {missing[0]}", "Export it again")
    if stored is not None and not 0 < stored <= allocated:
        raise Refused("more bits stored than allocated")
    high = whole(dataset, "HighBit")
    if stored is not None and stored < allocated and high is not None and high != stored - 1:
        raise Refused("a high bit that does not match the bits stored")  # every decoder takes the lowest bits
    return _of_other_length(
        header, num_bytes=_uncompressed_bytes(header, rows * columns * frames, samples, allocated), frames=frames
    )


def _needed(allocated: int, samples: int) -> tuple[str, ...]:
    """What no decoder does without (PS3.3 C.7.6.3); 32 bits may be floating-point numbers, which need less."""
    always = ("SamplesPerPixel", "PhotometricInterpretation", *(["PlanarConfiguration"] if samples > 1 else []))
    return (*always, "BitsStored", "PixelRepresentation") if allocated <= 16 else always


def num_frames(header: Header) -> int:
    """Frames in the object; 1 where it does not say.

    Raises:
        Refused: If the number cannot be one.
    """
    if is_empty(header.dataset, "NumberOfFrames"):
        return 1
    frames = whole(header.dataset, "NumberOfFrames")
    if frames is None or frames < 0:
        raise Refused("an invalid number of frames")
    return max(frames, 1)


def _uncompressed_bytes(header: Header, pixels: int, samples: int, allocated: int) -> int:
    # 4:2:2 stores two samples a pixel, one of them chroma in turn (PS3.3 C.7.6.3.1.2).
    if text(header.dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    return pixels * samples * allocated // 8


def _of_other_length(header: Header, *, num_bytes: int, frames: int) -> int:
    syntax = UID(header.syntax)
    if syntax not in AllTransferSyntaxes:
        return 0  # of which whoever looks for a decoder speaks
    if header.pixel_bytes == -1:
        if header.bytes_left <= 16:
            raise Refused("pixel data cut short", "Export it again")
        if not syntax.is_encapsulated:
            raise Refused("compressed pixel data under an uncompressed transfer syntax", "Export it again")
        return 0
    if syntax.is_encapsulated:
        return 0  # compressed but not encapsulated: the decoder judges it
    if min(header.pixel_bytes or 0, header.bytes_left) < num_bytes:
        raise Refused("pixel data cut short", "Export it again")
    beyond = (header.pixel_bytes or 0) - num_bytes
    if beyond >= max(num_bytes // frames, PADDED):
        raise Refused("pixel data of more frames, rows, columns or bits than it states", "Correct the header")
    return beyond
