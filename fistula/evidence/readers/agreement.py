"""How well readers agree, with patients as the units: kappas, Gwet's AC1, agreement class by class."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Bools, Codes, Floats, patient_codes, sum_by_patient
from fistula.evidence.ranking.placements import kish
from fistula.evidence.rates.counts import score_interval, two_sided

WEIGHTS = ("none", "linear", "quadratic")
Integers = NDArray[np.int64]
Shares = tuple[Floats, Floats | float]  # of disagreement, observed and expected by chance
ONE_CLASS = "every answer is of one class"
NO_PAIR = "nothing was read by two readers"


def cohens_kappa(ratings: ArrayLike, patients: ArrayLike, *, classes: int, weights: str = "none") -> Estimate:
    """Cohen's kappa of two readers, weighted where classes are grades.

    Args:
        ratings: ``(N, 2)``, classes from 0, -1 where a reader gave none; rows without both count for nothing.
        patients: Whom each row is of, ``(N,)``.
        classes: How many there are.
        weights: `none`; `linear` or `quadratic` count a disagreement by how many grades apart it is.

    Raises:
        ValueError: If a rating is no class, the shapes differ, or the weights are unknown.

    Source:
        Cohen (1960), Educ Psychol Meas 20(1), 37-46; weighted: Cohen (1968), Psychol Bull 70(4), 213-220.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights}")
    rated, codes, number = _checked(ratings, patients, classes)
    if rated.shape[1] != 2:
        raise ValueError(f"Cohen's kappa is of two readers, got {rated.shape[1]}")
    is_both: Bools = np.all(rated >= 0, axis=1)
    cells = np.zeros((len(rated), classes * classes))
    cells[is_both, rated[is_both, 0] * classes + rated[is_both, 1]] = 1
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    cost = {"none": (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
    cost = cost / cost.max()

    def statistic(sums: Floats) -> Shares:
        table = sums.reshape(*sums.shape[:-1], classes, classes) / sums.sum(-1)[..., None, None]
        expected = np.einsum("...i,...j->...ij", table.sum(-1), table.sum(-2))
        return (table * cost).sum((-2, -1)), (expected * cost).sum((-2, -1))

    why, counts = ONE_CLASS if is_both.any() else NO_PAIR, _counts(rated, classes) * is_both[:, None]
    return _jackknife(cells, codes, number, statistic, why=why, counts=counts, cost=cost)


def fleiss_kappa(ratings: ArrayLike, patients: ArrayLike, *, classes: int) -> Estimate:
    """Fleiss' kappa of any number of readers, of the rows that all of them read; arguments as `gwets_ac1`.

    Source:
        Fleiss (1971), Psychol Bull 76(5), 378-382.
    """
    rated, codes, number = _checked(ratings, patients, classes)
    counts = _counts(rated, classes) * np.all(rated >= 0, axis=1, keepdims=True)
    return _chance_corrected(counts, codes, number, lambda shares: (shares**2).sum(-1), is_kappa=True)


def gwets_ac1(ratings: ArrayLike, patients: ArrayLike, *, classes: int) -> Estimate:
    """Gwet's AC1 of any number of readers, which stays near the raw agreement where one class is rare.

    Args:
        ratings: ``(N, R)``, classes from 0, -1 where a reader gave none.
        patients: Whom each row is of, ``(N,)``.
        classes: How many there are.

    Raises:
        ValueError: As `cohens_kappa`.

    Source:
        Gwet (2008), Br J Math Stat Psychol 61(1), 29-48, eq. 7 and 8; rows with missing ratings as in Gwet (2014),
        Handbook of Inter-Rater Reliability, 4th ed., ch. 4.
    """
    rated, codes, number = _checked(ratings, patients, classes)

    def chance(shares: Floats) -> Floats:
        return (shares * (1 - shares)).sum(-1) / (classes - 1)

    return _chance_corrected(_counts(rated, classes), codes, number, chance)


def observed_agreement(ratings: ArrayLike, patients: ArrayLike, *, classes: int) -> Estimate:
    """Mean over the rows of the share of pairs of readers who gave the same class; arguments as `gwets_ac1`."""
    rated, codes, number = _checked(ratings, patients, classes)
    return _chance_corrected(_counts(rated, classes), codes, number, lambda shares: np.zeros(shares.shape[:-1]))


def specific_agreement(ratings: ArrayLike, patients: ArrayLike, *, classes: int, of: int) -> Estimate:
    """Probability that another reader gives class `of`, where one did; arguments as `gwets_ac1`.

    With two readers and two classes these are the positive and the negative agreement.

    Source:
        Cicchetti & Feinstein (1990), J Clin Epidemiol 43(6), 551-558; more readers: Uebersax (1982), Educ Psychol Meas
        42(1), 181-183.
    """
    rated, codes, number = _checked(ratings, patients, classes)
    counts = _counts(rated, classes)
    sums = np.stack([counts[:, of] * (counts[:, of] - 1), counts[:, of] * (counts.sum(1) - 1)], axis=1)
    return _jackknife(
        sums, codes, number, lambda sums: (1 - sums[..., 0] / sums[..., 1], 1.0), why="no reader gave this class"
    )


def _chance_corrected(
    counts: Floats, codes: Codes, number: int, chance: Callable[[Floats], Floats], *, is_kappa: bool = False
) -> Estimate:
    """(observed - expected) / (1 - expected), `chance` giving the expected agreement from the classes' shares."""
    readers = counts.sum(1)
    is_pair = readers >= 2
    agreed = np.where(is_pair, (counts * (counts - 1)).sum(1) / np.maximum(readers * (readers - 1), 1), 0)
    shares = counts / np.maximum(readers, 1)[:, None]
    sums = np.column_stack([agreed, is_pair, readers > 0, shares])

    def statistic(sums: Floats) -> Shares:
        return 1 - sums[..., 0] / sums[..., 1], 1 - chance(sums[..., 3:] / sums[..., 2:3])

    why = ONE_CLASS if is_pair.any() else NO_PAIR
    return _jackknife(
        sums, codes, number, statistic, why=why, counts=counts if is_kappa else None, cost=1 - np.eye(counts.shape[1])
    )


def _jackknife(
    rows: Floats,
    codes: Codes,
    number: int,
    statistic: Callable[[Floats], Shares],
    *,
    why: str,
    counts: Floats | None = None,
    cost: Floats | None = None,
) -> Estimate:
    """Agreement beyond chance, of sums over patients, with the interval of the disagreement on which it rests.

    That is Wilson's, with Student's t, at as many trials as give a share of disagreement the variance that leaving out
    one patient at a time shows, the disagreement by chance being held; where no patient differs, Kish's number of
    patients. Near perfect agreement an interval that is symmetric about it covers in as little as 84%, and a perfect
    one has none. No end lies beyond -1 or 1. Patients of whom no row counts are no units.

    Of a kappa, `counts` says how often each class was given, ``(N, K)``, and `cost`, ``(K, K)``, what disagreements
    count. It has `_score_limits`, at as many trials as give the disagreement the variance that the jackknife shows.

    Source:
        Jackknife: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11; Wilson's interval at an
        effective number of trials: Dean & Pagano (2015), J Surv Stat Methodol 3(4), 484-503; Kish (1965).
    """
    method = name_method("Wilson at the effective number of patients, delete-one-patient jackknife, t", LEVEL)
    sums = sum_by_patient(rows, codes, patients=number)
    sums = sums[(sums != 0).any(1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed, expected = (float(part) for part in statistic(sums.sum(0)))
        value = float(1 - np.float64(observed) / expected)
        apart, by_chance = statistic(sums.sum(0) - sums)
        others = 1 - np.divide(apart, by_chance)
    if not np.isfinite(value):
        return undefined(method, why)
    if len(sums) < 2:
        return without_interval(value, method, "only one patient")
    if not np.isfinite(others).all():
        return without_interval(value, method, "undefined without one of the patients")
    trials = units = kish(sums.sum(1))
    quantile = two_sided(LEVEL, max(1.0, units - 1))
    if counts is not None and cost is not None:
        shares, among = counts.sum(0) / counts.sum(), len(sums) - 1
        # By the disagreement; where one may count more than another, also by kappa itself.
        spreads = [((1 - value) * float(shares @ cost**2 @ shares) - observed**2, among * float(np.var(apart)))]
        if (cost**2 != cost).any():
            spreads.append((_variance(value, shares, cost), among * float(np.var(others))))
        trials = min([spread / shown for spread, shown in spreads if spread > 1e-9 and shown > 1e-24], default=units)
        method = name_method("score at the effective number of patients, delete-one-patient jackknife, t", LEVEL)
        return Estimate(value, *_score_limits(value, shares, cost, trials=trials, quantile=quantile), method)
    variance = (len(sums) - 1) * float(np.var(others)) * expected**2
    if variance > 1e-24 and 0 < observed < 1:
        trials = observed * (1 - observed) / variance
    low, high = score_interval(observed, trials=trials, quantile=quantile)
    return Estimate(value, 1 - high / expected, 1 - low / expected, method).within(-1, 1)


def _score_limits(kappa: float, shares: Floats, cost: Floats, *, trials: float, quantile: float) -> tuple[float, float]:
    """The kappas from which the estimate is no more than `quantile` of their own standard errors away.

    Where a class is rare and no patient was given it twice, the estimate is near 0 and shows no variance; a kappa above
    0 would have some. `shares` are those of the classes, ``(K,)``, and `cost`, ``(K, K)``, is what disagreements count.

    Source:
        Variance at each kappa, as in the goodness-of-fit interval of Donner & Eliasziw (1992), Stat Med 11(11),
        1511-1519.
    """

    def excess(true: float) -> float:
        return trials * (kappa - true) ** 2 - quantile**2 * _variance(true, shares, cost)

    rarest = float(shares[shares > 0].min())
    lowest = -rarest / (1 - rarest)
    below, above = min(kappa, 1 - 1e-9), max(kappa, lowest + 1e-9)
    low = brentq(excess, lowest, below) if lowest < below and excess(lowest) > 0 else min(lowest, kappa)
    return float(low), float(brentq(excess, above, 1.0)) if above < 1 and excess(above) < 0 else 1.0


def _variance(kappa: float, shares: Floats, cost: Floats) -> float:
    """Of kappa in one pair of answers, of which a share of `kappa` is alike for certain and the rest by chance.

    Source:
        The delta method; of two classes as in Bloch & Kraemer (1989), Biometrics 45(1), 269-287.
    """
    table = kappa * np.diag(shares) + (1 - kappa) * np.outer(shares, shares)
    chance = cost @ shares
    expected = float(shares @ chance)
    influence = ((1 - kappa) * (np.add.outer(chance, chance) - expected) - cost) / expected
    return max(0.0, float((table * influence**2).sum()))


def _checked(ratings: ArrayLike, patients: ArrayLike, classes: int) -> tuple[Integers, Codes, int]:
    rated = np.asarray(ratings, dtype=np.int64)
    if rated.ndim != 2:
        raise ValueError(f"ratings must have shape (N, R), got {rated.shape}")
    if classes < 2:
        raise ValueError(f"classes must be 2 or more, got {classes}")
    if ((rated < -1) | (rated >= classes)).any():
        raise ValueError(f"ratings must be from 0 to {classes - 1}, or -1 for none")
    keys, codes = patient_codes(patients, rows=len(rated))
    return rated, codes, len(keys)


def _counts(rated: Integers, classes: int) -> Floats:
    """How many readers gave each class, ``(N, K)``."""
    return np.stack([(rated == index).sum(1) for index in range(classes)], axis=1).astype(np.float64)
