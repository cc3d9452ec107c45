"""Ranking: the ROC curve, the precision-recall curve, and the areas under them."""

from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from fistula.evidence.inputs import Bools, Floats, check_pairs, patient_codes


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a positive scores above a negative; ties count one half.

    Computed from midranks, so a constant score gives exactly 0.5.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``, any scale.

    Returns:
        In [0, 1]; NaN if a class is missing (or nothing is given).

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, or the lengths differ.

    Source:
        Hanley & McNeil (1982), Radiology 143(1), 29-36: the area equals the Mann-Whitney statistic.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    truth, values = check_pairs(labels, scores)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return nan
    rank_sum = float(rankdata(values)[truth].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The points of the ROC curve, from (0, 0) to (1, 1), one for each distinct score.

    Returns:
        ``(fpr, tpr, thresholds)``, each ``(K + 1,)`` for K distinct scores. At a point the rows with
        ``score >= threshold`` are called positive; the first threshold is infinite. A rate without a
        denominator is NaN throughout.

    Raises:
        ValueError: As `auroc`.
    """
    truth, values = check_pairs(labels, scores)
    true_positives, false_positives, thresholds = _counts_from_above(truth, values)
    with np.errstate(invalid="ignore"):
        tpr = true_positives / truth.sum()
        fpr = false_positives / (~truth).sum()
    return fpr, tpr, thresholds


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision and recall at each distinct score, from the highest threshold to the lowest.

    Returns:
        ``(recall, precision, thresholds)``, each ``(K,)``. Recall is NaN throughout if there are no positives.

    Raises:
        ValueError: As `auroc`.
    """
    truth, values = check_pairs(labels, scores)
    true_positives, false_positives, thresholds = (part[1:] for part in _counts_from_above(truth, values))
    with np.errstate(invalid="ignore"):
        recall = true_positives / truth.sum()
    return recall, true_positives / (true_positives + false_positives), thresholds


def mean_roc_curve(labels: ArrayLike, scores: ArrayLike, runs: ArrayLike) -> tuple[Floats, Floats]:
    """The mean over runs of the sensitivity at each false positive rate: its area is the AUROC within runs.

    Each run weighs as many pairs of a positive and a negative row as it has; one without both classes weighs nothing.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``; compared within a run only.
        runs: Which network scored each row, ``(N,)``.

    Returns:
        ``(fpr, tpr)``, each ``(K,)``, from (0, 0) to (1, 1); empty if no run has both classes.

    Raises:
        ValueError: As `auroc`.
    """
    curves = [(*roc_curve(truth, values)[:2], pairs) for truth, values, pairs in by_run(labels, scores, runs)]
    if not curves:
        return np.zeros(0), np.zeros(0)
    grid = np.unique(np.concatenate([fpr for fpr, _, _ in curves]))
    # A curve steps up at a rate: its lower end is read backwards, as in `partial_auroc`.
    lower, upper = (
        np.average(heights, axis=0, weights=[pairs for _, _, pairs in curves])
        for heights in (
            [np.interp(-grid, -fpr[::-1], tpr[::-1]) for fpr, tpr, _ in curves],
            [np.interp(grid, fpr, tpr) for fpr, tpr, _ in curves],
        )
    )
    return np.repeat(grid, 2), np.stack([lower, upper], axis=1).ravel()


def mean_precision_recall_curve(labels: ArrayLike, scores: ArrayLike, runs: ArrayLike) -> tuple[Floats, Floats]:
    """The mean over runs of the precision at each recall, weighted as in `mean_roc_curve`: draw it as steps before.

    Returns:
        ``(recall, precision)``, each ``(K,)``, ascending; empty if no run has both classes.

    Raises:
        ValueError: As `auroc`.
    """
    curves = [
        (*precision_recall_curve(truth, values)[:2], pairs) for truth, values, pairs in by_run(labels, scores, runs)
    ]
    if not curves:
        return np.zeros(0), np.zeros(0)
    grid = np.unique(np.concatenate([recall for recall, _, _ in curves]))
    heights = [precision[np.searchsorted(recall, grid - 1e-12)] for recall, precision, _ in curves]
    return grid, np.average(heights, axis=0, weights=[pairs for _, _, pairs in curves])


def by_run(labels: ArrayLike, scores: ArrayLike, runs: ArrayLike) -> list[tuple[Bools, Floats, int]]:
    """Labels, scores and pairs of each run that has both classes.

    Raises:
        ValueError: As `auroc`.
    """
    truth, values = check_pairs(labels, scores)
    keys, codes = patient_codes(runs, rows=len(truth))
    parts = [(truth[codes == run], values[codes == run]) for run in range(len(keys))]
    found = [(labels, scores, int(labels.sum() * (~labels).sum())) for labels, scores in parts]
    return [part for part in found if part[2]]


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation.

    Its value for a random score is the prevalence, so it compares only within one cohort.

    Returns:
        In [0, 1]; NaN if there are no positives.

    Raises:
        ValueError: As `auroc`.

    Source:
        Davis & Goadrich (2006), ICML, 233-240, on why linear interpolation is wrong there.
    """
    truth, values = check_pairs(labels, scores)
    if not truth.any():
        return nan
    recall, precision, _ = precision_recall_curve(truth, values)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def partial_auroc(
    labels: ArrayLike, scores: ArrayLike, *, min_fpr: float = 0.0, max_fpr: float = 0.1, standardised: bool = True
) -> float:
    """Area under the part of the ROC curve between two false positive rates.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        min_fpr: Left end, in [0, 1).
        max_fpr: Right end, in (min_fpr, 1].
        standardised: Rescale so that chance is 0.5 and a perfect score 1, whatever the range.

    Returns:
        In [0, max_fpr - min_fpr], or standardised up to 1; NaN if a class is missing.

    Raises:
        ValueError: As `auroc`, or if the range is empty or leaves [0, 1].

    Source:
        McClish (1989), Medical Decision Making 9(3), 190-195.
    """
    if not 0 <= min_fpr < max_fpr <= 1:
        raise ValueError(f"expected 0 <= min_fpr < max_fpr <= 1, got {min_fpr} and {max_fpr}")
    truth, values = check_pairs(labels, scores)
    if truth.all() or not truth.any():
        return nan
    fpr, tpr, _ = roc_curve(truth, values)
    inside = (fpr > min_fpr) & (fpr < max_fpr)
    # At a vertical step `interp` takes its last point: the upper end, which the left border needs. The right border
    # needs the lower one, so there the curve is read backwards.
    left, right = np.interp(min_fpr, fpr, tpr), np.interp(-max_fpr, -fpr[::-1], tpr[::-1])
    area = float(np.trapezoid(np.r_[left, tpr[inside], right], np.r_[min_fpr, fpr[inside], max_fpr]))
    if not standardised:
        return area
    chance = (max_fpr**2 - min_fpr**2) / 2
    return 0.5 * (1 + (area - chance) / (max_fpr - min_fpr - chance))


def _counts_from_above(truth: Bools, values: Floats) -> tuple[Floats, Floats, Floats]:
    """True and false positives at each distinct score as threshold, from above every score down to the lowest."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last_of_ties = np.flatnonzero(np.diff(ordered, append=-np.inf))
    true_positives = np.cumsum(truth[order], dtype=np.float64)[last_of_ties]
    false_positives = last_of_ties + 1 - true_positives
    return np.r_[0.0, true_positives], np.r_[0.0, false_positives], np.r_[np.inf, ordered[last_of_ties]]
