"""Decode frames to physical values: decoder, modality transform, colour to grey, padding, polarity."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder
from pydicom.uid import UID

from fistula.dicom.header.mend import mend
from fistula.dicom.outcome import Refused, damage_refused
from fistula.dicom.parse import attribute, number, sequence, text, whole
from fistula.dicom.pixels.codestream import refuse_other_size
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.syntax import decoder_name, decoders
from fistula.dicom.pixels.window import Window

PANIC = "PanicException"  # what a decoder in Rust raises on damage; no Exception, and its class has no module
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601-7, 2.5.1


@dataclass(frozen=True)
class Picture:
    """One decoded frame.

    Attributes:
        values: Float32 ``(H, W)``, after the modality transform: the units that the file's windows are in.
        inside: Bool ``(H, W)``, False at pixel padding; None where there is none.
        signal_scale: `values` times this is proportional to the signal across series (Philips), else 1.
        is_inverted: True for MONOCHROME1, where low values are bright.
        window: The file's own window or VOI table, if it has one that can be used.
        spacing: Distance of rows, of columns in mm, if stated.
        aspect: Height of a pixel over its width, if that alone is stated.
        decoder: pydicom's plugin that did it.
        notes: What is odd about it.
    """

    values: np.ndarray
    inside: np.ndarray | None = None
    signal_scale: float = 1.0
    is_inverted: bool = False
    window: Window | None = None
    spacing: tuple[float, float] | None = None
    aspect: float = 1.0
    decoder: str = "native"
    notes: tuple[str, ...] = ()


class PixelFacts(NamedTuple):
    """What a header says of a frame's stored values; `Picture` says what each is for.

    Attributes:
        slope: Of the rescaling to modality values.
        intercept: Likewise.
        padding: Lowest and highest stored value that is padding.
    """

    slope: float
    intercept: float
    padding: tuple[int, int] | None
    signal_scale: float
    spacing: tuple[float, float] | None
    aspect: float
    notes: tuple[str, ...]
    window: Window | None


def decode(dataset: Dataset, frames: Sequence[int]) -> Iterator[Picture]:
    """Decode the frames with these indices, one after the other.

    Args:
        dataset: The whole object, as `fistula.dicom.parse.read_dataset` gives it; what its header misspells is mended.
        frames: Indices from 0.

    Raises:
        Refused: If a frame cannot be decoded, or a value that its pixels depend on cannot be read.
    """
    with damage_refused():
        mended = mend(dataset)
        mended.require()
    for index in frames:
        with damage_refused():
            picture = _decoded(dataset, index)
        yield picture


def _decoded(dataset: Dataset, index: int) -> Picture:
    stored, photometric, plugin = _stored(dataset, index)
    frame = Frame(dataset, index)
    if photometric == "PALETTE COLOR":
        stored = _painted(stored, dataset)
    values = _tabled(stored, dataset) if stored.ndim == 2 else stored.astype(np.float32) @ LUMA
    return picture_of(stored, pixel_facts(frame), photometric, values=values, decoder=plugin)


def pixel_facts(frame: Frame) -> PixelFacts:
    """What the frame's own group, or the object, says of its stored values.

    Raises:
        Refused: If a value cannot be read.
    """
    slope, intercept = _rescale(frame)
    padding, limit = (whole(frame.dataset, f"PixelPadding{word}") for word in ("Value", "RangeLimit"))
    low, high = sorted((padding or 0, (padding or 0) if limit is None else limit))
    window, notes = _window(frame)
    spacing = frame.spacing()
    return PixelFacts(
        slope=slope,
        intercept=intercept,
        padding=None if padding is None else (low, high),
        signal_scale=_philips_scale(frame, slope),
        spacing=spacing,
        aspect=frame.aspect() if spacing is None else 1.0,
        notes=notes,
        window=window,
    )


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
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise Refused("pixel values that are not finite")
    return Picture(
        values=values,
        inside=_not_padding(stored, *facts.padding) if facts.padding and stored.ndim == 2 else None,
        signal_scale=facts.signal_scale,
        is_inverted=photometric == "MONOCHROME1",
        window=facts.window,
        spacing=facts.spacing,
        aspect=facts.aspect,
        decoder=decoder,
        notes=facts.notes,
    )


def _stored(dataset: Dataset, index: int) -> tuple[np.ndarray, str, str]:
    """The frame's stored values, its photometric interpretation after decoding, and the plugin."""
    syntax = dataset.file_meta.TransferSyntaxUID
    plugins = decoders(str(syntax))
    if not plugins:
        raise Refused("no decoder for its transfer syntax")
    refuse_other_size(dataset, index)
    decoder = get_decoder(UID(syntax))
    for plugin in plugins:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # excess padding, and the like
                array, properties = decoder.as_array(
                    dataset, index=index, decoding_plugin="" if plugin == "native" else plugin
                )
        except MemoryError as error:
            raise Refused("needs more memory than there is") from error
        except Exception:  # noqa: S112 (each decoder fails in its own ways; the next may not)
            continue
        except BaseException as error:
            if type(error).__name__ != PANIC:  # the time limit, or somebody's Ctrl-C
                raise
            continue
        return array, str(properties["photometric_interpretation"]), decoder_name(plugin, syntax)
    raise Refused("pixels that no decoder could read", "Export it again, uncompressed")


def _painted(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Palette indices as RGB in the range of 8 bits."""
    try:
        painted = apply_color_lut(stored, dataset)
    except Exception as error:  # a palette of the wrong length fails in several ways
        raise Refused("a palette that cannot be read") from error
    return painted[..., :3] / (257.0 if painted.dtype == np.uint16 else 1.0)


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
    if (slope, intercept) == (1, 0):
        return stored.astype(np.float32)
    with np.errstate(over="ignore"):  # what is not finite is refused
        values = np.multiply(stored, slope, dtype=np.float64)
        values += intercept
        return values.astype(np.float32)


def _rescale(frame: Frame) -> tuple[float, float]:
    group = frame.group("PixelValueTransformationSequence")
    slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept")
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)


def _philips_scale(frame: Frame, slope: float) -> float:
    """1 / (rescale slope × scale slope): Philips' display values to floating-point values.

    FP = DV / (RS × SS), with SS in (2005,xx0E); source: dcm2niix, Philips/README.md, after Chenevert et al. (2014),
    Translational Oncology 7(1), 65-71. 1 where there is no scale slope.
    """
    scale_slope = frame.scale_slope()
    return 1 / (slope * scale_slope) if scale_slope and scale_slope > 0 and slope > 0 else 1.0


def _not_padding(stored: np.ndarray, low: int, high: int) -> np.ndarray | None:
    """False where a stored value is padding (PS3.3 C.7.5.1.1.2); None if none is."""
    inside = (stored < low) | (stored > high)
    # A whole picture of padding has nothing to look at; a picture without padding needs no mask.
    return None if inside.all() or not inside.any() else inside


def _window(frame: Frame) -> tuple[Window | None, tuple[str, ...]]:
    if tables := sequence(frame.dataset, "VOILUTSequence"):
        lowest = -1 if whole(frame.dataset, "PixelRepresentation") == 1 else _rescale(frame)[1]
        return _table_window(tables[0], is_signed=lowest < 0), ()
    group = frame.group("FrameVOILUTSequence")
    center, width = number(group, "WindowCenter"), number(group, "WindowWidth")
    if center is None and width is None:
        return None, ()
    function = text(group, "VOILUTFunction") or "LINEAR"
    least = 1 if function == "LINEAR" else 0
    if center is None or width is None or width < least or width == 0:  # some makers write 0/0
        return None, ("a window that shows nothing",)
    return Window(center, width, function), ()


def _table_window(item: Dataset, *, is_signed: bool) -> Window:
    descriptor, data = attribute(item, "LUTDescriptor"), attribute(item, "LUTData")
    try:
        if isinstance(descriptor, bytes):  # implicit VR, which leaves open whether it is signed
            descriptor = np.frombuffer(descriptor, "<u2")
        entries, first, bits = (int(value) for value in descriptor)
        if is_signed and first > 32767:
            first -= 65536
        if isinstance(data, bytes):
            data = np.frombuffer(data, "<u2") if len(data) >= 2 * (entries or 65536) else np.frombuffer(data, "u1")
        table = np.asarray(data, np.float64)[: entries or 65536]
        if not len(table) or not 8 <= bits <= 16:
            raise ValueError(bits)
    except (TypeError, ValueError, IndexError) as error:
        raise Refused("a table of shades that cannot be read", "Correct the header, or export it again") from error
    return Window(table=np.clip(table / (2**bits - 1), 0, 1), first=float(first))
