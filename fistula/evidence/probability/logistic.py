"""Whether probabilities are too extreme or too high as a whole: the calibration slope and intercept."""

from math import isnan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import (
    Bools,
    Codes,
    Floats,
    check_labels,
    check_probabilities,
    class_reason,
    logits_of,
    patient_codes,
    sum_by_patient,
)
from fistula.evidence.ranking.placements import kish
from fistula.evidence.rates.counts import two_sided

_STEPS = 50
_LARGEST = 30.0  # a coefficient beyond it is that of classes that part entirely


def calibration_line(labels: ArrayLike, probabilities: ArrayLike, patients: ArrayLike) -> tuple[Estimate, Estimate]:
    """The calibration intercept and slope, with intervals for which patients are independent.

    The slope is that of a logistic regression of the label on the logit of the probability: below 1, probabilities are
    too extreme. The intercept is that with the slope held at 1 (calibration in the large): above 0, they are too low.

    Args:
        labels: 0 or 1, ``(N,)``.
        probabilities: In [0, 1], ``(N,)``; within 1e-6 of 0 or 1 they count as if there.
        patients: Whom each row is of, ``(N,)``.

    Returns:
        Intercept and slope; undefined if a class is missing, where the scores separate the classes completely or
        hardly vary, or where most are 0 or 1, which have no logit; without an interval where one patient alone has
        rows of a class.

    Raises:
        ValueError: If a label is not 0 or 1, a probability not in [0, 1], or the lengths differ.

    Source:
        Cox (1958), Biometrika 45(3/4), 562-565; Van Calster et al. (2019), BMC Med 17:230. Of the intervals: patients
        left out in turn, in one Newton step each (Pregibon 1981, Ann Stat 9(4), 705-724), since the robust variance of
        Liang & Zeger (1986), Biometrika 73(1), 13-22, is too small with few patients or unequal numbers of rows, and
        Student's t at Kish's number of patients (1965).
    """
    truth = check_labels(labels)
    scale = logits_of(check_probabilities(probabilities, rows=len(truth)))
    keys, codes = patient_codes(patients, rows=len(truth))
    method = name_method("logistic regression, delete-one-patient jackknife, t", LEVEL)
    reason = class_reason(truth)
    if not reason and np.mean(np.abs(scale) >= float(logits_of(np.ones(1))[0])) > 0.5:
        reason = "most scores are 0 or 1, which have no logit"
    if reason:
        return undefined(method, reason), undefined(method, reason)
    ones = np.ones((len(truth), 1))
    positive, negative = scale[truth], scale[~truth]
    separates = positive.min() >= negative.max() or positive.max() <= negative.min()
    is_constant = np.ptp(scale) == 0
    why = "all scores are equal" if is_constant else "the scores hardly vary"
    why = "the scores separate the classes completely" if separates and not is_constant else why
    slope = (float("nan"),) * 2
    if not separates:  # else the slope has no largest likelihood, and steps toward it end anywhere
        slope = _fit(truth, np.column_stack([scale, ones]), 0 * scale, codes, len(keys))
    alone = [name for name, rows in (("positives", truth), ("negatives", ~truth)) if len(np.unique(codes[rows])) < 2]
    few = "only one patient" if len(keys) < 2 else f"all {alone[0]} are of one patient" if alone else ""
    fits = (_fit(truth, ones, scale, codes, len(keys)), slope)
    found = []
    for value, error in fits:
        if isnan(value):
            found.append(undefined(method, why))
        elif few or isnan(error) or error < 1e-9:
            still = "undefined without one of the patients" if isnan(error) else "no variability between patients"
            found.append(without_interval(value, method, few or still))
        else:
            half = two_sided(LEVEL, max(1.0, kish(np.bincount(codes)) - 1)) * error
            found.append(Estimate(value, value - half, value + half, method))
    return found[0], found[1]


def _fit(truth: Bools, design: Floats, offset: Floats, codes: Codes, patients: int) -> tuple[float, float]:
    """The first coefficient of a logistic regression and its jackknife standard error; NaN where there is none."""
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = expit(design @ beta + offset)
        bend = design.T @ (design * (chance * (1 - chance))[:, None])
        if not np.isfinite(bend).all() or np.linalg.cond(bend) > 1e12:
            return float("nan"), float("nan")
        step = np.linalg.solve(bend, design.T @ (truth - chance))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    if np.abs(beta).max() > _LARGEST:
        return float("nan"), float("nan")
    if patients < 2:
        return float(beta[0]), float("nan")
    chance = expit(design @ beta + offset)
    pulls = sum_by_patient(design * (truth - chance)[:, None], codes, patients=patients)
    bends = design[:, :, None] * design[:, None, :] * (chance * (1 - chance))[:, None, None]
    rest = bends.sum(axis=0) - sum_by_patient(bends, codes, patients=patients)
    if np.linalg.cond(rest).max() > 1e12:
        return float(beta[0]), float("nan")
    moved = np.linalg.solve(rest, pulls[:, :, None])[:, 0, 0]
    return float(beta[0]), sqrt((patients - 1) * float(np.var(moved)))
