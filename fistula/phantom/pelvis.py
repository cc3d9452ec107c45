"""What surrounds the canal: skin, fat, muscles, bones, the organs in front, and vessels."""

from dataclasses import dataclass

import numpy as np

from fistula.phantom.canvas import SIDES, Canvas, smooth_step
from fistula.phantom.tissue import Tissue
from fistula.phantom.tract import Course, string

SKIN_MM = 2.0


@dataclass(frozen=True)
class Pelvis:
    """One patient's surroundings of the canal; mm, `uneven` ``(32,)`` standard normal, for left-right differences."""

    is_male: bool
    scale: float
    front: float  # from the canal's axis to the skin of the mons
    back: float  # to the skin of the buttocks
    cleft: float  # to the floor of the natal cleft at the level of the verge
    cleft_open: float  # how far the buttocks stand apart, 0-1
    fat: float  # subcutaneous fat over the gluteus
    uneven: np.ndarray
    branches: tuple[Course, ...]  # rectal vessels that wander through the fossae

    def paint(self, canvas: Canvas, level: float) -> None:
        """Paint everything but the canal, from the outside in."""
        self._paint_body(canvas, level)
        self._paint_gluteus(canvas, level)
        for number, side in enumerate(SIDES):
            jitter = self.uneven[16 * number : 16 * number + 16]
            self._paint_muscles(canvas, level, side=side, jitter=jitter)
            self._paint_bones(canvas, level, side=side, jitter=jitter)
            self._paint_vessels(canvas, level, side=side, jitter=jitter)
        for branch in self.branches:
            canvas.tube(Tissue.VESSEL, *branch.section(level), over=(Tissue.FAT,))
        self._paint_midline(canvas, level)

    def _paint_body(self, canvas: Canvas, level: float) -> None:
        """Paint fat within the skin: a flat back (supine), a rounded front, the natal cleft and the groins."""
        x, y = np.abs(canvas.x), canvas.y
        wide = np.square(x / (172 * self.scale))
        depth = np.minimum(self._back(x) - y, y + self.front * (1 - 0.55 * wide))  # mm below the skin
        floor = self.cleft + 0.75 * level  # the cleft is deepest at the verge and runs out over the coccyx
        beyond = np.clip(y - floor, 0, 60)
        half = 0.3 + self.cleft_open * 0.0016 * np.square(beyond)
        away = np.hypot(np.maximum(x - half, 0), np.minimum(y - floor, 0))
        depth = np.where(y > floor - 4, np.minimum(depth, away), depth)
        groin = smooth_step(level, 28, 14)
        if groin > 0:
            # Low slices pass below the pubis: a crease parts each thigh from the genitals.
            reach = -self.front + groin * 42
            above = np.maximum(reach - y, 0)
            away = np.hypot(np.maximum(np.abs(x - 26 - 0.3 * above) - 0.10 * above, 0), np.maximum(y - reach, 0))
            depth = np.where(y < reach + 4, np.minimum(depth, away), depth)
        canvas.fill(Tissue.FAT, depth > 0)
        canvas.fill(Tissue.SKIN, (depth > 0) & (depth <= SKIN_MM))

    def _back(self, x: np.ndarray) -> np.ndarray:
        """Height of the skin of the back (mm from the axis) at a distance from the midline."""
        wide = np.square(x / (172 * self.scale))
        return self.back * (1 - 0.25 * wide * wide) - 6 * np.exp(-np.square(x / 26))

    def _paint_gluteus(self, canvas: Canvas, level: float) -> None:
        """Paint gluteus maximus under the fat of the buttock, in bundles parted by oblique streaks of fat."""
        rows = canvas.box(0, 45, 58)[0]
        x, y, grain = np.abs(canvas.x[rows]), canvas.y[rows], canvas.grain[rows]
        # It reaches the coccyx only in high slices; low ones show its free lower edge.
        medial = 25 - 13 * smooth_step(level, 12, 42) + self.uneven[0]
        along = np.clip((x - medial) / 85, 0, 1)
        behind = self._back(x) - (self.fat + 5) - 5 * np.sin(2.6 * along)
        thick = 39 * np.sqrt(np.clip(along * 3.5, 0, 1)) * (1 - 0.35 * along)
        front = behind - thick - 26 * along * (1 - 0.3 * along)
        streak = np.sin((x * 0.55 + y * 0.85) / 1.3 + 2.4 * grain) + 0.45 * grain
        muscle = (x > medial) & (y < behind) & (y > front)
        canvas.fill(Tissue.MUSCLE, muscle & (streak < 1.12), box=(rows, slice(None)))

    def _paint_muscles(self, canvas: Canvas, level: float, *, side: float, jitter: np.ndarray) -> None:
        s, high = self.scale, smooth_step(level, 16, 42)
        inner = (Tissue.FAT, Tissue.MUSCLE)

        def belly(x: float, y: float, a: float, b: float, *, angle: float = 0.0) -> None:
            # A seam of fat parts each muscle from those painted before it.
            centre, turn = (side * s * x, s * y), side * angle
            canvas.ellipse(Tissue.FAT, centre, (s * a + 0.6, s * b + 0.6), angle=turn, power=2.5, over=inner)
            canvas.ellipse(Tissue.MUSCLE, centre, (s * a, s * b), angle=turn, power=2.5, over=inner)

        low = 1 - high
        belly(134, -44, 22, 48, angle=0.1)  # tensor, vastus lateralis
        belly(104, -74, 21, 26, angle=0.5)  # iliopsoas and rectus femoris
        belly(82, -78 + jitter[6], 17, 18, angle=0.3)  # pectineus
        belly(55, -62 + jitter[5], 20 * (0.5 + low / 2), 19 * (0.6 + 0.4 * low), angle=-0.4)  # adductors
        belly(88, -2 + jitter[7], 13, 26, angle=0.1)  # quadratus femoris
        belly(67, -34 + jitter[4], 22, 14, angle=-0.55)  # obturator externus
        # Obturator internus lines the fossa's side wall, thins out below, and turns around the ischium behind.
        thick = 4.0 + 5.5 * high
        belly(46 + jitter[2] + 3 * high, -14 + jitter[3], thick, 25 + 8 * high, angle=0.28)
        belly(46 + 3 * high, 8, thick * 0.9, 15 + 4 * high, angle=-0.15)
        belly(57, 25, 14 * high, 6 * high, angle=0.5)

    def _paint_bones(self, canvas: Canvas, level: float, *, side: float, jitter: np.ndarray) -> None:
        s = self.scale

        def bone(x: float, y: float, a: float, b: float, *, cortex: float = 1.6, angle: float = 0.0) -> None:
            canvas.bone((side * s * x, s * y), (s * a, s * b), cortex=cortex, angle=side * angle)

        high = smooth_step(level, 22, 42)
        size = smooth_step(level, -4, 14)
        x, y = 62 + 4 * high + jitter[8], 4 - 4 * high + jitter[9]
        bone(x, y, (13 + 2 * high) * size, (19 + 2 * high) * size, angle=0.25)
        ramus = smooth_step(level, 44, 34) * smooth_step(level, 2, 12)
        bone(36 - 8 * high, -46 - 12 * high, 6.0 * ramus, 21 * ramus, angle=0.62)
        pubis = smooth_step(level, 30, 40)
        bone(19, -73, 15 * pubis, 11 * pubis, angle=0.5)
        head = smooth_step(level, 26, 44)
        bone(106 - 10 * head, -30 + jitter[10], 15 + 9 * head, 16 + 8 * head, cortex=3.2 - 1.6 * head)
        # The hamstrings' common tendon at the tuberosity.
        soft = (Tissue.FAT, Tissue.MUSCLE)
        canvas.ellipse(Tissue.LIGAMENT, (side * s * 76, s * 14), (4.5 * size, 6 * size), over=soft)

    def _paint_vessels(self, canvas: Canvas, level: float, *, side: float, jitter: np.ndarray) -> None:
        """Paint the pudendal bundle and the femoral and gluteal vessels."""
        s, soft = self.scale, (Tissue.FAT, Tissue.MUSCLE)
        pudendal = _pudendal(side, s, level, jitter)
        canvas.tube(Tissue.VESSEL, pudendal + np.array([[0, 0], [-2.2, 2.8]]), np.array([1.1, 0.8]), over=soft)
        places = np.array([[74, -97], [83, -101], [66, -52], [97, 24], [104, 38], [62, 40], [52, -84], [90, -60]])
        drift = np.stack([np.sin(level / 9 + jitter[:8]), np.cos(level / 7 + jitter[8:16])], axis=1)
        radii = np.array([4.4, 3.6, 1.2, 1.3, 0.9, 0.9, 1.0, 1.2])
        canvas.tube(Tissue.VESSEL, places * [side * s, s] + 2.0 * drift, radii, over=soft)

    def _paint_midline(self, canvas: Canvas, level: float) -> None:
        """Paint the anococcygeal ligament, the coccyx in high slices, and the perineal body."""
        back = 16.0 + 6 * smooth_step(level, 30, 45)
        end = min(self.cleft + 0.75 * level - 4, 52)
        if end > back and level > 6:
            canvas.ellipse(Tissue.LIGAMENT, (0, (back + end) / 2), (1.7, (end - back) / 2), over=(Tissue.FAT,))
        coccyx = smooth_step(level, 30, 40)
        canvas.bone((0, 47 + 3 * coccyx), (9 * coccyx, 5.5 * coccyx), cortex=1.2)
        low = smooth_step(level, 30, 20)
        canvas.ellipse(Tissue.STROMA, (0, -19), (9 * low, 7 * low), power=2.4, over=(Tissue.FAT,))
        for side in SIDES:  # superficial transverse perineal muscle
            centre = (side * 23, -19 - 2 * self.uneven[31])
            canvas.ellipse(Tissue.MUSCLE, centre, (17 * low, 2.4 * low), angle=side * 0.12, over=(Tissue.FAT,))


def draw_pelvis(rng: np.random.Generator, *, is_male: bool) -> Pelvis:
    """A patient's pelvis: women have more fat under the skin and a wider outlet."""
    scale, uneven = float(rng.normal(1.0 if is_male else 1.03, 0.05)), rng.normal(0, 1, 32)
    return Pelvis(
        is_male=is_male,
        scale=scale,
        front=float(rng.uniform(105, 128)),
        back=float(rng.uniform(74, 98)),
        cleft=float(rng.uniform(13, 19)),
        cleft_open=float(rng.uniform(0.1, 1.3)),
        fat=float(rng.uniform(6, 16)) + (0 if is_male else 6),
        uneven=uneven,
        branches=tuple(_branch(rng, side, scale, uneven[8 + 8 * int(side) :]) for side in SIDES for _ in range(4)),
    )


def _pudendal(side: float, scale: float, level: float, jitter: np.ndarray) -> np.ndarray:
    """Place of the pudendal bundle, medial to obturator internus: x and y in mm."""
    return np.array([side * scale * (39 + jitter[2]), scale * (14 + 3 * np.sin(level / 7 + jitter[11]))])


def _branch(rng: np.random.Generator, side: float, scale: float, jitter: np.ndarray) -> Course:
    """A vessel from the pudendal bundle through the fossa down to the canal: short lines and dots on a slice."""
    top = rng.uniform(8, 48)
    start = np.array([*_pudendal(side, scale, top, jitter), top])
    end = np.array([side * rng.uniform(14, 20), rng.uniform(-8, 14), top - rng.uniform(4, 14)])
    t = np.linspace(0, 1, 9)[:, None]
    knots = start + t * (end - start) + rng.normal(0, 1.8, (9, 3)) * np.sin(np.pi * t)
    return string(knots, radius=rng.uniform(0.6, 1.0))
