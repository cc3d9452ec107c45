"""Do the probabilities mean what they say, and how to mend them on validation."""

from dataclasses import dataclass
from math import exp, log, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from fistula.evidence.inputs import Bools, Floats, check_labels, check_probabilities, class_reason, logits_of
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.rates.counts import wilson


@dataclass(frozen=True)
class Murphy:
    """The parts of a Brier score: ``brier = reliability - resolution + uncertainty + within``."""

    brier: float  # mean squared distance of score and label
    reliability: float  # of the bins' mean scores from their shares of positives; 0 is calibrated
    resolution: float  # of the bins' shares from the overall share; the greater the better
    uncertainty: float  # ``share × (1 - share)``, which no score changes
    within: float  # what binning hides: variance less twice the covariance with the label inside the bins


@dataclass(frozen=True)
class Reliability:
    """A reliability curve, one entry for each bin that has rows, ascending."""

    score: Floats  # mean score, ``(B,)``
    rate: Floats  # share of positives, ``(B,)``
    low: Floats  # lower end of its interval, for which patients are independent, ``(B,)``
    high: Floats  # upper end, ``(B,)``
    count: NDArray[np.intp]  # rows, ``(B,)``


@dataclass(frozen=True)
class Scaling:
    """A line on the logit scale that mends probabilities: ``expit(slope × logit(score) + intercept)``.

    A temperature T is ``slope = 1 / T`` with no intercept. Order is kept as long as the slope is positive.
    """

    slope: float
    intercept: float

    def apply(self, scores: ArrayLike) -> Floats:
        """Mended scores, of any number of rows; scores within 1e-6 of 0 or 1 count as if there.

        Raises:
            ValueError: If a score is not in [0, 1].
        """
        return expit(self.slope * logits_of(check_probabilities(scores, rows=np.size(scores))) + self.intercept)


def brier_score(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean squared distance of score and label, one-sided: 0 perfect, 0.25 for a constant 0.5, 1 certain and wrong.

    Returns:
        In [0, 1]; NaN without rows.

    Raises:
        ValueError: If a label is not 0 or 1, or a score not in [0, 1].

    Source:
        Brier (1950), Monthly Weather Review 78(1), 1-3 (half of his sum over two classes).
    """
    truth, values = _check(labels, scores)
    return float(np.mean((values - truth) ** 2)) if len(truth) else nan


def murphy_decomposition(labels: ArrayLike, scores: ArrayLike, *, bins: int = 10) -> Murphy:
    """Split the Brier score into reliability, resolution and uncertainty over bins of the score of equal width.

    The sum is exact: what the bins hide stands in ``within`` and is 0 if scores do not vary inside a bin.

    Returns:
        All NaN without rows.

    Raises:
        ValueError: As `brier_score`, or on bins below 1.

    Source:
        Murphy (1973), J Appl Meteorol 12(4), 595-600; within-bin terms: Stephenson, Coelho & Jolliffe (2008), Weather
        and Forecasting 23(4), 752-757.
    """
    truth, values = _check(labels, scores)
    codes = _bin(values, bins=bins)
    if len(truth) == 0:
        return Murphy(nan, nan, nan, nan, nan)
    count, score, rate = _bin_means(truth, values, codes)
    share = float(truth.mean())
    brier = brier_score(truth, values)
    reliability = float(np.sum(count * (score - rate) ** 2) / len(truth))
    resolution = float(np.sum(count * (rate - share) ** 2) / len(truth))
    uncertainty = share * (1 - share)
    moved = values - score[codes]
    within = float(np.mean(moved**2 - 2 * moved * (truth - rate[codes])))
    return Murphy(brier, reliability, resolution, uncertainty, within)


def expected_calibration_error(labels: ArrayLike, scores: ArrayLike, *, bins: int = 10) -> float:
    """Mean distance of the bins' mean scores from their shares of positives, weighted by rows.

    Depends on the bins, so state them; biased upwards where bins are small.

    Returns:
        In [0, 1]; NaN without rows.

    Raises:
        ValueError: As `murphy_decomposition`.

    Source:
        Naeini, Cooper & Hauskrecht (2015), AAAI, 2901-2907, of the positive class's probability.
    """
    truth, values = _check(labels, scores)
    codes = _bin(values, bins=bins)
    if len(truth) == 0:
        return nan
    count, score, rate = _bin_means(truth, values, codes)
    return float(np.sum(count * np.abs(score - rate)) / len(truth))


def reliability_curve(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None, *, bins: int = 10, level: float = 0.95
) -> Reliability:
    """Share of positives against mean score, for each bin that has rows.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: In [0, 1], ``(N,)``.
        patients: Whom each row is of, ``(N,)``, slices or seeds; left out, each row is a patient.
        bins: Of equal width.
        level: Of the intervals, those of `clustered_rate`; one patient alone counts as one trial.

    Raises:
        ValueError: As `murphy_decomposition`.
    """
    truth, values = _check(labels, scores)
    codes = _bin(values, bins=bins)
    count, score, rate = _bin_means(truth, values, codes)
    keys = np.arange(len(truth)) if patients is None else np.asarray(patients)
    found = [clustered_rate(truth[codes == code], keys[codes == code], level) for code in range(len(count))]
    ends = [one if one.has_interval else wilson(one.value, 1, level) for one in found]
    return Reliability(score, rate, np.array([end.low for end in ends]), np.array([end.high for end in ends]), count)


def fit_temperature(labels: ArrayLike, scores: ArrayLike) -> Scaling:
    """The temperature in [0.05, 20] of the least log loss. Give it validation rows only.

    Raises:
        ValueError: As `brier_score`, or if a class is missing.

    Source:
        Guo, Pleiss, Sun & Weinberger (2017), ICML, 1321-1330.
    """
    truth, logits = _fitting_rows(labels, scores)

    def loss(log_slope: float) -> float:
        return _log_loss(truth.astype(np.float64), exp(log_slope) * logits)

    best = minimize_scalar(loss, bounds=(-log(20), log(20)), method="bounded", options={"xatol": 1e-8})
    return Scaling(exp(float(best.x)), 0.0)


def fit_platt(labels: ArrayLike, scores: ArrayLike) -> Scaling:
    """The slope and intercept on the logit scale of the least log loss. Give it validation rows only.

    Labels are drawn in by Platt's rule, to (m + 1)/(m + 2) for m positives and 1/(n + 2) for n negatives, so that the
    fit is finite even where the classes part.

    Raises:
        ValueError: As `brier_score`, or if a class is missing.

    Source:
        Platt (1999), Advances in Large Margin Classifiers, 61-74.
    """
    truth, logits = _fitting_rows(labels, scores)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(line: Floats) -> tuple[float, Floats]:
        mended = line[0] * logits + line[1]
        slip = expit(mended) - target
        return _log_loss(target, mended), np.array([np.mean(slip * logits), np.mean(slip)])

    best = minimize(loss, x0=np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-10})
    return Scaling(float(best.x[0]), float(best.x[1]))


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    truth = check_labels(labels)
    return truth, check_probabilities(scores, rows=len(truth))


def _fitting_rows(labels: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    truth, values = _check(labels, scores)
    reason = class_reason(truth)
    if reason:
        raise ValueError(f"fitting a scaling needs both classes, got {reason}")
    return truth, logits_of(values)


def _log_loss(target: Floats, logits: Floats) -> float:
    return float(np.mean(np.logaddexp(0, logits) - target * logits))


def _bin(values: Floats, *, bins: int) -> NDArray[np.intp]:
    """The bin of each score among the bins that have rows; equal scores share one."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if len(values) == 0:
        return np.zeros(0, dtype=np.intp)
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    _, codes = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
    return codes.astype(np.intp)


def _bin_means(truth: Bools, values: Floats, codes: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Rows, mean score and share of positives of each bin."""
    count = np.bincount(codes)
    with np.errstate(invalid="ignore"):
        return count, np.bincount(codes, weights=values) / count, np.bincount(codes, weights=truth) / count
