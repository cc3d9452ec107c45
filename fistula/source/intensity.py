"""Map a volume's values to [0, 1]: by its percentiles, a fixed window, the files' own windows, or its extremes."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fistula.dicom.pixels.window import Window, apply_window
from fistula.errors import ConfigError
from fistula.source.percentile import percentile

# The option of `intensity=` that makes each class.
TYPED = {"Percentile": "percentile", "FixedWindow": "window", "FileWindow": "voi", "MinMax": "min_max"}


def option_of(target: str) -> str:
    """How a user types the mapping whose ``_target_`` this is; of a class of somebody's own, its name.

    Example:
        >>> option_of("fistula.source.intensity.FixedWindow")
        'window'
    """
    name = target.rpartition(".")[2]
    return TYPED.get(name, name)


class Intensity(Protocol):
    """A mapping of a volume's values to [0, 1].

    Attributes:
        units: Which values it wants: ``signal`` (comparable across series), or ``display`` (the file's).
    """

    units: str

    def __call__(self, values: np.ndarray, inside: np.ndarray, windows: Sequence[Window | None]) -> np.ndarray:
        """Float32 ``(N, H, W)`` in [0, 1].

        Values are float32 ``(N, H, W)``, and may be written over; `inside` is bool of that shape; windows are the N
        files' own.
        """


class Percentile:
    """From the `low` to the `high` percentile of the volume, over what lies inside the pictures and on the grid.

    `low` is the percentile that becomes 0, `high` that which becomes 1.
    """

    units = "signal"

    def __init__(self, low: float, high: float) -> None:
        if not 0 <= low < high <= 100:
            raise ConfigError("intensity", "needs 0 <= low < high <= 100", found=f"{low} and {high}")
        self.low, self.high = low, high

    def __call__(self, values: np.ndarray, inside: np.ndarray, windows: Sequence[Window | None]) -> np.ndarray:
        """A volume of one value throughout becomes 0."""
        known = _known(values, inside)
        if not known.size:
            return np.zeros_like(values)
        return _between(values, percentile(known, self.low), percentile(known, self.high))


class FixedWindow:
    """One window for every slice, such as a soft-tissue one for CT.

    Center and width, at least 1, are in the file's units after the modality transform (Hounsfield units for CT);
    `function` is LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2).
    """

    units = "display"

    def __init__(self, center: float, width: float, function: str = "LINEAR") -> None:
        if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            raise ConfigError("intensity.function", "must be LINEAR, LINEAR_EXACT or SIGMOID", found=function)
        if width < 1:
            raise ConfigError("intensity.width", "must be at least 1", found=width)
        self.center, self.width, self.function = center, width, function

    def __call__(self, values: np.ndarray, inside: np.ndarray, windows: Sequence[Window | None]) -> np.ndarray:
        """The volume and the files' windows take no part."""
        return apply_window(values, center=self.center, width=self.width, function=self.function)


class FileWindow:
    """Each file's own window or VOI table; its extremes where it has none.

    Neighbouring slices of a series may have different windows, and then differ in brightness.
    """

    units = "display"

    def __call__(self, values: np.ndarray, inside: np.ndarray, windows: Sequence[Window | None]) -> np.ndarray:
        """One window a slice."""
        extremes = MinMax()
        return np.stack(
            [
                window(image) if window is not None else extremes(image[None], part[None], [None])[0]
                for image, part, window in zip(values, inside, windows, strict=True)
            ]
        )


class MinMax:
    """From the smallest to the largest value of the volume."""

    units = "signal"

    def __call__(self, values: np.ndarray, inside: np.ndarray, windows: Sequence[Window | None]) -> np.ndarray:
        """A volume of one value throughout becomes 0."""
        known = _known(values, inside)
        return _between(values, known.min(), known.max()) if known.size else np.zeros_like(values)


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not high > low:
        return np.zeros(values.shape, np.float32)
    for image in values:  # one by one: a slice fits into the processor's cache
        image -= np.float32(low)
        image /= np.float32(high - low)
        np.clip(image, 0, 1, out=image)
    return values


def _known(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return values if inside.all() else values[inside]
