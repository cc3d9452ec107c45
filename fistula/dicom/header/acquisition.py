"""What tells the volumes of a series apart: b-value, echo, stack and phase, by the standard or by the maker."""

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from zlib import crc32

from fistula.dicom.header.raw import is_absent
from fistula.dicom.header.spelling import tag_of
from fistula.dicom.parse import attribute, number, sequence, text
from fistula.dicom.pixels.frames import Frame

ONE_PLACE = "frames numbered as several places that all state one position, not used"
# Creator, group, element and type of the makers' own b-values.
SIEMENS_B = (0x0019, "SIEMENS MR HEADER", 0x0C, "IS")
PHILIPS_B = (0x2001, "Philips Imaging DD 001", 0x03, "FL")
UNITED_B = (0x0065, "Image Private Header", 0x09, "FD")
GE_B = (0x0043, "GEMS_PARM_01", 0x39, "IS")
NEAR = {"b": 0.5, "echo": 0.05}  # within a series, numbers no farther than this from the next are one, which trembles
MOST_INDICES = 1 << 12  # along one dimension, of four that fit into a number
GE_OFFSET = 1e9  # GE adds it to the b-value to say how its gradients were rounded
PHILIPS_DIRECTION = (0xB0, 0xB1, 0xB2)
# Keyword, its functional group, and what it is called; the first that is stated counts.
ECHOES = (("EffectiveEchoTime", "MREchoSequence"), ("EchoTime", ""))
PHASES = (("TemporalPositionIndex", "FrameContentSequence"), ("TemporalPositionIdentifier", ""))
# What may differ between the slices of one volume, and tells volumes apart only where these lie in the same places.
MOMENTS = (
    ("NominalCardiacTriggerDelayTime", "CardiacSynchronizationSequence", "trigger time"),
    ("TriggerTime", "", "trigger time"),
    ("NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence", "cardiac phase"),
    ("NominalPercentageOfRespiratoryPhase", "RespiratorySynchronizationSequence", "respiratory phase"),
    ("TemporalPositionTimeOffset", "TemporalPositionSequence", "time offset"),
    ("InversionTime", "", "inversion time"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "flip angle"),
    ("KVP", "", "tube voltage"),
    ("FrameAcquisitionNumber", "FrameContentSequence", "acquisition number"),
    ("AcquisitionNumber", "", "acquisition number"),
    ("EchoNumbers", "", "echo number"),
    ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "repetition time"),
    ("SliceThickness", "PixelMeasuresSequence", "slice thickness"),
    ("SeriesNumber", "", "series number"),
)
# The same in free text.
WORDS = {"SequenceName": "sequence name", "ConvolutionKernel": "kernel", "SeriesDescription": "description"}
MOMENT_NAMES = (*(name for _, _, name in MOMENTS), *WORDS.values(), "dimension", "frame time")
# Those that may differ from slice to slice, each of which is of the moment all the same, and follow each other.
IN_ORDER = frozenset(
    (
        "trigger time", "cardiac phase", "respiratory phase", "time offset", "inversion time", "acquisition number",
        "frame time",
    )
)  # fmt: skip
# Dimensions of an enhanced object along which its frames lie in other places.
PLACES = frozenset(map(tag_of, ("ImagePositionPatient", "ImageOrientationPatient", "InStackPositionNumber")))


def acquisition(frame: Frame) -> str:
    """What the frame shares with its whole volume, as words such as ``b 800``; empty where nothing is stated.

    Frames that differ in it are of two volumes wherever they lie.
    """
    content = frame.group("FrameContentSequence")
    stack = text(content, "StackID") if content is not frame.dataset else ""
    stated = {
        "b": b_value(frame),
        "direction": _direction(frame),
        "echo": _first(frame, ECHOES),
        "time": _first(frame, PHASES),
        "stack": float(stack) if stack.isdecimal() else _hidden(stack),
    }
    return " ".join(f"{name} {_said(value)}" for name, value in stated.items() if value is not None)


def steadied(stated: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], str]:
    """Acquisitions of series, where numbers that tremble about one (`NEAR`) are that one, the lowest of them.

    Example:
        >>> sorted(steadied([("s", "echo 4.651"), ("s", "echo 4.649"), ("s", "echo 9.3"), ("t", None)]).values())
        ['', 'echo 4.649', 'echo 4.649', 'echo 9.3']
    """
    result = {key: key[1] or "" for key in stated}
    for name, near in NEAR.items():
        found = {key: re.search(rf"\b{name} (\S+)", said) for key, said in result.items()}
        last, least = ("", -math.inf), ""
        for series, value, key in sorted((key[0], float(word[1]), key[1]) for key, word in found.items() if word):
            if series != last[0] or value - last[1] > near * (1 + 1e-9):
                least = f"{value:g}"
            last = series, value
            result[series, key] = re.sub(rf"\b{name} \S+", f"{name} {least}", result[series, key])
    return result


def moments(frame: Frame) -> list[float | None]:
    """The values of `MOMENT_NAMES`, in their order."""
    numbers = [number(frame.stated(keyword, group), keyword) for keyword, group, _ in MOMENTS]
    words = [_hidden(text(frame.stated(keyword), keyword)) for keyword in WORDS]
    return [*numbers, *words, _dimension(frame), _frame_time(frame)]


def lie_apart(frames: Sequence[Frame]) -> bool:
    """Whether frames are numbered as several places of one stack."""
    numbers = [number(frame.group("FrameContentSequence"), "InStackPositionNumber") for frame in frames]
    return None not in numbers and len({*numbers}) > 1


def nowhere(notes: str) -> dict[str, Any]:
    """What becomes of the record of a frame that lies apart from others whose position it states."""
    return {"position_mm": None, "corner": None, "notes": f"{notes}|{ONE_PLACE}".strip("|")}


def b_value(frame: Frame) -> float | None:
    """Diffusion weighting in s/mm²: the standard's element, else the maker's own under its creator; None if neither."""
    stated = number(frame.stated("DiffusionBValue", "MRDiffusionSequence"), "DiffusionBValue")
    if stated is not None:
        return stated
    for place in frame.places:
        for group, creator, element, vr in (SIEMENS_B, PHILIPS_B, UNITED_B, GE_B):
            if values := place.numbers(group, creator, element, vr):
                return values[0] % GE_OFFSET if creator == GE_B[1] else values[0]
    return None


def _direction(frame: Frame) -> tuple[float, ...] | None:
    """The diffusion gradient's direction, rounded to two digits."""
    group = frame.stated("DiffusionGradientOrientation", "MRDiffusionSequence")
    if group is frame.dataset:
        group = frame.group("MRDiffusionSequence")
    items = sequence(group, "DiffusionGradientDirectionSequence") or [group]
    stated = [number(items[0], "DiffusionGradientOrientation", index) for index in range(3)]
    if None in stated:
        for place in frame.places:
            stated = [*place.numbers(0x0019, "SIEMENS MR HEADER", 0x0E, "FD")]
            if len(stated) != 3:
                stated = [
                    value
                    for offset in PHILIPS_DIRECTION
                    for value in place.numbers(0x2005, "Philips MR Imaging DD 001", offset, "FL")
                ]
            if len(stated) == 3:
                break
    known = [round(value, 2) + 0.0 for value in stated if value is not None]
    return tuple(known) if len(known) == 3 and any(known) else None


def _dimension(frame: Frame) -> float | None:
    """The frame's numbers along those dimensions that are no places, as one (PS3.3 C.7.6.17); None without any."""
    content = frame.group("FrameContentSequence")
    if content is frame.dataset or is_absent(content, "DimensionIndexValues"):
        return None
    items = sequence(frame.dataset, "DimensionIndexSequence")
    whole, is_any = 0.0, False
    for place, item in enumerate(items):
        if attribute(item, "DimensionIndexPointer") not in PLACES:
            index = number(content, "DimensionIndexValues", place)
            if index is None:
                return None
            whole, is_any = whole * MOST_INDICES + index, True
    return whole if is_any else None


def _frame_time(frame: Frame) -> float | None:
    """When the frame was taken, in seconds from one midnight for all."""
    content = frame.group("FrameContentSequence")
    for keyword in ("FrameReferenceDateTime", "FrameAcquisitionDateTime") if content is not frame.dataset else ():
        found = re.match(r"(\d{8})(\d\d)(\d\d)(\d\d(?:\.\d+)?)", text(content, keyword))
        if found:
            with suppress(ValueError):  # no day of any calendar
                days = datetime.strptime(found[1], "%Y%m%d").toordinal()
                hours, minutes, seconds = map(float, found.groups()[1:])
                return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return None


def _first(frame: Frame, places: tuple[tuple[str, str], ...]) -> float | None:
    for keyword, group in places:
        value = number(frame.stated(keyword, group), keyword)
        if value is not None:
            return value
    return None


def _hidden(words: str) -> float | None:
    """A number for free text, of which no more than this leaves the header; None for none."""
    return float(crc32(words.encode()) % 997) if words else None


def _said(value: float | tuple[float, ...]) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else f"{value:g}"
