"""The course of a tract through the body, from its opening in the canal to the skin."""

from dataclasses import dataclass

import numpy as np

from fistula.phantom.canal import Canal, clock_angle, polar_point
from fistula.phantom.canvas import Canvas
from fistula.phantom.tissue import Tissue

STEP_MM = 0.45
# Only a lumen wider than this is told from its wall.
LUMEN_WALL_MM = 1.25
SOFT = (Tissue.FAT, Tissue.PLANE, Tissue.MUSCLE, Tissue.STROMA, Tissue.LIGAMENT)


@dataclass(frozen=True)
class Course:
    """Balls strung along a tract."""

    points: np.ndarray  # ``(N, 3)`` mm: x, y, level
    radii: np.ndarray  # ``(N,)`` mm

    def section(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Centres ``(M, 2)`` and radii ``(M,)`` of the discs in which a plane cuts the balls."""
        square = np.square(self.radii) - np.square(self.points[:, 2] - level)
        cut = square > 0
        return self.points[cut, :2], np.sqrt(square[cut])


@dataclass(frozen=True)
class Opening:
    """Where a tract breaks through the internal sphincter: a slit along the canal."""

    clock: float  # hours
    level: float  # mm above the verge, of its middle
    extent: float  # mm along the canal; no plane outside it shows a breach
    width: float  # mm, at its middle
    slope: float  # radians by which it turns around the canal per mm of level

    def angle(self, level: float) -> float:
        """Radians (clock angle) of the slit at a level."""
        return clock_angle(self.clock) + self.slope * (level - self.level)

    def is_open(self, level: float) -> bool:
        """Whether a plane at this level cuts the slit."""
        return abs(level - self.level) <= self.extent / 2

    def half_width(self, level: float) -> float:
        """mm; narrows to 65 % towards the slit's ends."""
        t = min(abs(level - self.level) / (self.extent / 2), 1.0)
        return self.width / 2 * (0.65 + 0.35 * np.sqrt(1 - t * t))


@dataclass(frozen=True)
class Tract:
    """A tract, its branches, and what comes with it."""

    courses: tuple[Course, ...]  # active or healed parts, outside the internal sphincter
    opening: Opening | None = None  # the breach; None for a tract that does not reach the mucosa
    wall: Tissue = Tissue.TRACT  # `TRACT`, or `HEALED` for a scar
    halo: float = 0.0  # oedema around it, mm
    has_seton: bool = False  # a loop of thread lies in it
    # Abscesses: x, y, level, semi-axes in plane, semi-axis along the canal, wall; mm.
    pockets: tuple[tuple[float, ...], ...] = ()

    def paint(self, canvas: Canvas, level: float, canal: Canal) -> None:
        """Paint where a plane at `level` cuts the tract; the internal sphincter is touched at an opening only."""
        sections = [course.section(level) for course in self.courses]
        points = np.concatenate([section[0] for section in sections])
        radii = np.concatenate([section[1] for section in sections])
        for x, y, middle, a, b, c, wall in self.pockets:
            square = 1 - ((level - middle) / c) ** 2
            if square > 0:
                size = np.sqrt(square)
                canvas.ellipse(Tissue.HALO, (x, y), (a * size + 3, b * size + 3), over=SOFT)
                canvas.ellipse(Tissue.RIM, (x, y), (a * size, b * size), over=(*SOFT, Tissue.HALO))
                canvas.ellipse(Tissue.PUS, (x, y), (a * size - wall, b * size - wall), over=(Tissue.RIM,))
        if self.halo > 0:
            canvas.tube(Tissue.HALO, points, radii + self.halo, over=(Tissue.FAT, Tissue.PLANE))
        canvas.tube(self.wall, points, radii, over=(*SOFT, Tissue.HALO, Tissue.RIM))
        canvas.tube(Tissue.TRACT_LUMEN, points, radii - LUMEN_WALL_MM, over=(self.wall, Tissue.PUS))
        if self.opening is not None and self.opening.is_open(level):
            self._paint_breach(canvas, level, canal, self.opening)
        if self.has_seton:
            canvas.tube(Tissue.SETON, points, np.minimum(0.6, radii), over=(self.wall, Tissue.TRACT_LUMEN))

    def _paint_breach(self, canvas: Canvas, level: float, canal: Canal, opening: Opening) -> None:
        """Paint the line from the intersphincteric plane through the internal sphincter to the mucosa's surface."""
        angle = opening.angle(level)
        lumen, _, internal, plane, _ = (float(radius) for radius in canal.radii(angle, level))
        radius = np.arange(max(lumen, 1.0) + 0.3, (internal + plane) / 2, STEP_MM)
        # It winds a little, and narrows towards the lumen.
        points = polar_point(radius, angle + 0.35 * np.sin(radius + opening.clock) / radius)
        canvas.tube(self.wall, points, opening.half_width(level) * np.linspace(0.7, 1.05, len(points)))


def string(knots: np.ndarray, *, radius: float, ends: float = 0.8) -> Course:
    """Balls along a smooth line.

    Knots ``(K, 3)``, mm of x, y and level, are joined by straight pieces, corners rounded; at the last one the radius,
    mm, is `ends` of itself.
    """
    lengths = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    t = np.arange(0, along[-1] + STEP_MM, STEP_MM)
    points = np.stack([np.interp(t, along, knots[:, axis]) for axis in range(3)], axis=1)
    kernel = np.hanning(11)[1:-1] / np.hanning(11).sum()
    if len(points) > len(kernel):
        padded = np.pad(points, ((4, 4), (0, 0)), mode="edge")
        points = np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in range(3)], axis=1)
    return Course(points, radius * np.linspace(1, ends, len(points)))
