"""The AUROC over all classes of a task with three or more: the mean of each against the rest, with its interval."""

from math import isnan

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate, name_method
from fistula.evidence.inputs import patient_codes
from fistula.evidence.ranking.area import METHOD, of_placements
from fistula.evidence.ranking.placements import Placements, place


def macro_auroc(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None, *, level: float = 0.95
) -> Estimate:
    """The unweighted mean of the AUROC of each class against the rest, within runs, patients being independent.

    Args:
        labels: 0 or 1 for each class, ``(N, K)``; a patient may have several classes.
        scores: Finite, of each class, ``(N, K)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``; left out, one did all.
        level: Of the interval, which is made as `clustered_auroc`'s is.

    Returns:
        Undefined where the AUROC of a class is; without an interval where that of a class has none. Where every AUROC
        is 1, or 0, Newcombe's interval at the number of patients of the rarest class stands in.

    Raises:
        ValueError: As `place_classes`.

    Source:
        Hand & Till (2001), Machine Learning 45(2), 171-186 (means over classes).
    """
    return of_placements(
        place_classes(labels, scores, patients, runs), name_method(f"mean over classes, {METHOD}", level), level
    )


def place_classes(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None
) -> Placements:
    """Place the rows of each class against the rest, and take the mean over the classes.

    Patients are left out in turn of all classes at once, so that what their AUROCs share is counted as such.

    Args:
        labels: 0 or 1 for each class, ``(N, K)``.
        scores: Finite, of each class, ``(N, K)`` for one model or ``(N, K, R)`` for R models of the same rows.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``; left out, one did all.

    Raises:
        ValueError: As `place`, or if labels and scores differ in shape.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != values.shape[:2]:
        raise ValueError(f"labels and scores must have one shape (rows, classes), got {truth.shape} and {values.shape}")
    found = [place(truth[:, one], values[:, one], patients, runs) for one in range(truth.shape[1])]
    # An AUROC that is undefined says more of why than one that lacks a variance.
    reasons = sorted((one for one in found if one.reason), key=lambda one: not isnan(one.aurocs[0]))
    rarest = min(found, key=lambda one: min(one.patients))
    keys, codes = patient_codes(patients, rows=len(truth))
    has = np.array([np.bincount(codes[column == 1], minlength=len(keys)) > 0 for column in truth.T])
    order = has.sum(axis=1).argsort(kind="stable")
    return Placements(
        aurocs=np.mean([one.aurocs for one in found], axis=0),
        left_out=np.mean([one.left_out for one in found], axis=0),
        positive=rarest.positive,
        negative=rarest.negative,
        patients=rarest.patients,
        effective=min((one.effective for one in found), key=min),
        pairs=min(one.pairs for one in found),
        reason=reasons[0].reason if reasons else "",
        single=rarest.single,
        classes=tuple(found),
        owners=order[has[order].argmax(axis=0)],
    )
