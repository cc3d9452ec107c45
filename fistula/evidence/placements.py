"""The AUROC as a mean of placements: its variance, and its covariance between models, with patients as the units."""

from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

from fistula.evidence.estimate import Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import (
    Floats,
    check_labels,
    check_scores,
    class_reason,
    patient_codes,
    sum_by_patient,
)
from fistula.evidence.rates import logit_interval, two_sided


@dataclass(frozen=True)
class Placements:
    """AUROCs of R models on the same rows, and how far each patient's rows pull them.

    Args:
        aurocs: ``(R,)``, NaN if a class is missing.
        positive: Sum over a patient's positive rows of (placement - AUROC), divided by the positive rows, ``(P, R)``.
        negative: The same over the negative rows.
        patients: How many patients have positive rows, how many have negative rows.
        reason: Why a variance is undefined; empty if it is not.
    """

    aurocs: Floats
    positive: Floats
    negative: Floats
    patients: tuple[int, int]
    reason: str

    def covariance(self) -> Floats:
        """Covariance of the AUROCs, ``(R, R)``; NaN where `reason` says why.

        Source:
            Obuchowski (1997), Biometrics 53(2), 567-578; with one row a patient it is that of
            DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44(3), 837-845.
        """
        if self.reason:
            return np.full((len(self.aurocs),) * 2, nan)
        from_positives, from_negatives = self._parts()
        everyone = len(self.positive)
        cross = everyone / (everyone - 1) * self.positive.T @ self.negative
        return from_positives + from_negatives + cross + cross.T

    def contrast(self, weights: ArrayLike) -> tuple[float, float, float]:
        """A linear combination of the AUROCs: its value, standard error and degrees of freedom.

        The degrees of freedom follow Satterthwaite: few patients in the class that varies most give few.

        Args:
            weights: ``(R,)``: ``[1, -1]`` is the difference of two models.

        Returns:
            Standard error and degrees are NaN where `reason` says why; degrees also where nothing varies.
        """
        combination = np.asarray(weights, dtype=np.float64)
        value = float(combination @ self.aurocs)
        if self.reason:
            return value, nan, nan
        variance = max(0.0, float(combination @ self.covariance() @ combination))
        parts = [max(0.0, float(combination @ part @ combination)) for part in self._parts()]
        spread = sum(part**2 / (count - 1) for part, count in zip(parts, self.patients, strict=True))
        # A rounding residue of identical placements is no variance, and that of their difference is no -0.
        if variance < 1e-24:
            return round(value, 12) + 0.0, 0.0, nan
        return value, float(np.sqrt(variance)), sum(parts) ** 2 / spread if spread > 0 else nan

    def _parts(self) -> tuple[Floats, Floats]:
        with_positives, with_negatives = self.patients
        return (
            with_positives / (with_positives - 1) * self.positive.T @ self.positive,
            with_negatives / (with_negatives - 1) * self.negative.T @ self.negative,
        )


def place(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> Placements:
    """Compare each positive row with all negatives and each negative with all positives, ties counting one half.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)`` for one model or ``(N, R)`` for R models of the same rows.
        patients: Whom each row is of, ``(N,)``; left out, each row is a patient (DeLong).

    Raises:
        ValueError: If a label is not 0 or 1, a score is not finite, or the lengths differ.
    """
    truth = check_labels(labels)
    columns = np.asarray(scores, dtype=np.float64)
    columns = columns.reshape(len(columns), -1) if columns.size else columns.reshape(0, max(1, columns.shape[-1]))
    models = [check_scores(column, rows=len(truth)) for column in columns.T]
    keys, codes = patient_codes(np.arange(len(truth)) if patients is None else patients, rows=len(truth))
    with_class = len(np.unique(codes[truth])), len(np.unique(codes[~truth]))
    reason = class_reason(truth)
    if reason:
        empty = np.full((len(keys), len(models)), nan)
        return Placements(np.full(len(models), nan), empty, empty, with_class, reason)
    if min(with_class) < 2:
        reason = f"only one patient has {'positive' if with_class[0] < 2 else 'negative'} rows"
    above = np.stack([_share_below(scores[truth], scores[~truth]) for scores in models], axis=1)
    below = 1 - np.stack([_share_below(scores[~truth], scores[truth]) for scores in models], axis=1)
    aurocs = above.mean(axis=0)
    return Placements(
        aurocs=aurocs,
        positive=sum_by_patient((above - aurocs) / len(above), codes[truth], patients=len(keys)),
        negative=sum_by_patient((below - aurocs) / len(below), codes[~truth], patients=len(keys)),
        patients=with_class,
        reason=reason,
    )


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
    value, error, _ = placements.contrast([1.0])
    if isnan(value) or isnan(error) or error == 0:
        return _without_variance(placements, method, level)
    half = two_sided(level) * error
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), method)


def clustered_auroc(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, level: float = 0.95) -> Estimate:
    """The AUROC of slices, with an interval for which patients are independent and slices are not.

    Obuchowski's variance, on the logit scale (so it stays inside (0, 1) and leans away from 1), with Student's t at
    Satterthwaite's degrees of freedom. Where nothing varies (a perfect score), Newcombe's interval with patients as the
    sample size stands in.

    Returns:
        Undefined if a class is missing; without an interval if one patient alone has a class, or all scores are equal.

    Raises:
        ValueError: As `place`.

    Source:
        Obuchowski (1997), Biometrics 53(2), 567-578; Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114.
    """
    method = name_method("clustered by patient (Obuchowski 1997), logit scale", level)
    placements = place(labels, scores, patients)
    value, error, degrees = placements.contrast([1.0])
    if isnan(value) or isnan(error) or error == 0 or not 0 < value < 1:
        return _without_variance(placements, method, level)
    quantile = float(student.ppf((1 + level) / 2, degrees)) if not isnan(degrees) else two_sided(level)
    low, high = logit_interval(value, standard_error=error, quantile=quantile)
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


def newcombe_interval(auroc: float, *, positives: int, negatives: int, level: float = 0.95) -> tuple[float, float]:
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
        return without_interval(value, method, "no patient differs from another")
    positives, negatives = placements.patients
    low, high = newcombe_interval(value, positives=positives, negatives=negatives, level=level)
    return Estimate(value, low, high, name_method("Newcombe (2006), patients as sample size", level))


def _share_below(values: NDArray, others: NDArray) -> Floats:
    """For each value, the share of the others below it, ties counting one half."""
    ordered = np.sort(others)
    left = np.searchsorted(ordered, values, side="left")
    return (left + np.searchsorted(ordered, values, side="right")) / (2 * len(ordered))
