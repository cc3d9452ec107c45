"""The AUROC of one model with its interval, for slices of patients and over the runs of several folds and seeds."""

from math import isnan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.ranking.placements import Placements, place
from fistula.evidence.rates.counts import score_interval, two_sided

METHOD = "within runs, delete-one-patient jackknife, logit scale, t"


def delong(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> Estimate:
    """The AUROC with DeLong's interval, which takes rows as independent: right only with one row a patient.

    Symmetric, on the AUROC's own scale, cut at 0 and 1, as R's pROC gives it. Where nothing varies (a perfect score),
    Newcombe's interval stands in.

    Raises:
        ValueError: As `place`.

    Source:
        DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3), 837-845.
    """
    method = name_method("DeLong", level)
    placements = place(labels, scores)
    value, variance = float(placements.aurocs[0]), float(placements.obuchowski()[0, 0])
    if isnan(value) or isnan(variance) or variance < 1e-24:
        return _without_variance(placements, method, level)
    half = two_sided(level) * sqrt(variance)
    return Estimate(value, value - half, value + half, method).within(0, 1)


def clustered_auroc(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None, *, level: float = 0.95
) -> Estimate:
    """The AUROC within runs, with an interval for which patients are independent and slices are not.

    The interval is made on the logit scale (so it stays inside (0, 1) and leans away from 1), from the spread of that
    logit as each patient is left out in turn, with Student's t at `Placements.degrees`. It is never wider than Wilson's
    of as many trials as patients of the scarcer class: no AUROC varies more than that of patients who are all right or
    all wrong, and where one patient makes all the errors the logit without this patient would stretch the interval over
    nearly everything. Where nothing varies (a perfect score), Newcombe's interval with Kish's number of patients as the
    sample size stands in. Where each patient has one score, no end lies beyond Newcombe's of a perfect score: patients
    one pair of whom is in the wrong order vary little, and prove no more than those who are all in order. Where a
    patient has several slices, a perfect score does not show how alike these are, and its interval is the careful one.

    Returns:
        Undefined if there is no pair to compare; without an interval if one patient alone has a class, or all scores
        are equal.

    Raises:
        ValueError: As `place`.

    Source:
        Jackknife: Efron & Tibshirani (1993), ch. 11; the greatest variance: Birnbaum & Klose (1957), Ann Math Stat
        28(4), 933-945; that it covers: `benchmarks/coverage.py`.
    """
    return of_placements(place(labels, scores, patients, runs), name_method(METHOD, level), level)


def of_placements(placements: Placements, method: str, level: float = 0.95) -> Estimate:
    """As `clustered_auroc`, of the first model that was placed: by `place`, or by `place_classes` for a macro AUROC."""
    value, error, degrees = placements.contrast(np.eye(len(placements.aurocs))[0])
    if isnan(value) or isnan(error) or error == 0 or not 0 < value < 1:
        return _without_variance(placements, method, level)
    half = two_sided(level, degrees) * placements.logit_error()
    bound = score_interval(value, trials=min(placements.effective), quantile=two_sided(level))
    low, high = (float(expit(logit(value) + side)) for side in (-half, half))
    low, high = max(low, bound[0]), min(high, bound[1])
    if placements.single:
        least = _newcombe(placements, 1.0, level)[0]
        low, high = min(low, least), max(high, 1 - least)
    return Estimate(value, low, high, method)


def hanley_mcneil_variance(auroc: float, *, positives: float, negatives: float) -> float:
    """Variance of an AUROC from its value and the sample sizes alone.

    Uses (m + n) / 2 - 1 in both places where Hanley & McNeil have m - 1 and n - 1, which makes it symmetric in AUROC.

    Source:
        Hanley & McNeil (1982), Radiology 143(1), 29-36; Newcombe (2006), Stat Med 25(4), 559-573, method 5.
    """
    others = (positives + negatives) / 2 - 1
    shape = 1 + others * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
    return auroc * (1 - auroc) * shape / (positives * negatives)


def newcombe_interval(auroc: float, *, positives: float, negatives: float, level: float = 0.95) -> tuple[float, float]:
    """The AUROCs that a score test would not reject: an interval that has a width even at AUROC 1 and 0.

    Source:
        Newcombe (2006), Stat Med 25(4), 559-573, method 5.
    """
    quantile = two_sided(level)

    def excess(candidate: float) -> float:
        variance = hanley_mcneil_variance(candidate, positives=positives, negatives=negatives)
        return (candidate - auroc) ** 2 - quantile**2 * variance

    tiny = 1e-12
    low = 0.0 if auroc <= tiny else float(brentq(excess, tiny, auroc - tiny)) if excess(tiny) > 0 else 0.0
    high = 1.0 if auroc >= 1 - tiny else float(brentq(excess, auroc + tiny, 1 - tiny)) if excess(1 - tiny) > 0 else 1.0
    return low, high


def _without_variance(placements: Placements, method: str, level: float) -> Estimate:
    """The estimate where no variance can be had: Newcombe's interval at 0 and 1, else a reason."""
    value = float(placements.aurocs[0])
    if isnan(value):
        return undefined(method, placements.reason)
    if placements.reason:
        return without_interval(value, method, placements.reason)
    if 0 < value < 1:
        return without_interval(value, method, "no variability between patients")
    low, high = _newcombe(placements, value, level)
    return Estimate(value, low, high, name_method("Newcombe (2006), patients as sample size", level))


def _newcombe(placements: Placements, value: float, level: float) -> tuple[float, float]:
    positives, negatives = placements.effective
    return newcombe_interval(value, positives=positives, negatives=negatives, level=level)
