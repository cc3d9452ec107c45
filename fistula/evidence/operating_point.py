"""The threshold at which a score becomes a decision: chosen on validation, applied to test untouched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.inputs import Floats, check_pairs, class_reason


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and the rates where it was chosen."""

    threshold: float  # a row is called positive if ``score >= threshold``
    rule: str  # what chose it
    sensitivity: float  # on the rows that chose it, hence too good; NaN for a threshold that no rows chose
    specificity: float  # likewise


def youden(labels: ArrayLike, scores: ArrayLike) -> OperatingPoint:
    """The threshold of the greatest sensitivity + specificity; of equals, the lowest (most sensitive).

    Any threshold between two neighbouring scores gives the same rates on these rows: halfway is taken, which
    leaves new rows the same margin on both sides. So for every rule here.

    Raises:
        ValueError: If a class is missing, a label is not 0 or 1, or a score is not finite.

    Source:
        Youden (1950), Cancer 3(1), 32-35.
    """
    thresholds, sensitivity, specificity = _candidates(labels, scores)
    return _choose(sensitivity + specificity, "youden", thresholds, sensitivity, specificity)


def at_sensitivity(labels: ArrayLike, scores: ArrayLike, *, sensitivity: float) -> OperatingPoint:
    """The threshold of the greatest specificity among those that reach a sensitivity; of equals, the most sensitive.

    Raises:
        ValueError: As `youden`, or if `sensitivity` is not in (0, 1].
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity must be in (0, 1], got {sensitivity}")
    thresholds, reached, specificity = _candidates(labels, scores)
    # A tolerance, as 0.9 of 10 is 9 positives whichever way 9/10 rounds.
    merit = np.where(reached >= sensitivity - 1e-12, specificity, -np.inf)
    return _choose(merit, f"sensitivity >= {sensitivity:g}", thresholds, reached, specificity)


def at_least_cost(
    labels: ArrayLike, scores: ArrayLike, *, false_negative_cost: float, prevalence: float | None = None
) -> OperatingPoint:
    """The threshold of the least expected cost, a false positive costing 1; of equals, the lowest.

    Args:
        labels: 0 or 1, ``(N,)``, both present.
        scores: Finite, ``(N,)``.
        false_negative_cost: Of a missed positive, in false positives; positive.
        prevalence: Where the decision will be made, in (0, 1); left out, that of the rows.

    Raises:
        ValueError: As `youden`, or if cost or prevalence is out of range.

    Source:
        Metz (1978), Semin Nucl Med 8(4), 283-298.
    """
    if not false_negative_cost > 0:
        raise ValueError(f"false_negative_cost must be positive, got {false_negative_cost}")
    share = float(np.mean(np.asarray(labels, dtype=np.float64))) if prevalence is None else prevalence
    thresholds, sensitivity, specificity = _candidates(labels, scores)
    if not 0 < share < 1:
        raise ValueError(f"prevalence must be inside (0, 1), got {share}")
    cost = share * false_negative_cost * (1 - sensitivity) + (1 - share) * (1 - specificity)
    return _choose(-cost, f"cost {false_negative_cost:g} to 1", thresholds, sensitivity, specificity)


def argmax(labels: ArrayLike, scores: ArrayLike) -> OperatingPoint:
    """The threshold 0.5, which is the likelier of two classes; at exactly 0.5 the decision is positive.

    The rows do not choose it; the rates are theirs all the same.

    Raises:
        ValueError: As `youden`.
    """
    truth, values = check_pairs(labels, scores)
    reason = class_reason(truth)
    if reason:
        raise ValueError(f"an operating point needs both classes, got {reason}")
    called = values >= 0.5
    return OperatingPoint(0.5, "argmax", float(called[truth].mean()), float((~called[~truth]).mean()))


def _candidates(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Thresholds that differ in their decisions, ascending, with sensitivity and specificity at each.

    The first calls every row positive and is the lowest score; the last calls none and lies just above the highest.
    """
    truth, values = check_pairs(labels, scores)
    reason = class_reason(truth)
    if reason:
        raise ValueError(f"an operating point needs both classes, got {reason}")
    distinct = np.unique(values)
    middles = distinct[:-1] + np.diff(distinct) / 2
    # Between neighbouring floats there is no middle: the upper one decides the same.
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])
    thresholds = np.r_[distinct[0], middles, np.nextafter(distinct[-1], np.inf)]
    positives, negatives = np.sort(values[truth]), np.sort(values[~truth])
    reached = len(positives) - np.searchsorted(positives, thresholds, side="left")
    cleared = np.searchsorted(negatives, thresholds, side="left")
    return thresholds, np.asarray(reached / len(positives)), np.asarray(cleared / len(negatives))


def _choose(merit: Floats, rule: str, thresholds: Floats, sensitivity: Floats, specificity: Floats) -> OperatingPoint:
    """The lowest threshold of the greatest merit, equal within rounding."""
    best = int(np.flatnonzero(merit >= merit.max() - 1e-12)[0])
    return OperatingPoint(float(thresholds[best]), rule, float(sensitivity[best]), float(specificity[best]))
