"""Counts at a threshold, the rates made of them, and intervals that take rows as independent."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit
from scipy.stats import binomtest

from fistula.evidence.estimate import Estimate, name_method, undefined
from fistula.evidence.inputs import Floats, check_pairs

Count = Floats | np.float64


@dataclass(frozen=True)
class Confusion:
    """True and false, positives and negatives: counts, or arrays ``(R,)`` of them (one for each resample)."""

    tp: Count
    fp: Count
    tn: Count
    fn: Count


def confusion(labels: ArrayLike, scores: ArrayLike, *, threshold: float) -> Confusion:
    """Count the rows by label and decision; a row is called positive if ``score >= threshold``.

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, the lengths differ, or the threshold is NaN.
    """
    truth, values = check_pairs(labels, scores)
    called = call_positive(values, threshold)
    cells = (truth & called, ~truth & called, ~truth & ~called, truth & ~called)
    return Confusion(*(np.float64(cell.sum()) for cell in cells))


def call_positive(scores: Floats, threshold: float) -> np.ndarray:
    """The decision, the same everywhere: positive if ``score >= threshold``.

    Raises:
        ValueError: If the threshold is NaN, which would call everything negative without a word.
    """
    if np.isnan(threshold):
        raise ValueError("threshold must be a number, got NaN")
    return np.asarray(scores) >= threshold


def sensitivity(counts: Confusion) -> Count:
    """Share of the positives that are called positive; NaN without positives."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def specificity(counts: Confusion) -> Count:
    """Share of the negatives that are called negative; NaN without negatives."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def balanced_accuracy(counts: Confusion) -> Count:
    """Mean of sensitivity and specificity: the paper's "AUC", and no area; NaN if a class is missing."""
    return (sensitivity(counts) + specificity(counts)) / 2


def f1(counts: Confusion) -> Count:
    """Harmonic mean of sensitivity and positive predictive value; NaN with neither positives nor positive calls."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def matthews(counts: Confusion) -> Count:
    """Correlation of label and decision, in [-1, 1]; NaN if either is constant (never 0 for want of a value).

    Source:
        Matthews (1975), Biochim Biophys Acta 405(2), 442-451.
    """
    tp, fp, tn, fn = counts.tp, counts.fp, counts.tn, counts.fn
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


RATES: dict[str, tuple[Callable[[Confusion], Count], str]] = {
    "sensitivity": (sensitivity, "no positives"),
    "specificity": (specificity, "no negatives"),
    "balanced_accuracy": (balanced_accuracy, "a class is missing"),
    "f1": (f1, "no positives and none called positive"),
    "matthews": (matthews, "label or decision is constant"),
}
"""Each rate of a `Confusion`, and why it is undefined where it is NaN."""


def wilson(successes: float, trials: float, level: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval, for independent trials.

    Args:
        successes: In [0, trials].
        trials: Not negative; need not be whole (an effective number will do).
        level: Of the interval, in (0, 1).

    Returns:
        Interval inside [0, 1], never of no width; undefined without trials.

    Raises:
        ValueError: If successes are not in [0, trials], or the level not in (0, 1).

    Source:
        Wilson (1927), J Am Stat Assoc 22(158), 209-212.

    Example:
        >>> f"{wilson(96, 99):.1%}"
        '97.0% (91.5% to 99.0%)'
    """
    method = name_method("Wilson", level)
    _check_trials(successes, trials)
    if trials == 0:
        return undefined(method, "no trials")
    low, high = score_interval(successes / trials, trials=trials, quantile=two_sided(level))
    return Estimate(successes / trials, low, high, method)


def score_interval(proportion: float, *, trials: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval of a proportion, for a quantile of the normal (or of Student's t) distribution."""
    shrink = quantile**2 / trials
    centre = (proportion + shrink / 2) / (1 + shrink)
    half = quantile / (1 + shrink) * sqrt(proportion * (1 - proportion) / trials + shrink / (4 * trials))
    # Rounding would leave a residue of 1e-17 at the borders, where the ends are exact.
    return (0.0 if proportion == 0 else max(0.0, centre - half)), (1.0 if proportion == 1 else min(1.0, centre + half))


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """A proportion with the exact binomial interval, which covers at least `level`, and usually more.

    Raises:
        ValueError: As `wilson`.

    Source:
        Clopper & Pearson (1934), Biometrika 26(4), 404-413.
    """
    method = name_method("Clopper-Pearson", level)
    _check_trials(successes, trials)
    if trials == 0:
        return undefined(method, "no trials")
    low, high = binomtest(int(successes), int(trials)).proportion_ci(confidence_level=level, method="exact")
    return Estimate(successes / trials, float(low), float(high), method)


def two_sided(level: float, degrees: float = nan) -> float:
    """The quantile of a two-sided interval, 1.96 for 0.95; Student's t where there are degrees of freedom."""
    return float(ndtri((1 + level) / 2) if isnan(degrees) else stdtrit(degrees, (1 + level) / 2))


def _ratio(above: Count, below: Count) -> Count:
    """A quotient that is NaN where the denominator is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, nan), where=below != 0)[()]


def _check_trials(successes: float, trials: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials, got {successes} of {trials}")
