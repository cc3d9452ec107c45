"""What a family of comparisons may claim: corrected p-values, the levels they leave, and equivalence."""

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import Floats


def holm(p_values: ArrayLike) -> Floats:
    """P-values corrected for their number, so that one false claim in the whole family has the stated level.

    Gives ``(K,)``, in the order given; NaN stays NaN and does not count in the family. P-values are in [0, 1],
    ``(K,)``, NaN for a comparison that could not be tested.

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


def holm_levels(p_values: ArrayLike, alpha: float = 0.05) -> Floats:
    """The level at which Holm's procedure tests each comparison: an interval at 1 less it tells what the test tells.

    The k-th smallest of K p-values is tested at ``alpha / (K - k + 1)``; from the first that is not rejected on, all
    are tested at that one's level. An interval leaves out 0 exactly where the corrected p-value is at most `alpha`.
    Gives ``(K,)``, in the order given; NaN stays NaN. P-values are as for `holm`; `alpha` is of the whole family.

    Raises:
        ValueError: As `holm`.

    Source:
        Holm (1979), Scand J Stat 6(2), 65-70.

    Example:
        >>> holm_levels([0.01, 0.04, 0.03]).round(4).tolist()
        [0.0167, 0.025, 0.025]
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected, levels = holm(values), np.full(values.shape, np.nan)
    order = np.flatnonzero(~np.isnan(values))
    order = order[np.argsort(values[order], kind="stable")]
    steps = alpha / np.arange(len(order), 0, -1)
    kept = int((corrected[order] <= alpha).sum())
    levels[order] = np.where(np.arange(len(order)) < kept, steps, steps[min(kept, len(steps) - 1)] if len(steps) else 0)
    return levels


def judge_equivalence(difference: Estimate, *, margin: float) -> str:
    """What an interval of a difference says of a margin: two one-sided tests in one.

    The interval's level sets that of the test: a 90% interval tests at 5% on each side, a 95% one at 2.5%.

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
