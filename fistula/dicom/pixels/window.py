"""Windows and value-of-interest tables: what a file says about how its values are shown (PS3.3 C.11.2)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Maps modality values to [0, 1]."""

    center: float = 0.5  # in units of the modality values
    width: float = 1.0  # the same; greater than 0, for `LINEAR` at least 1
    function: str = "LINEAR"  # LINEAR, LINEAR_EXACT or SIGMOID
    # Values of a VOI LUT scaled to [0, 1], or None; if there, it takes the place of the window.
    table: np.ndarray | None = None
    first: float = 0.0  # the modality value that the table's first entry stands for

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """`values` of any shape as float32 in [0, 1]."""
        if self.table is not None:
            index = np.clip(np.rint(values - self.first), 0, len(self.table) - 1).astype(np.int64)
            return self.table[index].astype(np.float32)
        return apply_window(values, center=self.center, width=self.width, function=self.function)


def apply_window(values: np.ndarray, *, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """A window of PS3.3 C.11.2.1.2 and C.11.2.1.3, with output range [0, 1] and float32.

    Args:
        values: Any shape.
        center: In units of `values`.
        width: Greater than 0; for LINEAR at least 1, and at exactly 1 a step at `center` - 0.5.
        function: LINEAR, LINEAR_EXACT or SIGMOID.

    Example:
        >>> apply_window(np.array([0.0, 50.0, 100.0]), center=50, width=100, function="LINEAR_EXACT").tolist()
        [0.0, 0.5, 1.0]
    """
    values = np.asarray(values, np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
        if width <= 0:
            return (values > center).astype(np.float32)
    return np.clip((values - center) / width + 0.5, 0, 1).astype(np.float32)
