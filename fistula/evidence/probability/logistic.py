"""Whether probabilities are too extreme or too high as a whole: the calibration slope and intercept."""

from math import isnan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, stdtrit

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
        hardly vary, or where most are 0 or 1, which have no logit.

    Raises:
        ValueError: If a label is not 0 or 1, a probability not in [0, 1], or the lengths differ.

    Source:
        Cox (1958), Biometrika 45(3/4), 562-565; Van Calster et al. (2019), BMC Med 17:230; robust variance: Liang &
        Zeger (1986), Biometrika 73(1), 13-22, with patients / (patients - 1) and Student's t.
    """
    truth = check_labels(labels)
    scale = logits_of(check_probabilities(probabilities, rows=len(truth)))
    keys, codes = patient_codes(patients, rows=len(truth))
    method = name_method("logistic regression, robust by patient, t", LEVEL)
    reason = class_reason(truth)
    if np.mean(np.abs(scale) >= float(logits_of(np.ones(1))[0])) > 0.5:
        reason = reason or "most scores are 0 or 1, which have no logit"
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
    fits = (_fit(truth, ones, scale, codes, len(keys)), slope)
    found = []
    for value, error in fits:
        if isnan(value):
            found.append(undefined(method, why))
        elif isnan(error):
            found.append(without_interval(value, method, "only one patient"))
        else:
            half = float(stdtrit(len(keys) - 1, (1 + LEVEL) / 2)) * error
            found.append(Estimate(value, value - half, value + half, method))
    return found[0], found[1]


def _fit(truth: Bools, design: Floats, offset: Floats, codes: Codes, patients: int) -> tuple[float, float]:
    """The first coefficient of a logistic regression and its robust standard error; NaN where there is none."""
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
    pulls = sum_by_patient(design * (truth - expit(design @ beta + offset))[:, None], codes, patients=patients)
    bread = np.linalg.inv(bend)
    variance = bread @ (patients / (patients - 1) * pulls.T @ pulls) @ bread
    return float(beta[0]), sqrt(float(variance[0, 0]))
