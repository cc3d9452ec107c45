"""Whether what should say nothing, such as how often a patient was imaged, goes with the class or with the score."""

from math import nan

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import check_labels, check_pairs, patient_codes
from fistula.evidence.ranking.area import clustered_auroc


def slices_tell_the_class(labels: ArrayLike, patients: ArrayLike) -> Estimate:
    """The per-patient AUROC of nothing but the number of slices: 0.5 where it says nothing of the class.

    Args:
        labels: 0 or 1, ``(N,)``, a row a slice; a patient is positive if a slice is.
        patients: Whom each slice is of, ``(N,)``.

    Returns:
        Undefined where all patients are of one class. A rule that rises with the number of slices (`aggregate.RULES`
        but the mean) praises noise where the interval leaves out 0.5.

    Raises:
        ValueError: If a label is not 0 or 1, or the lengths differ.
    """
    truth = check_labels(labels)
    keys, codes = patient_codes(patients, rows=len(truth))
    positive = np.bincount(codes[truth], minlength=len(keys)) > 0
    return clustered_auroc(positive.astype(int), np.bincount(codes, minlength=len(keys)), keys)


def even_auroc(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None) -> float:
    """The AUROC of slices if every patient counted the same, however many slices of a class there are of each.

    Above the AUROC itself where patients with many slices are harder to classify than those with few.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``; compared within a run only.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``; left out, one did all.

    Returns:
        In [0, 1]; NaN where no run has both classes.

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, or the lengths differ.

    Source:
        Williamson, Datta & Satten (2003), Biometrics 59(1), 36-42, on informative cluster size.

    Example:
        >>> even_auroc([1, 0, 0, 0], [0.5, 0.9, 0.9, 0.1], ["a", "b", "b", "c"])  # of pairs, one in three is in order
        0.5
    """
    truth, values = check_pairs(labels, scores)
    owners, of_run = (
        patient_codes(one, rows=len(truth))[1] for one in (patients, np.zeros(len(truth)) if runs is None else runs)
    )
    _, groups, sizes = np.unique(np.stack([of_run, owners, truth]), axis=1, return_inverse=True, return_counts=True)
    weights = 1 / sizes[groups.ravel()]
    won = pairs = 0.0
    for run in range(of_run.max(initial=-1) + 1):
        positive, negative = truth & (of_run == run), ~truth & (of_run == run)
        order = np.argsort(values[negative])
        below = np.r_[0.0, np.cumsum(weights[negative][order])]
        least, most = (np.searchsorted(values[negative][order], values[positive], side) for side in ("left", "right"))
        won += float(weights[positive] @ (below[least] + below[most])) / 2
        pairs += float(weights[positive].sum() * below[-1])
    return won / pairs if pairs else nan
