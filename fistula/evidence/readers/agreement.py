"""How well readers agree, with patients as the units: kappas, Gwet's AC1, agreement class by class."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Bools, Codes, Floats, patient_codes, sum_by_patient

WEIGHTS = ("none", "linear", "quadratic")
Integers = NDArray[np.int64]
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

    def statistic(sums: Floats) -> Floats:
        table = sums.reshape(*sums.shape[:-1], classes, classes)
        expected = np.einsum("...i,...j->...ij", table.sum(-1), table.sum(-2)) / table.sum((-2, -1), keepdims=True)
        return 1 - (table * cost).sum((-2, -1)) / (expected * cost).sum((-2, -1))

    return _jackknife(cells, codes, number, statistic, why=ONE_CLASS if is_both.any() else NO_PAIR)


def fleiss_kappa(ratings: ArrayLike, patients: ArrayLike, *, classes: int) -> Estimate:
    """Fleiss' kappa of any number of readers, of the rows that all of them read; arguments as `gwets_ac1`.

    Source:
        Fleiss (1971), Psychol Bull 76(5), 378-382.
    """
    rated, codes, number = _checked(ratings, patients, classes)
    counts = _counts(rated, classes) * np.all(rated >= 0, axis=1, keepdims=True)
    return _chance_corrected(counts, codes, number, lambda shares: (shares**2).sum(-1))


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
    return _jackknife(sums, codes, number, lambda sums: sums[..., 0] / sums[..., 1], why="no reader gave this class")


def _chance_corrected(counts: Floats, codes: Codes, number: int, chance: Callable[[Floats], Floats]) -> Estimate:
    """(observed - expected) / (1 - expected), `chance` giving the expected agreement from the classes' shares."""
    readers = counts.sum(1)
    is_pair = readers >= 2
    agreed = np.where(is_pair, (counts * (counts - 1)).sum(1) / np.maximum(readers * (readers - 1), 1), 0)
    shares = counts / np.maximum(readers, 1)[:, None]
    sums = np.column_stack([agreed, is_pair, readers > 0, shares])

    def statistic(sums: Floats) -> Floats:
        expected = chance(sums[..., 3:] / sums[..., 2:3])
        return (sums[..., 0] / sums[..., 1] - expected) / (1 - expected)

    return _jackknife(sums, codes, number, statistic, why=ONE_CLASS if is_pair.any() else NO_PAIR)


def _jackknife(rows: Floats, codes: Codes, number: int, statistic: Callable[[Floats], Floats], *, why: str) -> Estimate:
    """A function of sums over patients, with the interval of a jackknife that leaves out one patient at a time.

    The interval ends at -1 and 1. Patients of whom no row counts are no units.

    Source:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 11.
    """
    method = name_method("jackknife of patients", LEVEL)
    sums = sum_by_patient(rows, codes, patients=number)
    sums = sums[(sums != 0).any(1)]
    total = sums.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(total)) if len(sums) else np.nan
        others = statistic(total - sums)
    if not np.isfinite(value):
        return undefined(method, why)
    if len(sums) < 2:
        return without_interval(value, method, "only one patient")
    if not np.isfinite(others).all():
        return without_interval(value, method, "undefined without one of the patients")
    error = float(np.sqrt((len(sums) - 1) * np.var(others)))
    if error < 1e-12:
        return without_interval(value, method, "no variability between patients")
    half = float(student.ppf((1 + LEVEL) / 2, len(sums) - 1)) * error
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), method)


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
