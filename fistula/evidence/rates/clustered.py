"""A rate of slices with an interval for which patients are independent and slices are not."""

from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtrit

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Bools, Floats, check_labels, patient_codes, sum_by_patient
from fistula.evidence.ranking.placements import kish
from fistula.evidence.rates.counts import score_interval, two_sided, wilson

RATE = "the wider end of Wilson at the effective number of slices and of the logit, delete-one-patient jackknife, t"


def clustered_rate(outcomes: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """A share of slices with an interval for few patients whose slices are alike.

    For sensitivity give the positive slices alone (outcome: called positive), for specificity the negative ones. Each
    end is the wider one of two intervals, both with Student's t for few patients. Wilson's is taken at the effective
    number of slices, which is their number over the design effect: how many times the variance of the share, by leaving
    out one patient at a time, exceeds that of independent slices. The other is that jackknife on the logit scale, which
    leans away from 1 where a high share of few patients would make the variance too small (`benchmarks/coverage.py`).
    Neither end lies beyond Wilson's at Kish's number of patients: no share varies more than that of patients who are
    all right or all wrong, and one who makes all the errors would stretch the logit's end over nearly everything.

    Where each patient is a single trial (one row each, or as many for all that agree), it is Wilson's interval itself.
    Where no patient differs from another (a rate of 0 or 1), the design effect cannot be seen, and each of Kish's
    patients counts as one slice: the careful end.

    Args:
        outcomes: 0 or 1, ``(N,)``: whether the slice is a success.
        patients: Whom each slice is of, ``(N,)``.
        level: Of the interval.

    Returns:
        Undefined without slices; without an interval for one patient.

    Raises:
        ValueError: If an outcome is not 0 or 1, or the lengths differ.

    Source:
        Rao & Scott (1992), Biometrics 48(2), 577-585; with Wilson's interval: Dean & Pagano (2015), J Surv Stat
        Methodol 3(4), 484-503; with t: Korn & Graubard (1998), Survey Methodology 24(2), 193-201; Kish (1965).
    """
    method = name_method(RATE, level)
    successes, sizes = _by_patient(outcomes, patients)
    trials = float(sizes.sum())
    if trials == 0:
        return undefined(method, "no rows")
    rate = float(successes.sum() / trials)
    if len(sizes) < 2:
        return without_interval(rate, method, "only one patient")
    if np.ptp(sizes) == 0 and np.isin(successes, (0, sizes[0])).all() and (sizes[0] == 1 or 0 < rate < 1):
        return wilson(float(successes.sum() / sizes[0]), len(sizes), level)
    away = _left_out(successes, sizes)
    variance = (len(sizes) - 1) / len(sizes) * float(away @ away)
    quantile = float(stdtrit(max(1.0, kish(sizes) - 1), (1 + level) / 2))
    if not 0 < rate < 1 or variance < 1e-24:
        return Estimate(rate, *score_interval(rate, trials=kish(sizes), quantile=quantile), method)
    low, high = score_interval(rate, trials=rate * (1 - rate) / variance, quantile=quantile)
    shares = np.clip((successes.sum() - successes) / (trials - sizes), 1 / (2 * trials), 1 - 1 / (2 * trials))
    logits = logit(shares)
    half = quantile * sqrt((len(sizes) - 1) / len(sizes) * float(np.sum((logits - logits.mean()) ** 2)))
    low, high = min(low, float(expit(logit(rate) - half))), max(high, float(expit(logit(rate) + half)))
    bound = score_interval(rate, trials=kish(sizes), quantile=two_sided(level))
    return Estimate(rate, max(low, bound[0]), min(high, bound[1]), method)


def balanced_accuracy(labels: ArrayLike, called: ArrayLike, patients: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean of sensitivity and specificity; arguments, source and errors as `sum_of_rates`."""
    return sum_of_rates(labels, called, patients, (0.5, 0.5), level=level)


def sum_of_rates(
    labels: ArrayLike, called: ArrayLike, patients: ArrayLike, weights: tuple[float, float], *, level: float = 0.95
) -> Estimate:
    """A weighted sum of sensitivity and specificity, with an interval made of theirs.

    Each end is as far from the sum as the two rates' ends are from them, added as errors that correlate as the two
    rates do over patients left out; patients of one class make them independent.

    Args:
        labels: 0 or 1, ``(N,)``.
        called: 0 or 1, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        weights: Of sensitivity and specificity, not negative.
        level: Of the interval.

    Returns:
        Undefined if a class is missing; without an interval if one rate has none.

    Raises:
        ValueError: If a value is not 0 or 1, or the lengths differ.

    Source:
        Zou & Donner (2008), Stat Med 27(10), 1693-1702 (MOVER: variance estimates recovered from the ends).
    """
    method = name_method("from the two rates' intervals (MOVER)", level)
    truth, calls, keys = check_labels(labels), check_labels(called), np.asarray(patients)
    rates = [
        clustered_rate((calls == label)[truth == label], keys[truth == label], level=level) for label in (True, False)
    ]
    if not all(rate.is_defined for rate in rates):
        return undefined(method, "a class is missing")
    value = weights[0] * rates[0].value + weights[1] * rates[1].value
    if not all(rate.has_interval for rate in rates):
        return without_interval(value, method, next(rate.reason for rate in rates if not rate.has_interval))
    correlation = _correlate(truth, calls == truth, keys)
    below = (weight * (rate.value - rate.low) for weight, rate in zip(weights, rates, strict=True))
    above = (weight * (rate.high - rate.value) for weight, rate in zip(weights, rates, strict=True))
    half = [sqrt(max(0.0, a * a + b * b + 2 * correlation * a * b)) for a, b in (below, above)]
    return Estimate(value, value - half[0], value + half[1], method)


def gee(outcomes: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """A share of slices with the interval of a logistic GEE: the cross-check of `clustered_rate`.

    The model has an intercept alone, an independence working correlation and the robust variance, which gives a closed
    form on the logit scale, here with the correction clusters / (clusters - 1) and Student's t. Undefined without
    slices; without an interval for one patient or a rate of 0 or 1.

    Raises:
        ValueError: As `clustered_rate`.

    Source:
        Liang & Zeger (1986), Biometrika 73(1), 13-22.
    """
    method = name_method("logistic GEE, robust variance", level)
    successes, sizes = _by_patient(outcomes, patients)
    if sizes.sum() == 0:
        return undefined(method, "no rows")
    rate = float(successes.sum() / sizes.sum())
    if len(sizes) < 2:
        return without_interval(rate, method, "only one patient")
    variance = _ratio_variance(successes, sizes)
    if not 0 < rate < 1 or variance < 1e-24:
        return without_interval(rate, method, "no variability between patients")
    half = float(stdtrit(len(sizes) - 1, (1 + level) / 2)) * sqrt(variance) / (rate * (1 - rate))
    return Estimate(rate, float(expit(logit(rate) - half)), float(expit(logit(rate) + half)), method)


def _by_patient(outcomes: ArrayLike, patients: ArrayLike) -> tuple[Floats, Floats]:
    """Successes and slices of each patient."""
    success = check_labels(outcomes)
    keys, codes = patient_codes(patients, rows=len(success))
    return (
        sum_by_patient(success.astype(np.float64), codes, patients=len(keys)),
        np.bincount(codes, minlength=len(keys)).astype(np.float64),
    )


def _left_out(successes: Floats, sizes: Floats) -> Floats:
    """The share without each patient ``(P,)``, less the mean of these; 0 for a patient who has no slices."""
    shares = (successes.sum() - successes) / (sizes.sum() - sizes)
    return shares - shares[sizes > 0].mean() * (sizes > 0) - shares * (sizes == 0)


def _correlate(truth: Bools, right: Bools, patients: NDArray) -> float:
    """Correlation of sensitivity and specificity over patients left out; 0 where one of them does not vary."""
    keys, codes = patient_codes(patients, rows=len(truth))
    sides = []
    for rows in (truth, ~truth):
        successes = sum_by_patient(right[rows].astype(np.float64), codes[rows], patients=len(keys))
        sides.append(_left_out(successes, np.bincount(codes[rows], minlength=len(keys)).astype(np.float64)))
    spread = sqrt(float(sides[0] @ sides[0]) * float(sides[1] @ sides[1]))
    return float(sides[0] @ sides[1]) / spread if spread > 1e-24 else 0.0


def _ratio_variance(successes: Floats, sizes: Floats) -> float:
    """Variance of a ratio of sums over patients (linearised); NaN for fewer than two patients."""
    clusters = len(sizes)
    if clusters < 2:
        return nan
    residuals = successes - sizes * successes.sum() / sizes.sum()
    return float(clusters / (clusters - 1) * np.sum(residuals**2) / sizes.sum() ** 2)
