"""The AUROC over all classes of a task with three or more: the mean of each against the rest, with its interval."""

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, stdtrit

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.ranking.area import JACKKNIFE, newcombe_interval
from fistula.evidence.ranking.placements import place


def macro_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """The unweighted mean of the AUROC of each class against the rest, within runs, patients being independent.

    Patients are left out in turn of all classes at once, so that what their AUROCs share is counted as such. The
    degrees of freedom are those of the class that has fewest.

    Args:
        labels: 0 or 1 for each class, ``(N, K)``; a patient may have several classes.
        scores: Finite, of each class, ``(N, K)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``; left out, one did all.
        level: Of the interval.

    Returns:
        Undefined where the AUROC of a class is; without an interval where that of a class has none. Where every AUROC
        is 1, or 0, Newcombe's interval at the number of patients of the rarest class stands in.

    Raises:
        ValueError: As `place`, or if labels and scores differ in shape.

    Source:
        Hand & Till (2001), Machine Learning 45(2), 171-186 (means over classes); jackknife: Efron & Tibshirani (1993).
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != values.shape:
        raise ValueError(f"labels and scores must have one shape (rows, classes), got {truth.shape} and {values.shape}")
    method = name_method(f"mean over classes, {JACKKNIFE}", level)
    found = [place(one, score, patients, runs) for one, score in zip(truth.T, values.T, strict=True)]
    value = float(np.mean([one.aurocs[0] for one in found]))
    if np.isnan(value):
        return undefined(method, next(one.reason for one in found if np.isnan(one.aurocs[0])))
    if any(one.reason for one in found):
        return without_interval(value, method, next(one.reason for one in found if one.reason))
    if not 0 < value < 1:
        positives, negatives = min((one.effective for one in found), key=min)
        ends = newcombe_interval(value, positives=positives, negatives=negatives, level=level)
        return Estimate(
            value, *ends, name_method("Newcombe (2006), patients of the rarest class as sample size", level)
        )
    left_out = np.mean([one.left_out[:, 0] for one in found], axis=0)
    half_pair = min(1 / (2 * one.pairs) for one in found)
    logits = logit(np.clip(left_out, half_pair, 1 - half_pair))
    error = sqrt((len(logits) - 1) / len(logits) * float(np.sum((logits - logits.mean()) ** 2)))
    if error < 1e-12:
        return without_interval(value, method, "no patient differs from another")
    # A class that is told apart perfectly varies with no patient, and has no degrees of its own.
    degrees = np.nanmin([one.degrees(np.ones(1)) for one in found])
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    return Estimate(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)), method)
