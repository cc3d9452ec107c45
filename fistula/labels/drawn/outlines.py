"""Pixels inside lines that were drawn around something, and the point that stands for marked pixels."""

from collections.abc import Iterable

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from scipy import ndimage

from fistula.dicom.drawn.drawings import Contour
from fistula.dicom.pixels.planes import Plane

SAME_LEVEL_MM = 0.1  # contours closer than this across a slice lie at one place
LEVEL_MM = 1.0  # a line whose points lie farther apart than this across a slice was drawn on no such slice


def filled(contours: Iterable[Contour], plane: Plane, reach_mm: float | None) -> NDArray[np.bool_]:
    """Which pixels of a plane have their centre inside contours that lie on it.

    Of one segment and at one place across the plane, a pixel in an even number of them is outside, so that a hole is
    one (CLOSED_PLANAR_XOR, PS3.3 C.8.8.6.3, and what planning systems do with holes); the same line twice counts once.
    Those of different places, as where contours lie closer than slices, are taken together. A contour too small for any
    pixel's centre marks the pixel that it lies in.

    `reach_mm` is half of what the plane stands for across itself; None where that is not known.
    """
    marked = np.zeros(plane.shape, bool)
    level: dict[tuple[int, int], NDArray[np.bool_]] = {}
    seen: set[tuple[int, bytes]] = set()
    for contour in contours:
        places = plane.places(contour.points)
        across = places[:, 2]
        is_level = np.ptp(across) <= LEVEL_MM and abs(across.mean()) <= (LEVEL_MM / 2 if reach_mm is None else reach_mm)
        key = contour.segment, np.sort(np.round(contour.points, 3), axis=0).tobytes()
        if not is_level or key in seen:
            continue
        seen.add(key)
        inside = _inside(places[:, :2], plane.shape)
        at = contour.segment, round(float(across.mean()) / SAME_LEVEL_MM)
        level[at] = level.get(at, np.zeros(plane.shape, bool)) ^ inside
    for pixels in level.values():
        marked |= pixels
    return marked


def opening_of(pixels: NDArray[np.bool_]) -> tuple[tuple[float, float], list[str]]:
    """The point that stands for marked pixels, and what was done to find it.

    It is the centroid of the largest part (of parts as large, of the first by rows); where that lies in none of its
    pixels, as in a horseshoe, the pixel of the part that is nearest to it.

    Pixels are bool ``(H, W)`` with at least one True.

    Example:
        >>> opening_of(np.array([[1, 1, 1], [0, 0, 0], [0, 0, 1]], bool))
        ((0.0, 1.0), ['slices with several parts: the point is in the largest'])
    """
    parts, count = ndimage.label(pixels, structure=np.ones((3, 3)))
    notes = ["slices with several parts: the point is in the largest"] if count > 1 else []
    largest = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    places = np.argwhere(largest)
    row, column = places.mean(axis=0)
    if not largest[int(np.floor(row + 0.5)), int(np.floor(column + 0.5))]:
        row, column = places[np.argmin(((places - (row, column)) ** 2).sum(axis=1))]
        notes.append("points moved from a centroid outside its part into it")
    return (float(row), float(column)), notes


def _inside(outline: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside = np.zeros(shape, bool)
    low = np.maximum(np.ceil(outline.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(outline.max(axis=0)), np.array(shape) - 1).astype(int)
    if len(outline) > 2 and (low <= high).all():
        rows, columns = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
        centres = np.column_stack([rows.ravel(), columns.ravel()])
        is_in = Outline(outline, closed=False).contains_points(centres)
        inside[rows.ravel()[is_in], columns.ravel()[is_in]] = True
    if not inside.any():
        row, column = np.floor(outline.mean(axis=0) + 0.5).astype(int)
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            inside[row, column] = True
    return inside
