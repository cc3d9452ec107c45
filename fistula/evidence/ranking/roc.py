"""The ROC curve, its mean over runs, and the area under it."""

from math import nan

import numpy as np
from numpy.typing import ArrayLike

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
    # Not scipy.stats.rankdata: every ingest would wait for the import of scipy.stats.
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(midranks[places][truth].sum())
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
    # A curve steps up at a rate, where `interp` takes the upper end: its lower end is read backwards.
    lower, upper = (
        np.average(heights, axis=0, weights=[pairs for _, _, pairs in curves])
        for heights in (
            [np.interp(-grid, -fpr[::-1], tpr[::-1]) for fpr, tpr, _ in curves],
            [np.interp(grid, fpr, tpr) for fpr, tpr, _ in curves],
        )
    )
    return np.repeat(grid, 2), np.stack([lower, upper], axis=1).ravel()


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


def _counts_from_above(truth: Bools, values: Floats) -> tuple[Floats, Floats, Floats]:
    """True and false positives at each distinct score as threshold, from above every score down to the lowest."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last_of_ties = np.flatnonzero(np.diff(ordered, append=-np.inf))
    true_positives = np.cumsum(truth[order], dtype=np.float64)[last_of_ties]
    false_positives = last_of_ties + 1 - true_positives
    return np.r_[0.0, true_positives], np.r_[0.0, false_positives], np.r_[np.inf, ordered[last_of_ties]]
