"""What a header says of a frame's stored values: how they are rescaled, what is padding, how they are shown."""

from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from fistula.dicom.header.mend import LARGEST_SLOPE
from fistula.dicom.header.raw import is_absent
from fistula.dicom.header.spelling import OTHERWISE
from fistula.dicom.outcome import Refused
from fistula.dicom.parse import attribute, number, sequence, text, whole
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.window import Window

LOWEST_HU = -1500.0  # air is -1000, and noise about it far from this; makers pad with -2000, -2048 or -3024


class PixelFacts(NamedTuple):
    """What a header says of a frame's stored values; `Picture` says what each is for.

    Attributes:
        slope: Of the rescaling to modality values.
        intercept: Likewise.
        padding: Lowest and highest stored value that is padding.
        floor: Lowest modality value that any matter gives; None where that is not known.
    """

    slope: float
    intercept: float
    padding: tuple[float, float] | None
    floor: float | None
    signal_scale: float
    spacing: tuple[float, float] | None
    aspect: float
    notes: tuple[str, ...]
    window: Window | None


def pixel_facts(frame: Frame) -> PixelFacts:
    """What the frame's own group, or the object, says of its stored values.

    Raises:
        Refused: If a value cannot be read.
    """
    slope, intercept = _rescale(frame)
    # Of floating-point pixels it is a number of their kind (PS3.3 C.7.6.24, C.7.6.25).
    kind = next((kind for kind in ("Float", "DoubleFloat") if not is_absent(frame.dataset, f"{kind}PixelData")), "")
    words, read = (f"{kind}PixelPadding{word}" for word in ("Value", "RangeLimit")), number if kind else whole
    padding, limit = (read(frame.dataset, word) for word in words)
    low, high = sorted((padding or 0, (padding or 0) if limit is None else limit))
    window, notes = _window(frame)
    spacing = frame.spacing()
    return PixelFacts(
        slope=slope,
        intercept=intercept,
        padding=None if padding is None else (low, high),
        floor=LOWEST_HU if _is_hounsfield(frame) else None,
        signal_scale=_philips_scale(frame, slope),
        spacing=spacing,
        aspect=frame.aspect() if spacing is None else 1.0,
        notes=(*notes, *_scale_notes(frame)),
        window=window,
    )


def _is_hounsfield(frame: Frame) -> bool:
    group = frame.group("PixelValueTransformationSequence")
    return text(frame.dataset, "Modality") == "CT" and text(group, "RescaleType").upper() in ("", "HU")


def _rescale(frame: Frame) -> tuple[float, float]:
    group = frame.group("PixelValueTransformationSequence")
    slope, intercept = number(group, "RescaleSlope"), number(group, "RescaleIntercept")
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)


def has_bits_beyond(raw: np.ndarray, bits_stored: int, *, is_signed: bool) -> bool:
    """Whether stored words have bits above those that the header says are used, other than a sign's.

    Args:
        raw: Unsigned words, as they lie in the file.
        bits_stored: BitsStored.
        is_signed: PixelRepresentation 1; a negative value has all bits above its sign set, or none.
    """
    if bits_stored >= 8 * raw.itemsize:
        return False
    if is_signed:
        is_negative = (raw >> (bits_stored - 1)) == (1 << (8 * raw.itemsize - bits_stored + 1)) - 1
        raw = raw[~is_negative]
    return int(raw.max(initial=0)) >> bits_stored > 0


def is_rescaled(frame: Frame) -> bool | None:
    """Whether slope and intercept change the frame's stored values; None where it states neither."""
    return _rescale(frame) != (1.0, 0.0) if num_rescale(frame) else None


def num_rescale(frame: Frame) -> int:
    """How many of slope and intercept the frame states."""
    group = frame.group("PixelValueTransformationSequence")
    return sum(number(group, keyword) is not None for keyword in ("RescaleSlope", "RescaleIntercept"))


def unused_tables(frame: Frame) -> list[str]:
    """What says otherwise of the values, or of how they are shown, and is not applied; in words."""
    dataset, found = frame.dataset, []
    places = (sequence(place, "RealWorldValueMappingSequence") for place in [*frame.groups, dataset])
    for mapping in next(filter(None, places), [])[:1]:
        if (number(mapping, "RealWorldValueSlope"), number(mapping, "RealWorldValueIntercept")) != _rescale(frame):
            found.append("a real-world value mapping other than the rescale, not applied")
    shape = text(dataset, "PresentationLUTShape").upper()
    if shape and (shape == "INVERSE") != (text(dataset, "PhotometricInterpretation") == "MONOCHROME1"):
        found.append("PresentationLUTShape contradicts PhotometricInterpretation, which is used")
    if is_absent(dataset, "PixelPaddingValue") and not is_absent(dataset, "PixelPaddingRangeLimit"):
        found.append("PixelPaddingRangeLimit without PixelPaddingValue, not applied")
    if sequence(dataset, "ModalityLUTSequence") and is_rescaled(frame):
        found.append("a rescale slope beside a modality table, not applied")
    if text(dataset, "Modality") == "CT" and not num_rescale(frame) and not sequence(dataset, "ModalityLUTSequence"):
        is_unsigned = whole(dataset, "PixelRepresentation") == 0 and whole(dataset, "SamplesPerPixel") == 1
        found += ["CT that is unsigned and not rescaled: its values are no Hounsfield units"] * is_unsigned
    if sequence(dataset, "VOILUTSequence"):
        found.append("a VOI table, which intensity=voi alone applies")
    return found


def _scale_notes(frame: Frame) -> list[str]:
    stated = frame.scale_slope()
    notes = [] if frame.is_scale_as_written() else [f"Philips' scale slope {OTHERWISE}"]
    is_none = stated is not None and not _is_scale(stated, _rescale(frame)[0])
    return [*notes, "Philips' scale slope that is no scale, not applied"] if is_none else notes


def _philips_scale(frame: Frame, slope: float) -> float:
    """1 / (rescale slope × scale slope): Philips' display values to floating-point values.

    FP = DV / (RS × SS), with SS in (2005,xx0E); source: dcm2niix, Philips/README.md, after Chenevert et al. (2014),
    Translational Oncology 7(1), 65-71. 1 where there is no scale slope.
    """
    scale_slope = frame.scale_slope()
    return 1 / (slope * scale_slope) if scale_slope and slope > 0 and _is_scale(scale_slope, slope) else 1.0


def _is_scale(scale_slope: float, slope: float) -> bool:
    """Whether pixels can be divided by it, alone and with the slope, in single precision."""
    return all(1 / LARGEST_SLOPE <= size <= LARGEST_SLOPE for size in (scale_slope, scale_slope * abs(slope)))


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
