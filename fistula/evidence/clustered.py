"""A rate of slices with an interval for which patients are independent and slices are not."""

from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import t as student

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Floats, check_labels, patient_codes, sum_by_patient
from fistula.evidence.rates import score_interval


def rao_scott(outcomes: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """A share of slices with Wilson's interval at the effective number of slices, and Student's t for few patients.

    For sensitivity give the positive slices alone (outcome: called positive), for specificity the negative ones. The
    effective number is the number of slices over the design effect. Where no patient differs from another (a
    rate of 0 or 1), the design effect cannot be seen, and each patient counts as one slice: the careful end.

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
        Methodol 3(4), 484-503; with t: Korn & Graubard (1998), Survey Methodology 24(2), 193-201.
    """
    method = name_method("clustered by patient (Rao-Scott), Wilson", level)
    successes, sizes = _by_patient(outcomes, patients)
    clusters, trials = len(sizes), float(sizes.sum())
    if trials == 0:
        return undefined(method, "no rows")
    rate = float(successes.sum() / trials)
    if clusters < 2:
        return without_interval(rate, method, "only one patient")
    effect = design_effect(outcomes, patients)
    effective = clusters if np.isnan(effect) else trials / effect
    quantile = float(student.ppf((1 + level) / 2, clusters - 1))
    return Estimate(rate, *score_interval(rate, trials=effective, quantile=quantile), method)


def design_effect(outcomes: ArrayLike, patients: ArrayLike) -> float:
    """How many times the variance of a share exceeds that of independent slices: about 1 + (slices - 1) × correlation.

    Returns:
        NaN for fewer than two patients, or where the variance is 0 (no slice differs, or no patient does).

    Raises:
        ValueError: As `rao_scott`.

    Source:
        Rao & Scott (1992), Biometrics 48(2), 577-585, eq. 4.
    """
    successes, sizes = _by_patient(outcomes, patients)
    trials = float(sizes.sum())
    rate = float(successes.sum() / trials) if trials else nan
    variance = _ratio_variance(successes, sizes)
    if not 0 < rate < 1 or np.isnan(variance) or variance < 1e-24:
        return nan
    return variance * trials / (rate * (1 - rate))


def gee(outcomes: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """A share of slices with the interval of a logistic GEE: the cross-check of `rao_scott`.

    The model has an intercept alone, an independence working correlation and the robust variance, which gives a
    closed form on the logit scale, here with the correction clusters / (clusters - 1) and Student's t.

    Returns:
        Undefined without slices; without an interval for one patient or a rate of 0 or 1.

    Raises:
        ValueError: As `rao_scott`.

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
        return without_interval(rate, method, "no patient differs from another")
    half = float(student.ppf((1 + level) / 2, len(sizes) - 1)) * sqrt(variance) / (rate * (1 - rate))
    return Estimate(rate, float(expit(logit(rate) - half)), float(expit(logit(rate) + half)), method)


def _by_patient(outcomes: ArrayLike, patients: ArrayLike) -> tuple[Floats, Floats]:
    """Successes and slices of each patient."""
    success = check_labels(outcomes)
    keys, codes = patient_codes(patients, rows=len(success))
    return (
        sum_by_patient(success.astype(np.float64), codes, patients=len(keys)),
        np.bincount(codes, minlength=len(keys)).astype(np.float64),
    )


def _ratio_variance(successes: Floats, sizes: Floats) -> float:
    """Variance of a ratio of sums over patients (linearised); NaN for fewer than two patients."""
    clusters = len(sizes)
    if clusters < 2:
        return nan
    residuals = successes - sizes * successes.sum() / sizes.sum()
    return float(clusters / (clusters - 1) * np.sum(residuals**2) / sizes.sum() ** 2)
