"""Where a slice lies in the patient: normal, position, orientation (PS3.3 C.7.6.2.1.1), and gaps between slices."""

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul
from typing import NamedTuple

import numpy as np

BY_LOCATION = "positioned by SliceLocation alone"
SAME_PLACE_MM = 0.01
MISSING = 1.5  # distances of slices, from the median one, above which one is missing between two
UNEVEN = 0.05  # a gap that differs by more than this share from the median one is noted
SKEW = 0.1  # cosine between the directions of rows and columns from which they are not those of a picture
# How slices are stored: towards what rows and columns run, in DICOM's axes left, posterior, head. That is how a reader
# sees them: axial from the feet, coronal from the front, sagittal with the front at the left.
STORED = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}
# What brings a picture into another stance: transpose it, then reverse its rows, then its columns. Named as in Pillow.
TURNS = {
    "": (False, False, False),
    "flip": (False, False, True),
    "flip_vertical": (False, True, False),
    "turn180": (False, True, True),
    "transpose": (True, False, False),
    "turn90": (True, True, False),
    "turn270": (True, False, True),
    "transverse": (True, True, True),
}
NAMES = {steps: name for name, steps in TURNS.items()}


class Stance(NamedTuple):
    """How a slice lies in the patient.

    Attributes:
        orientation: The nearest of axial, coronal and sagittal.
        tilt_degrees: The slice's angle to that plane, 0 to 54.8.
        turned: Which of `TURNS` brings it into the stored orientation; empty if it is there already.
        cosines: Directions of rows and columns after that.
    """

    orientation: str
    tilt_degrees: float
    turned: str
    cosines: tuple[float, ...]


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
    skew = abs(a * d + b * e + c * f)
    is_plane = math.isfinite(length) and length > 0.5 and skew <= SKEW * length
    return np.array(vector) / length if is_plane else None


def stance(cosines: Sequence[float]) -> Stance | None:
    """How a slice with this ImageOrientationPatient lies; None if it spans no plane.

    Of the eight ways to lay the picture the one is taken whose rows and columns run most as `STORED` says; it depends
    on the plane and its sides alone, not on how they were written, so that it undoes every flip and turn.

    Example:
        >>> stance([-1, 0, 0, 0, -1, 0])[:3]
        ('axial', 0.0, 'turn180')
    """
    return _stance(tuple(cosines))


@lru_cache(maxsize=1024)  # the slices of a stack have one, and most series those of few planes
def _stance(cosines: tuple[float, ...]) -> Stance | None:
    direction = normal(cosines)
    if direction is None:
        return None
    share = [abs(value) for value in direction.tolist()]
    # Where two planes are as near, axial goes before coronal, and coronal before sagittal; to two digits, as below,
    # because the slices of one stack at 45 degrees differ in the last ones.
    axis = max((2, 1, 0), key=lambda index: round(share[index], 2))
    orientation = ("sagittal", "coronal", "axial")[axis]
    tilt = round(math.degrees(math.acos(min(1.0, round(share[axis], 6)))), 1)
    laid = (_laid(cosines, steps, STORED[orientation]) for steps in TURNS.values())
    best = max(laid, key=lambda one: (round(one[0], 2), [round(value, 2) for value in one[1]], one[2]))
    return Stance(orientation, tilt, NAMES[best[2]], best[1])


def _laid(cosines: Sequence[float], steps: tuple[bool, ...], wanted: tuple[tuple[int, ...], ...]) -> tuple:
    """How well one of the turns fits, its directions, and its steps."""
    is_transposed, is_row_reversed, is_column_reversed = steps
    along, down = tuple(cosines[:3]), tuple(cosines[3:])
    if is_transposed:
        along, down = down, along
    along = tuple(-value + 0.0 for value in along) if is_column_reversed else along
    down = tuple(-value + 0.0 for value in down) if is_row_reversed else down
    pairs = zip((*along, *down), (*wanted[0], *wanted[1]), strict=True)
    fit = sum(value * weight for value, weight in pairs)
    return fit, tuple(round(value, 5) + 0.0 for value in (*along, *down)), steps


def found_cosines(cosines: Sequence[float], turned: str) -> tuple[float, ...]:
    """Directions of the rows and columns of a picture as found, from those that it has once it is turned.

    Example:
        >>> found_cosines((1, 0, 0, 0, 1, 0), "turn90")
        (0, -1, 0, 1, 0, 0)
    """
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    along = tuple(-value if is_column_reversed else value for value in cosines[:3])
    down = tuple(-value if is_row_reversed else value for value in cosines[3:])
    return (*down, *along) if is_transposed else (*along, *down)


def turn(image: np.ndarray, turned: str) -> np.ndarray:
    """Lay a picture ``(H, W)`` as one of `TURNS` says; a view.

    Example:
        >>> turn(np.array([[1, 2], [3, 4]]), "turn180").tolist()
        [[4, 3], [2, 1]]
    """
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    image = image.T if is_transposed else image
    image = image[::-1] if is_row_reversed else image
    return image[:, ::-1] if is_column_reversed else image


def turned_point(point: tuple[float, float], shape: tuple[int, int], turned: str) -> tuple[float, float]:
    """Where a point of a picture lies once that is turned; row and column, centres of the first pixels at 0.

    Args:
        point: In the picture as found.
        shape: Its rows and columns, as found.
        turned: One of `TURNS`.

    Example:
        >>> turned_point((0, 1), (4, 5), "flip")
        (0, 3)
    """
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    (row, column), (height, width) = point, shape
    if is_transposed:
        row, column, height, width = column, row, width, height
    return (height - 1 - row if is_row_reversed else row), (width - 1 - column if is_column_reversed else column)


def found_point(point: tuple[float, float], shape: tuple[int, int], turned: str) -> tuple[float, float]:
    """The inverse of `turned_point`: where a point of the turned picture lies in the one that was found.

    Args:
        point: In the turned picture.
        shape: Rows and columns of the picture as found.
        turned: What was done to it.
    """
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    (row, column), (height, width) = point, shape
    if is_transposed:
        height, width = width, height
    row = height - 1 - row if is_row_reversed else row
    column = width - 1 - column if is_column_reversed else column
    return (column, row) if is_transposed else (row, column)


def position_along(normal_vector: np.ndarray, corner: Sequence[float]) -> float:
    """Distance in mm of the plane through `corner` (ImagePositionPatient) from the origin, along the normal."""
    return round(float(np.dot(normal_vector, np.asarray(corner, float))), 4)


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
    gaps = np.sort(gaps[gaps >= SAME_PLACE_MM])
    if len(gaps) < 2:
        return notes
    step = float(gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2  # the median, for which NumPy takes far longer
    if (gaps > MISSING * step).any():
        notes.append("missing positions")
    elif (np.abs(gaps - step) > UNEVEN * step).any():
        notes.append("uneven spacing")
    return notes


def same_direction(first: Sequence[float], second: Sequence[float], *, degrees: float = 2.0) -> bool:
    """Whether two ImageOrientationPatient agree in both of their directions to within `degrees`."""
    least = math.cos(math.radians(degrees))
    # By length, since some makers round them to two digits; in plain Python, which is faster for three numbers.
    return all(
        sum(map(mul, one, other)) >= least * math.hypot(*one) * math.hypot(*other)
        for one, other in ((first[:3], second[:3]), (first[3:], second[3:]))
    )


def towards(cosines: Sequence[float]) -> tuple[str, str]:
    """Towards what rows and columns run (PS3.3 C.7.6.1.1.1): left, posterior, head, or their opposites.

    Example:
        >>> towards([1, 0, 0, 0, 0, -1])
        ('L', 'F')
    """
    axes = np.asarray(cosines, dtype=float).reshape(2, 3)
    letters = (("L", "R"), ("P", "A"), ("H", "F"))
    row, column = (letters[int(np.abs(axis).argmax())][int(axis[np.abs(axis).argmax()] < 0)] for axis in axes)
    return row, column
