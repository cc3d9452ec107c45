"""The anal canal: its layers from the lumen to the external sphincter, and the sling that lifts it."""

from dataclasses import dataclass

import numpy as np

from fistula.phantom.canvas import Canvas, smooth_step
from fistula.phantom.tissue import Tissue

# mm above the anal verge: the lower edge of the internal sphincter, the anorectal junction.
SPHINCTER_EDGE_MM = 5.0
JUNCTION_MM = 33.0
# Thinner than this the internal sphincter would be pierced by the sampling grid alone.
THINNEST_SPHINCTER_MM = 1.3
REACH_MM = 34.0


def clock_angle(hours: float) -> float:
    """Radians clockwise from anterior on the displayed image: 12 o'clock is 0, 3 (patient's left) is pi/2."""
    return 2 * np.pi * hours / 12


def polar_point(radius: np.ndarray | float, angle: np.ndarray | float) -> np.ndarray:
    """``(..., 2)`` x (image right) and y (image down) in mm of clock-face polar coordinates."""
    return np.stack(np.broadcast_arrays(radius * np.sin(angle), -radius * np.cos(angle)), axis=-1)


@dataclass(frozen=True)
class Canal:
    """One patient's canal; lengths in mm, `wobble` ``(4, 3, 2)`` the amplitude and phase of each layer's harmonics.

    Sizes follow endosonography and MR series: internal sphincter 1.8-4, external 5-8, outer diameter 28-36.
    """

    mucosa: float
    internal: float
    plane: float
    external: float
    anterior_edge: float  # below this level the external sphincter closes in front; lower in women
    gas: float  # radius of gas in the lumen; 0 where it is collapsed
    rectum: float  # radius of the rectal mucosa above the junction
    sling: float  # thickness of the puborectalis
    wobble: np.ndarray

    def radii(self, angle: np.ndarray | float, level: float) -> tuple[np.ndarray, ...]:
        """Outer radii of lumen, mucosa, internal sphincter, plane and external sphincter, in mm.

        Clock angles are in radians, of any shape, and `level` in mm above the anal verge.
        """
        angle = np.asarray(angle, dtype=np.float32)
        up = smooth_step(level, JUNCTION_MM - 3, JUNCTION_MM + 9)  # 0 in the canal, 1 in the rectum
        waves = [self._waves(layer, angle) for layer in range(4)]
        mucosa = (self.mucosa + up * (self.rectum - self.mucosa)) * (1 + waves[0])
        # Collapsed, the canal is a star of three folds; in the rectum the lumen opens.
        star = 0.45 + 0.55 * np.cos(3 * angle + self.wobble[0, 0, 1])
        lumen = (1 - up) * (0.4 + self.gas + 1.3 * np.maximum(star, 0)) + up * (mucosa - 3.2)
        thin = smooth_step(level, SPHINCTER_EDGE_MM, SPHINCTER_EDGE_MM + 6)
        internal = np.maximum(self.internal * (0.55 + 0.45 * thin) * (1 + 2 * waves[1]), THINNEST_SPHINCTER_MM)
        plane = self.plane * (1 + 3 * waves[2]) * (1 + 3.5 * up)
        behind = (1 - np.cos(angle)) / 2  # 0 in front, 1 behind
        front = smooth_step(level, self.anterior_edge + 5, self.anterior_edge)
        whole = smooth_step(level, 29, 23) * (0.55 + 0.45 * smooth_step(level, 2, 10))
        external = (
            self.external * (1 + 2 * waves[3]) * whole * (front + (1 - front) * np.clip(2.5 * behind - 0.4, 0, 1))
        )
        outer = np.cumsum([mucosa, internal, np.maximum(plane, 0.7), external], axis=0)
        return np.minimum(lumen, mucosa - 1.5), outer[0], outer[1], outer[2], outer[3]

    def paint(self, canvas: Canvas, level: float) -> None:
        """Paint the layers, from the outside in."""
        box = canvas.box(0, 0, REACH_MM)
        x, y = canvas.x[box], canvas.y[box]
        radius, angle = np.hypot(x, y), np.arctan2(x, -y)
        lumen, mucosa, internal, plane, external = self.radii(angle, level)
        canvas.fill(Tissue.MUSCLE, radius <= external, box=box)
        canvas.fill(Tissue.PLANE, radius <= plane, box=box)
        if level >= SPHINCTER_EDGE_MM:
            canvas.fill(Tissue.IAS, radius <= internal, box=box)
        canvas.fill(Tissue.MUCOSA, radius <= mucosa, box=box)
        canvas.fill(Tissue.LUMEN, radius <= lumen, box=box)
        if self.gas > 0:
            # Gas rises: the patient lies on the back, so it stands in the anterior part of the lumen.
            canvas.fill(Tissue.GAS, (radius <= lumen) & (y < 0.35 * lumen), box=box)

    def paint_sling(self, canvas: Canvas, level: float) -> None:
        """Paint puborectalis and, above it, the levator: a U open towards the pubis that widens into a funnel."""
        thick = self.sling * smooth_step(level, 15, 22)
        if thick <= 0:
            return
        up = smooth_step(level, JUNCTION_MM - 2, JUNCTION_MM + 14)
        thick += up * (3.2 - thick)
        _, _, _, inner, _ = self.radii(np.array([np.pi / 2, np.pi]), level)
        box = canvas.box(0, -20, 45.0)
        side = inner[0] + 0.4 + thick / 2 + up * 11
        back = inner[1] + 0.4 + thick / 2 + up * 8
        pubis, reach = 13 + 6 * up, 52.0
        x, y = np.abs(canvas.x[box]), canvas.y[box]
        forward = np.clip(-y / reach, 0, 1)
        # The limbs hug the canal, then the organ in front, and thin out towards the pubis.
        waist = 2.5 * np.sin(np.pi * forward) * (1 - up)
        limbs = np.abs(x - (side + (pubis - side) * forward * forward) + waist) <= thick / 2 * (1 - 0.6 * forward)
        bend = np.abs(np.sqrt(np.square(x / side) + np.square(y / back)) - 1) * (side + back) / 2 <= thick / 2
        between = (y <= 0) & (y > -reach + 0.03 * x * x) & (x < side + (pubis - side) * forward * forward)
        canvas.fill(Tissue.STROMA, between & (np.abs(canvas.grain[box]) < 0.45), box=box, over=(Tissue.FAT,))
        canvas.fill(Tissue.MUSCLE, np.where(y <= 0, limbs & (y > -reach), bend), box=box)

    def _waves(self, layer: int, angle: np.ndarray) -> np.ndarray:
        return sum(a * np.cos(k * angle + phase) for k, (a, phase) in enumerate(self.wobble[layer], start=2))


def draw_canal(rng: np.random.Generator, *, is_male: bool) -> Canal:
    """A patient's canal; in women the external sphincter ends lower in front."""
    wobble = np.stack([rng.normal(0, [0.05, 0.035, 0.02], (4, 3)), rng.uniform(0, 2 * np.pi, (4, 3))], axis=-1)
    return Canal(
        mucosa=rng.uniform(4.6, 7.0),
        internal=rng.uniform(2.0, 3.8),
        plane=rng.uniform(1.0, 2.0),
        external=np.clip(rng.normal(6.3, 0.8), 4.5, 8.0),
        anterior_edge=rng.normal(18 if is_male else 12, 2),
        gas=rng.uniform(0.6, 2.2) if rng.random() < 0.3 else 0.0,
        rectum=rng.uniform(9, 16),
        sling=rng.uniform(5.0, 8.0),
        wobble=wobble.astype(np.float32),
    )
