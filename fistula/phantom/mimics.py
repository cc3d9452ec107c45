"""What is mistaken for a fistula: bright or dark things near the canal that pierce nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fistula.phantom.canal import Canal, clock_angle, polar_point
from fistula.phantom.canvas import Canvas
from fistula.phantom.parks import draw_clock, draw_kind, draw_tract
from fistula.phantom.tissue import Tissue
from fistula.phantom.tract import SOFT, Course, Opening, Tract, string

NEVER_THROUGH = (*SOFT, Tissue.HALO, Tissue.SKIN, Tissue.MUCOSA)


@dataclass(frozen=True)
class Mimic:
    """Balls of one tissue that replace only some others."""

    tissue: Tissue
    course: Course
    over: tuple[Tissue, ...]

    def paint(self, canvas: Canvas, level: float, canal: Canal) -> None:
        """Paint where a plane at `level` cuts it."""
        canvas.tube(self.tissue, *self.course.section(level), over=self.over)


def draw_mimics(
    rng: np.random.Generator, canal: Canal, *, zone: float, cleft: float, chances: dict[str, float]
) -> list[Mimic | Tract]:
    """Draw the hard negatives of a patient, of either group.

    `zone` is the level of the slices' middle above the verge, and `cleft` the way from the canal's axis to the floor of
    the natal cleft at the verge, mm; `chances` are of `design.FINDINGS`.
    """
    found: list[Mimic | Tract] = []
    draw: dict[str, Callable[[], Sequence[Mimic | Tract]]] = {
        "plexus": lambda: _plexus(rng, canal, zone),
        "haemorrhoid": lambda: _haemorrhoids(rng, canal, zone),
        "fissure": lambda: [_fissure(rng, canal, zone)],
        "healed": lambda: [_tract(rng, canal, zone, wall=Tissue.HEALED)],
        "blind": lambda: [_tract(rng, canal, zone, wall=Tissue.TRACT)],
        "pocket": lambda: [_pocket(rng, canal, zone)],
        "sinus": lambda: [_sinus(rng, zone, cleft)],
    }
    for name, chance in chances.items():
        if rng.random() < chance:
            found.extend(draw[name]())
    return found


def _plexus(rng: np.random.Generator, canal: Canal, zone: float) -> list[Mimic | Tract]:
    """Veins that run along the canal under the mucosa, in the plane and outside, as bright dots on a slice."""
    veins: list[Mimic | Tract] = []
    for _ in range(rng.integers(4, 10)):
        clock, layer = rng.uniform(0, 2 * np.pi), rng.choice([1, 2, 3, 4])
        levels = zone + np.linspace(-1, 1, 12) * rng.uniform(3, 10) + rng.normal(0, 4)
        angles = clock + rng.normal(0, 0.03) * (levels - zone) + 0.12 * np.sin(levels / 2)
        edges = np.array([canal.radii(a, z)[layer] for a, z in zip(angles, levels, strict=True)])
        shift = rng.uniform(-1.6, -0.6) if layer == 1 else rng.uniform(0.2, 1.2)
        knots = np.column_stack([polar_point(edges + shift, angles), levels])
        veins.append(Mimic(Tissue.VESSEL, string(knots, radius=rng.uniform(0.6, 1.1)), NEVER_THROUGH))
    return veins


def _haemorrhoids(rng: np.random.Generator, canal: Canal, zone: float) -> list[Mimic | Tract]:
    """Cushions at 3, 7 and 11 o'clock."""
    cushions: list[Mimic | Tract] = []
    for clock in (3, 7, 11):
        angle = clock_angle(clock + rng.normal(0, 0.4))
        levels = np.clip(zone + np.linspace(-6, 6, 5) + rng.normal(0, 3), 6, 30)
        edges = np.array([canal.radii(angle, level)[1] for level in levels])
        size = rng.uniform(1.2, 2.4)
        knots = np.column_stack([polar_point(edges - size * 0.8, np.full(5, angle)), levels])
        cushions.append(Mimic(Tissue.PLEXUS, string(knots, radius=size), (Tissue.MUCOSA, Tissue.LUMEN)))
    return cushions


def _fissure(rng: np.random.Generator, canal: Canal, zone: float) -> Mimic:
    """A cleft in the mucosa behind or in front that ends at the internal sphincter."""
    angle = np.pi * rng.choice([0, 1], p=[0.15, 0.85]) + rng.normal(0, 0.15)
    knots = []
    for number, level in enumerate(np.arange(min(zone, 16) - 7, min(zone, 16) + 4, 0.8)):
        lumen, mucosa, *_ = (float(radius) for radius in canal.radii(angle, level))
        ends = [[*polar_point(lumen, angle), level], [*polar_point(mucosa - 0.2, angle), level]]
        knots.extend(ends[:: 1 if number % 2 else -1])
    return Mimic(Tissue.FISSURE, string(np.array(knots), radius=rng.uniform(0.6, 1.0)), (Tissue.MUCOSA, Tissue.LUMEN))


def _tract(rng: np.random.Generator, canal: Canal, zone: float, *, wall: Tissue) -> Tract:
    """A healed tract (a scar may cross the sphincter), or an active one that does not."""
    opening = Opening(draw_clock(rng), zone + rng.normal(0, 2), 9.0, rng.uniform(1.5, 3.0), rng.normal(0, 0.03))
    kind = draw_kind(rng)
    kind = kind if zone < 32 else "extra"
    return draw_tract(rng, canal, kind, opening, is_open=wall is Tissue.HEALED, wall=wall)


def _pocket(rng: np.random.Generator, canal: Canal, zone: float) -> Tract:
    """A perianal abscess without a tract."""
    angle, level = rng.uniform(0, 2 * np.pi), zone + rng.normal(0, 6)
    size = rng.uniform(3, 8)
    x, y = polar_point(float(canal.radii(angle, level)[4]) + size + rng.uniform(0, 6), angle)
    nothing = Course(np.empty((0, 3)), np.empty(0))
    return Tract((nothing,), pockets=((x, y, level, size * 1.2, size, size * 1.4, min(2.0, size / 2)),))


def _sinus(rng: np.random.Generator, zone: float, cleft: float) -> Mimic:
    """A sinus of the natal cleft: in the midline, in the fat behind the canal."""
    y = cleft + 0.75 * zone + rng.uniform(-8, -3)
    levels = zone + np.linspace(-9, 9, 7) + rng.normal(0, 4)
    knots = np.column_stack([rng.normal(0, 0.8, 7), y + 0.6 * (levels - zone), levels])
    return Mimic(Tissue.SINUS, string(knots, radius=rng.uniform(1.2, 2.5)), (Tissue.FAT, Tissue.SKIN, Tissue.LIGAMENT))
