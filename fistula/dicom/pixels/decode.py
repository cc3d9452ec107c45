"""Decode frames to physical values: decoder, modality transform, colour to grey, padding, polarity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from fistula.dicom.header.mend import mend
from fistula.dicom.outcome import Refused, damage_refused
from fistula.dicom.parse import sequence, whole
from fistula.dicom.pixels.codestream import compared, contradictions, encoded, refuse_misplaced
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.jpeg import alone, in_plain_colors, with_more
from fistula.dicom.pixels.stated import PixelFacts, has_bits_beyond, pixel_facts
from fistula.dicom.pixels.syntax import decoded_by, decoder_name, decoders
from fistula.dicom.pixels.window import Window

SWAPPED = "16-bit values that are far smoother with their bytes exchanged: perhaps in the other byte order"
COVERED = "padding that covers a whole picture, not applied"
UNNAMED = "CT values below -1500 HU that PixelPaddingValue does not name, taken as padding"
ROWS, SMOOTHER = 4, 8  # that are looked at, and by how much
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601-7, 2.5.1


@dataclass(frozen=True)
class Picture:
    """One decoded frame."""

    values: np.ndarray  # float32 ``(H, W)``, after the modality transform: the units that the file's windows are in
    inside: np.ndarray | None = None  # bool ``(H, W)``, False at pixel padding; None where there is none
    signal_scale: float = 1.0  # `values` times this is proportional to the signal across series (Philips), else 1
    is_inverted: bool = False  # True for MONOCHROME1, where low values are bright
    window: Window | None = None  # the file's own window or VOI table, if it has one that can be used
    spacing: tuple[float, float] | None = None  # distance of rows, of columns in mm, if stated
    aspect: float = 1.0  # height of a pixel over its width, if that alone is stated
    decoder: str = "native"  # pydicom's plugin that did it
    notes: tuple[str, ...] = ()  # what is odd about it


def decode(dataset: Dataset, frames: Sequence[int]) -> Iterator[Picture]:
    """Decode the frames with these indices, one after the other; one that raises does not end those after it.

    Args:
        dataset: The whole object, as `fistula.dicom.parse.read_dataset` gives it; what its header misspells is mended.
        frames: Indices from 0.

    Raises:
        Refused: If a frame cannot be decoded, or may be another, or a value that its pixels depend on cannot be read.
    """
    with damage_refused():
        mended = mend(dataset)
        mended.require()
        refuse_misplaced(dataset)
    return map(partial(_decoded, dataset), frames)


@damage_refused()
def _decoded(dataset: Dataset, index: int) -> Picture:
    stored, photometric, plugin, notes = _stored(dataset, index)
    if stored.dtype.itemsize == 4 and dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        _refuse_swapped(stored)
    frame = Frame(dataset, index)
    if photometric == "PALETTE COLOR":
        stored = _painted(stored, dataset)
    values = _tabled(stored, dataset) if stored.ndim == 2 else stored.astype(np.float32) @ LUMA
    facts = pixel_facts(frame)
    facts = facts._replace(notes=(*facts.notes, *notes))
    return picture_of(stored, facts, photometric, values=values, decoder=plugin)


def picture_of(
    stored: np.ndarray,
    facts: PixelFacts,
    photometric: str,
    *,
    values: np.ndarray | None = None,
    decoder: str = "native",
) -> Picture:
    """What stored values ``(H, W)`` mean, or `values` where a table or colours have said it already.

    Raises:
        Refused: If a value is not finite.
    """
    values = _rescaled(stored, facts.slope, facts.intercept) if values is None else values
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refused("pixel values that are not finite")
    inside = _not_padding(stored, *facts.padding) if facts.padding and stored.ndim == 2 else None
    odd = ["one value throughout"] * bool(low == high) + [SWAPPED] * _looks_swapped(stored)
    if inside is not None and not inside.any():  # nothing to look at would be left
        inside, odd = None, odd + [COVERED] * bool(low < high)
    if facts.floor is not None and low < facts.floor and (low == high or facts.floor <= high):
        matter = values >= facts.floor
        odd += [UNNAMED] * bool(inside is None or (inside & ~matter).any())
        inside = matter if inside is None else inside & matter
    return Picture(
        values=values,
        inside=inside,
        signal_scale=facts.signal_scale,
        is_inverted=photometric == "MONOCHROME1",
        window=facts.window,
        spacing=facts.spacing,
        aspect=facts.aspect,
        decoder=decoder,
        notes=(*facts.notes, *odd),
    )


def _stored(dataset: Dataset, index: int) -> tuple[np.ndarray, str, str, list[str]]:
    """The frame's stored values, its photometric interpretation after decoding, the plugin, and what is odd."""
    syntax = dataset.file_meta.TransferSyntaxUID
    plugins = decoders(str(syntax))
    if not plugins:
        raise Refused("no decoder for its transfer syntax")
    frame = encoded(dataset, index)
    found = compared(dataset, frame)
    source, notes = in_plain_colors(dataset, frame) or (dataset, [])
    place = index if source is dataset else 0
    if plugins[0] == "native":
        _refuse_bits_beyond(dataset, index)
    for plugin in plugins:
        done = decoded_by(source, place, plugin)
        if done is None:
            continue
        array, photometric = done
        # The others say themselves how many bits they have.
        if syntax == RLELossless and whole(dataset, "BitsStored") != whole(dataset, "BitsAllocated"):
            raw = decoded_by(source, place, plugin, correct_unused_bits=False)
            if raw is not None:
                _refuse_bits_beyond(dataset, index, raw[0])
        if array.ndim == 3 and photometric != "RGB":
            raise Refused(f"{photometric} that no decoder turns into RGB", "Export it again as RGB")
        more = with_more(encoded(source, place))
        again = decoded_by(alone(source, more), 0, plugin) if more else None  # not `done`: NaN is not equal to itself
        if again is not None and not np.array_equal(array, again[0]):
            raise Refused("a compressed frame whose data are cut short", "Export it again")
        notes += contradictions(dataset, found, array) if found else []
        return array, photometric, decoder_name(plugin, syntax), notes
    if plugins[0] == "native":
        raise Refused("pixel data that contradict their header", "Correct the header, or export it again")
    raise Refused("pixels that no decoder could read", "Export it again, uncompressed")


def _refuse_bits_beyond(dataset: Dataset, index: int, decoded: np.ndarray | None = None) -> None:
    """Refuse words of more bits than BitsStored, which decoders cut off; an overlay and padding may lie there."""
    allocated, stored = whole(dataset, "BitsAllocated") or 0, whole(dataset, "BitsStored") or 0
    if allocated != 16 or not 0 < stored < allocated:
        return
    if decoded is None:
        count = dataset.Rows * dataset.Columns * (whole(dataset, "SamplesPerPixel") or 1)
        is_big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
        content = dataset.PixelData[2 * count * index : 2 * count * (index + 1)]
        raw = np.frombuffer(content[: len(content) // 2 * 2], ">u2" if is_big else "<u2")
    else:
        raw = decoded.astype(np.uint16)
    padding = whole(dataset, "PixelPaddingValue")
    raw = raw if padding is None else raw[raw != padding % 2**16]
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x0102) in dataset and (group, 0x3000) not in dataset:  # no data of its own: in the pixels' words
            bit = int(dataset[group, 0x0102].value or 0)
            # A bit that is a pixel's says nothing of where among the others it lies; one bit allocated, that its data
            # stood apart and are gone.
            is_apart = bit >= stored or ((group, 0x0100) in dataset and dataset[group, 0x0100].value == 1)
            raw = raw & ~np.uint16(1 << bit) if is_apart else raw & np.uint16((1 << stored) - 1)
    if has_bits_beyond(raw, stored, is_signed=whole(dataset, "PixelRepresentation") == 1):
        rule = f"stored values of more than its {stored} bits (BitsStored)"
        raise Refused(rule, "Correct BitsStored and HighBit, or export it again")


def _refuse_swapped(stored: np.ndarray) -> None:
    """Refuse integers of 32 bits whose halves were exchanged, as far as their values tell: small ones become large."""
    if stored.dtype.kind in "iu":
        words = stored.astype(np.int64)
        high, low = (set(np.unique(half & 0xFFFF)) - {0, 0xFFFF} for half in (words >> 16, words))
        if high and not low:
            rule = "32-bit values in big endian whose 16-bit words are in the other order"
            raise Refused(rule, "Convert the files to explicit VR little endian")


def _looks_swapped(stored: np.ndarray) -> bool:
    """Whether 16-bit values of neighbors differ far less once their bytes are exchanged, by a few rows."""
    if stored.dtype.itemsize != 2 or stored.ndim != 2:
        return False
    rows = stored[:: max(1, len(stored) // ROWS)]
    found, other = (
        np.abs(np.subtract(one[:, 1:], one[:, :-1], dtype=np.int32)).sum() for one in (rows, rows.byteswap())
    )
    return bool(found > SMOOTHER * other) and len(np.unique(rows & 0xFF)) > 2  # of one byte, the other is empty


def _painted(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Palette indices as RGB in the range of 8 bits."""
    try:
        painted = apply_color_lut(stored, dataset)[..., :3]
        if painted.dtype != np.uint16:
            return painted
        # Many writers put colors of 8 bits into words of 16, whatever the descriptor says.
        count, first, _ = dataset.RedPaletteColorLookupTableDescriptor
        colors = apply_color_lut(np.arange(first, first + (count or 1 << 16)), dataset)
    except Exception as error:  # a palette of the wrong length fails in several ways
        raise Refused("a palette that cannot be read") from error
    return painted / (257.0 if colors[..., :3].max() > 255 else 1.0)


def _tabled(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Values by the modality table; None where there is none."""
    if not sequence(dataset, "ModalityLUTSequence"):
        return None
    try:
        return apply_modality_lut(stored, dataset).astype(np.float32)
    except Exception as error:  # as for palettes
        raise Refused("a modality table that cannot be read") from error


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Stored values after PS3.3 C.11.1, in double precision until they are there."""
    with np.errstate(over="ignore"):  # what is not finite is refused
        if (slope, intercept) == (1, 0):
            return stored.astype(np.float32)
        if not intercept:  # as of nearly all MRI, and every pass counts
            values = np.empty(stored.shape, np.float32)
            return np.multiply(stored, slope, out=values, dtype=np.float64, casting="unsafe")
        return (np.multiply(stored, slope, dtype=np.float64) + intercept).astype(np.float32)


def _not_padding(stored: np.ndarray, low: float, high: float) -> np.ndarray | None:
    """False where a stored value is padding (PS3.3 C.7.5.1.1.2); None if none is."""
    inside = (stored < low) | (stored > high)
    return None if inside.all() else inside
