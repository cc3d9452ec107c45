"""Where a slice lies in the patient: normal, position, orientation (PS3.3 C.7.6.2.1.1), and gaps between slices."""

import math
from collections.abc import Sequence

import numpy as np

SAME_PLACE_MM = 0.01
UNEVEN = 0.05  # a gap that differs by more than this share from the median one is noted
OBLIQUE = np.cos(np.radians(30))  # up to 30 degrees from an axis the plane keeps that axis's name


def normal(cosines: Sequence[float]) -> np.ndarray | None:
    """Unit normal ``(3,)`` of the image plane: row direction × column direction; None if they span no plane.

    Args:
        cosines: ImageOrientationPatient, six numbers.

    Example:
        >>> normal([1, 0, 0, 0, 1, 0]).tolist()
        [0.0, 0.0, 1.0]
    """
    if len(cosines) != 6:
        return None
    # Spelt out: np.cross takes thirty times as long for three numbers, and every header asks for it.
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    vector = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(*vector)
    return np.array(vector) / length if math.isfinite(length) and length > 0.5 else None


def position_along(normal_vector: np.ndarray, corner: Sequence[float]) -> float:
    """Distance in mm of the plane through `corner` (ImagePositionPatient) from the origin, along the normal."""
    return round(float(np.dot(normal_vector, np.asarray(corner, float))), 4)


def orientation(normal_vector: np.ndarray) -> str:
    """`sagittal`, `coronal` or `axial` if the normal is within 30 degrees of that axis, else `oblique`.

    Example:
        >>> orientation(np.array([0.0, 0.1, -0.99]))
        'axial'
    """
    axis = int(np.argmax(np.abs(normal_vector)))
    is_near = abs(normal_vector[axis]) >= OBLIQUE * np.linalg.norm(normal_vector)
    return ("sagittal", "coronal", "axial")[axis] if is_near else "oblique"


def spacing_notes(positions: Sequence[float | None]) -> list[str]:
    """What is odd about the positions of one stack: unknown, duplicate, missing or unevenly spaced ones.

    Example:
        >>> spacing_notes([0, 3, 6, 12])
        ['missing positions']
    """
    known = np.sort(np.array([value for value in positions if value is not None], float))
    notes = ["no position"] if len(known) < len(positions) else []
    gaps = np.diff(known)
    if (gaps < SAME_PLACE_MM).any():
        notes.append("duplicate positions")
    gaps = gaps[gaps >= SAME_PLACE_MM]
    if len(gaps) < 2:
        return notes
    step = float(np.median(gaps))
    if (gaps > 1.5 * step).any():
        notes.append("missing positions")
    elif (np.abs(gaps - step) > UNEVEN * step).any():
        notes.append("uneven spacing")
    return notes


def same_direction(first: Sequence[float], second: Sequence[float], *, degrees: float = 2.0) -> bool:
    """Whether two ImageOrientationPatient agree in both of their directions to within `degrees`."""
    pair = np.asarray(first, float).reshape(2, 3), np.asarray(second, float).reshape(2, 3)
    lengths = np.linalg.norm(pair[0], axis=1) * np.linalg.norm(pair[1], axis=1)  # some makers round them to two digits
    return bool((np.sum(pair[0] * pair[1], axis=1) >= np.cos(np.radians(degrees)) * lengths).all())
