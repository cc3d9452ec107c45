"""A plane through the body on which tissues are painted, in millimetres from the anal canal's axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fistula.phantom.tissue import Tissue

# Coordinates are warped by up to this much, so a shape's box is searched with that margin.
WARP_REACH_MM = 7.0
SIDES = (-1.0, 1.0)  # right and left of the patient


@dataclass
class Canvas:
    """One plane: where its points lie in the patient's own (warped) anatomy, and what they are made of."""

    columns: np.ndarray  # ``(W,)``, mm to the patient's left (image right), before warping; evenly spaced
    rows: np.ndarray  # ``(H,)``, mm to posterior (image bottom), before warping; evenly spaced
    x: np.ndarray  # ``(H, W)`` warped columns
    y: np.ndarray  # ``(H, W)`` warped rows
    grain: np.ndarray  # ``(H, W)`` a smooth random field of variance 1, for what is streaky or patchy
    labels: np.ndarray  # ``(H, W)`` uint8, values of `Tissue`

    def box(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """Index of the points that can lie within `reach` mm of ``(x, y)``; empty if outside the plane."""
        reach += WARP_REACH_MM
        row = np.searchsorted(self.rows, [y - reach, y + reach])
        column = np.searchsorted(self.columns, [x - reach, x + reach])
        return slice(*row), slice(*column)

    def ellipse(
        self,
        tissue: Tissue,
        centre: tuple[float, float],
        axes: tuple[float, float],
        *,
        angle: float = 0.0,
        power: float = 2.0,
        over: Sequence[Tissue] | None = None,
    ) -> None:
        """Paint a (super)ellipse.

        Centre and semi-axes are in mm (nothing is painted if one is not positive), the angle in radians from x towards
        y; a power above 2 is squarer. With `over` only what is one of these is painted.
        """
        if min(axes) <= 0:
            return
        box = self.box(*centre, max(axes) * (1.0 if power <= 2 else 1.3))
        if self.labels[box].size == 0:
            return
        x, y = self.x[box] - centre[0], self.y[box] - centre[1]
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        if power == 2.0:
            inside = np.square(along / axes[0]) + np.square(across / axes[1]) <= 1
        else:
            inside = np.abs(along / axes[0]) ** power + np.abs(across / axes[1]) ** power <= 1
        self.fill(tissue, inside, box=box, over=over)

    def bone(
        self, centre: tuple[float, float], axes: tuple[float, float], *, cortex: float, angle: float = 0.0
    ) -> None:
        """Paint fatty marrow inside `cortex` mm of cortical bone."""
        self.ellipse(Tissue.CORTEX, centre, axes, angle=angle, power=2.4)
        self.ellipse(Tissue.MARROW, centre, (axes[0] - cortex, axes[1] - cortex), angle=angle, power=2.4)

    def tube(
        self, tissue: Tissue, points: np.ndarray, radii: np.ndarray, *, over: Sequence[Tissue] | None = None
    ) -> None:
        """Paint discs of centres ``(N, 2)`` and radii ``(N,)``, mm, if positive; `over` as in `ellipse`."""
        for (x, y), radius in zip(points, radii, strict=True):
            if radius > 0:
                box = self.box(x, y, radius)
                inside = np.square(self.x[box] - x) + np.square(self.y[box] - y) <= radius * radius
                self.fill(tissue, inside, box=box, over=over)

    def fill(
        self,
        tissue: Tissue,
        inside: np.ndarray,
        *,
        box: tuple[slice, slice] = (slice(None), slice(None)),
        over: Sequence[Tissue] | None = None,
    ) -> None:
        """Set the points of `box` where `inside` holds (and where one of `over` is) to `tissue`."""
        part = self.labels[box]
        if over is not None:
            replaceable = np.zeros(len(Tissue), dtype=bool)
            replaceable[list(over)] = True
            inside = inside & replaceable[part]
        part[inside] = tissue


def stacked(parts: Sequence[Canvas]) -> Canvas:
    """Planes with the same columns, one below the other, as one."""
    rows, x, y, grain, labels = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("rows", "x", "y", "grain", "labels")
    )
    return Canvas(parts[0].columns, rows, x, y, grain, labels)


def smooth_step(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high`, smooth between (cubic); falls instead where `low` > `high`."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)
