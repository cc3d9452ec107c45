"""The organs in front of the canal: bulb, prostate and bladder, or vagina, urethra and bladder."""

import numpy as np

from fistula.phantom.canvas import SIDES, Canvas, smooth_step
from fistula.phantom.tissue import Tissue


def paint_organs(canvas: Canvas, level: float, *, is_male: bool, scale: float) -> None:
    """Paint what lies between canal and pubis.

    Bulb, crura and prostate, or vagina, urethra and vestibular bulbs; `level` is in mm above the anal verge.
    """
    if is_male:
        _paint_male(canvas, level, scale)
    else:
        _paint_female(canvas, level)


def _paint_male(canvas: Canvas, level: float, scale: float) -> None:
    bulb = smooth_step(level, 33, 22)
    canvas.ellipse(Tissue.MUSCLE, (0, -37), (14.5 * bulb, 12.5 * bulb), power=2.3)
    canvas.ellipse(Tissue.CAVERNOUS, (0, -38), (12 * bulb, 10.5 * bulb), power=2.3)
    canvas.ellipse(Tissue.GLAND, (0, -40), (2.2 * bulb, 1.4 * bulb))
    _paint_crura(canvas, bulb, axes=(15, 4.6))
    urethra = smooth_step(level, 20, 26) * smooth_step(level, 40, 34)
    canvas.ellipse(Tissue.MUSCLE, (0, -39), (8.5 * urethra, 8 * urethra))
    canvas.ellipse(Tissue.GLAND, (0, -39), (4.5 * urethra, 4.2 * urethra))
    canvas.ellipse(Tissue.LUMEN, (0, -39), (1.3 * urethra, 0.8 * urethra))
    prostate = smooth_step(level, 28, 38) * scale
    _paint_plexus(canvas, prostate, y=-39, axes=(24, 18))
    canvas.ellipse(Tissue.STROMA, (0, -38), (22.5 * prostate, 16 * prostate), power=2.2)
    canvas.ellipse(Tissue.GLAND, (0, -38), (21 * prostate, 14.5 * prostate), power=2.2)
    canvas.ellipse(Tissue.STROMA, (0, -42), (11 * prostate, 8 * prostate))
    canvas.ellipse(Tissue.LUMEN, (0, -40), (1.8 * prostate, 1.2 * prostate))
    _paint_bladder(canvas, smooth_step(level, 44, 56), y=-66)


def _paint_female(canvas: Canvas, level: float) -> None:
    vestibule = smooth_step(level, 28, 16)
    _paint_crura(canvas, vestibule, axes=(12, 3.2))
    for side in SIDES:
        canvas.ellipse(Tissue.CAVERNOUS, (side * 10, -37), (3.0 * vestibule, 9 * vestibule), angle=side * 0.25)
    _paint_plexus(canvas, smooth_step(level, 24, 36), y=-33, axes=(19, 14))
    vagina = smooth_step(level, 6, 16)
    for tissue, thick in ((Tissue.STROMA, 4.6), (Tissue.GLAND, 3.0), (Tissue.LUMEN, 0.6)):
        # A flat band whose side horns give it the shape of an H.
        canvas.ellipse(tissue, (0, -25.5), (13 * vagina, thick * vagina), power=2.6)
        for side in SIDES:
            canvas.ellipse(tissue, (side * 12 * vagina, -25.5), (thick * 0.9 * vagina, (thick + 2.5) * vagina))
    canvas.ellipse(Tissue.STROMA, (0, -40.5), (7.2 * vagina, 7.2 * vagina))
    canvas.ellipse(Tissue.GLAND, (0, -40.5), (5.0 * vagina, 5.0 * vagina))
    canvas.ellipse(Tissue.LUMEN, (0, -40.5), (1.5 * vagina, 1.0 * vagina))
    _paint_bladder(canvas, smooth_step(level, 36, 48), y=-62)


def _paint_crura(canvas: Canvas, size: float, *, axes: tuple[float, float]) -> None:
    """Paint the crura along the inferior pubic rami, each in its thin muscle."""
    for side in SIDES:
        centre, angle = (side * 27, -44), side * 0.75
        canvas.ellipse(Tissue.MUSCLE, centre, (axes[0] * size + 1.5, (axes[1] + 1.6) * size), angle=angle)
        canvas.ellipse(Tissue.CAVERNOUS, centre, (axes[0] * size, axes[1] * size), angle=angle)


def _paint_plexus(canvas: Canvas, size: float, *, y: float, axes: tuple[float, float]) -> None:
    """Paint the veins beside prostate or urethra: strings of bright dots at both sides."""
    for side in SIDES:
        t = np.linspace(-0.9, 0.9, 9)
        points = np.stack([side * axes[0] * np.cos(t), y + axes[1] * np.sin(t)], axis=1)
        points += 1.3 * np.stack([np.sin(7 * t + side), np.cos(9 * t)], axis=1)
        canvas.tube(Tissue.VESSEL, points * max(size, 0.01), np.array([1.5, 1.0, 1.8] * 3) * size, over=(Tissue.FAT,))


def _paint_bladder(canvas: Canvas, size: float, *, y: float) -> None:
    canvas.ellipse(Tissue.MUSCLE, (0, y), (34 * size, 22 * size), power=2.3)
    canvas.ellipse(Tissue.BLADDER, (0, y), (31 * size, 19 * size), power=2.3)
