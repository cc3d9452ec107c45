"""The clock position of an opening about the anal canal, and how far off one that was said is."""

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.inputs import Floats
from fistula.evidence.places.distances import clustered_mean
from fistula.evidence.rates.clustered import clustered_rate

HOURS = 12.0


def clock_hours(openings: ArrayLike, canals: ArrayLike) -> Floats:
    """What o'clock an opening stands at, on axial slices with anterior above and the patient's left on the right.

    12 o'clock is anterior, 3 the patient's left, 6 posterior, 9 the right: clockwise as the surgeon sees it with the
    patient in lithotomy, and as a reader sees the slice, from the feet. Gives hours in (0, 12], ``(N,)``; NaN where a
    coordinate is NaN or the two points are one. Openings are row and column, in pixels of equal height and width,
    ``(N, 2)``; so are the canals' centres.

    Example:
        >>> clock_hours([[0, 5], [5, 9], [9, 5], [5, 0], [2, 8]], [[5, 5]] * 5).tolist()
        [12.0, 3.0, 6.0, 9.0, 1.5]
    """
    down, right = (np.asarray(openings, dtype=np.float64) - np.asarray(canals, dtype=np.float64)).T
    hours = np.arctan2(right, -down) / (2 * pi) * HOURS % HOURS
    hours = np.where(hours == 0, HOURS, hours)
    return np.where((down == 0) & (right == 0), np.nan, hours)


def hours_off(said: ArrayLike, truth: ArrayLike) -> Floats:
    """How many hours clockwise from the true position the said one is, in [-6, 6).

    Example:
        >>> hours_off([1.0, 11.0, 12.0], [11.0, 1.0, 6.0]).tolist()
        [2.0, -2.0, -6.0]
    """
    half = HOURS / 2
    return (np.asarray(said, dtype=np.float64) - np.asarray(truth, dtype=np.float64) + half) % HOURS - half


@dataclass(frozen=True)
class ClockErrors:
    """Errors of clock positions as circular statistics.

    Source:
        Mardia & Jupp (2000), Directional Statistics, sections 2.2 and 2.3.
    """

    within_one: Estimate  # share that is off by one hour or less, with its interval by patient
    mean_absolute: Estimate  # mean of the errors without their sign, hours, likewise
    mean: float  # mean direction of the errors, hours in [-6, 6): above 0 where positions are said too far clockwise
    resultant: float  # length of the mean resultant vector in [0, 1]: 1 where all errors are equal, 0 where they cancel
    deviation: float  # circular standard deviation, hours; infinite where they cancel
    count: int  # positions that have an error
    missing: int  # positions that were not said


def clock_errors(said: ArrayLike, truth: ArrayLike, patients: ArrayLike) -> ClockErrors:
    """Sum up the errors of clock positions; one that was not said (NaN) is not within an hour.

    Args:
        said: Hours, ``(N,)``; NaN where no position was said.
        truth: Hours, ``(N,)``; finite.
        patients: Whom each is of, ``(N,)``.

    Raises:
        ValueError: If a true position is not finite, or the lengths differ.
    """
    if not np.isfinite(np.asarray(truth, dtype=np.float64)).all():
        raise ValueError("true clock positions must be finite")
    errors = hours_off(said, truth)
    is_there = np.isfinite(errors)
    within = clustered_rate((is_there & (np.abs(errors) <= 1 + 1e-9)).astype(int), patients)
    named = errors[is_there]
    if len(named) == 0:
        nothing = undefined(within.method, "no position was given")
        return ClockErrors(within, nothing, np.nan, np.nan, np.nan, 0, len(errors))
    vector = complex(np.exp(2j * pi / HOURS * named).mean())
    length = min(1.0, abs(vector))
    return ClockErrors(
        within_one=within,
        mean_absolute=clustered_mean(np.abs(named), np.asarray(patients)[is_there]),
        mean=float(np.angle(vector)) * HOURS / (2 * pi),
        resultant=length,
        deviation=sqrt(-2 * log(length)) * HOURS / (2 * pi) if length > 1e-12 else float("inf"),
        count=len(named),
        missing=int((~is_there).sum()),
    )
