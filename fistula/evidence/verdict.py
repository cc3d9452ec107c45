"""What a family of comparisons may claim: corrected p-values, equivalence, and what could have been found."""

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from fistula.evidence.area import hanley_mcneil_variance
from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import Floats


def holm(p_values: ArrayLike) -> Floats:
    """P-values corrected for their number, so that one false claim in the whole family has the stated level.

    Args:
        p_values: In [0, 1], ``(K,)``; NaN for a comparison that could not be tested.

    Returns:
        ``(K,)``, in the order given; NaN stays NaN and does not count in the family.

    Raises:
        ValueError: If a p-value is outside [0, 1].

    Source:
        Holm (1979), Scand J Stat 6(2), 65-70.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    if np.any((values[tested] < 0) | (values[tested] > 1)):
        raise ValueError(f"p-values must be in [0, 1], got {values[tested].min()} to {values[tested].max()}")
    order = tested[np.argsort(values[tested], kind="stable")]
    corrected = np.full(values.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return corrected


def judge_equivalence(difference: Estimate, *, margin: float) -> str:
    """What an interval of a difference says of a margin: two one-sided tests in one.

    The interval's level sets that of the test: a 90 % interval tests at 5 % on each side, a 95 % one at 2.5 %.

    Args:
        difference: With its interval.
        margin: The greatest difference that does not matter; positive, on the scale of the difference.

    Returns:
        ``equivalent`` (the interval lies inside the margin), ``different`` (it lies outside on one side),
        ``inconclusive`` (it crosses the margin), or ``untested`` (there is no interval).

    Raises:
        ValueError: If the margin is not positive.

    Source:
        Schuirmann (1987), J Pharmacokinet Biopharm 15(6), 657-680.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, got {margin}")
    if not difference.has_interval:
        return "untested"
    if -margin < difference.low and difference.high < margin:
        return "equivalent"
    return "different" if difference.low >= margin or difference.high <= -margin else "inconclusive"


def detectable_difference(standard_error: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The least difference that a two-sided test of this standard error finds with this power.

    Give it the standard error of a comparison that was made (clustered by patient): "this design can detect
    a difference of x with 80 % power" then holds for pairs of models as alike as those two.

    Args:
        standard_error: Of the difference; NaN gives NaN.
        power: In (alpha / 2, 1).
        alpha: Level of the test, in (0, 1).

    Raises:
        ValueError: If the standard error is negative, or power or alpha is out of range.

    Source:
        Normal approximation: (z(1 - alpha/2) + z(power)) × standard error; Obuchowski (2000), AJR 175(3), 603-608.
    """
    if standard_error < 0:
        raise ValueError(f"standard_error must not be negative, got {standard_error}")
    if not (0 < alpha < 1 and alpha / 2 < power < 1):
        raise ValueError(f"expected 0 < alpha < 1 and alpha / 2 < power < 1, got alpha {alpha} and power {power}")
    return float((ndtri(1 - alpha / 2) + ndtri(power)) * standard_error)


def planned_auroc_error(auroc: float, *, positives: int, negatives: int, correlation: float) -> float:
    """Standard error of a difference of two AUROCs before any data: from numbers of patients alone.

    Args:
        auroc: Expected of both models, in (0, 1).
        positives: Patients, at least 1.
        negatives: Patients, at least 1.
        correlation: Between the two AUROCs on the same patients, in [-1, 1]; about 0.5 for models alike.

    Raises:
        ValueError: If a value is out of range.

    Source:
        Hanley & McNeil (1983), Radiology 148(3), 839-843.
    """
    if not (0 < auroc < 1 and positives >= 1 and negatives >= 1 and -1 <= correlation <= 1):
        raise ValueError(
            "expected auroc in (0, 1), patients of both classes and a correlation in [-1, 1], "
            f"got {auroc}, {positives}, {negatives}, {correlation}"
        )
    variance = hanley_mcneil_variance(auroc, positives=positives, negatives=negatives)
    return sqrt(2 * variance * (1 - correlation))
