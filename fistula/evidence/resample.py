"""Bootstrap of patients: resample whole patients within their class, as weights, all resamples at once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isnan

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Floats, class_reason
from fistula.evidence.weighted import NEEDS, STATISTICS, Rows, gather, roc_heights

DEFAULT_STATISTICS = ("auroc", "sensitivity", "specificity", "balanced_accuracy")


def patient_bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    threshold: float | None,
    statistics: Sequence[str] = DEFAULT_STATISTICS,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Statistics of one model, with intervals from resampled patients.

    Serves slices (many rows a patient) and patients (one row each) alike. All statistics see the same resamples.
    For AUROC, sensitivity and specificity `clustered_auroc` and `clustered_rate` cover better (benchmarks/coverage.py).

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``: rows are ranked within a run only; left out, one did all.
        threshold: A row is called positive if ``score >= threshold``; None if no statistic needs one.
        statistics: Names from `weighted.STATISTICS`.
        resamples: How many.
        seed: Of the resampling; the same seed gives the same interval.
        level: Of the interval.

    Returns:
        An estimate for each statistic. No interval, with the reason, where only one patient has a class that the
        statistic needs, where all resamples agree (a rate of 0 or 1: use `clustered.clustered_rate` there), or where
        it is undefined in a resample.

    Raises:
        ValueError: On an unknown statistic, a missing threshold, or what `weighted.gather` refuses.

    Source:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13; patients as units: Rutter (2000),
        Acad Radiol 7(6), 413-419.
    """
    rows = gather(labels, scores, patients, runs, threshold=threshold, statistics=statistics)
    functions = {name: partial(STATISTICS[name], rows) for name in statistics}
    return _intervals(functions, rows, resamples=resamples, seed=seed, level=level)


def paired_bootstrap(
    labels: ArrayLike,
    scores: tuple[ArrayLike, ArrayLike],
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Difference of two AUROCs (first model less second) on the same rows, with an interval from the same resamples.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Of the two models, each ``(N,)``.
        patients: As `patient_bootstrap`, like the rest.
        runs: Which network scored each row, ``(N,)``: rows are ranked within a run only; left out, one did all.
        resamples: How many.
        seed: Of the resampling.
        level: Of the interval.

    Returns:
        As `patient_bootstrap`; two models that rank alike have a difference of 0 and no interval.

    Raises:
        ValueError: As `patient_bootstrap`.
    """
    first, second = (gather(labels, column, patients, runs, threshold=None, statistics=("auroc",)) for column in scores)

    def difference(weights: Floats) -> Floats:
        return STATISTICS["auroc"](first, weights) - STATISTICS["auroc"](second, weights)

    return _intervals({"auroc": difference}, first, resamples=resamples, seed=seed, level=level)["auroc"]


def roc_band(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    fpr: ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """The 95% percentile band of the ROC curve over resampled patients, at each point and not of the whole curve.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``: rows are ranked within a run only; left out, one did all.
        fpr: False positive rates at which the band is wanted, in [0, 1], ``(G,)``.
        resamples: How many.
        seed: Of the resampling.

    Returns:
        Lowest and highest sensitivity, each ``(G,)``; NaN where a class is missing or rests on one patient.

    Raises:
        ValueError: As `weighted.gather`.
    """
    grid = np.asarray(fpr, dtype=np.float64)
    rows = gather(labels, scores, patients, runs, threshold=None, statistics=("auroc",))
    if class_reason(rows.labels) or rows.lacking("both"):
        return np.full(grid.shape, np.nan), np.full(grid.shape, np.nan)
    heights = roc_heights(rows, draw_weights(rows.strata, resamples=resamples, seed=seed), grid)
    low, high = np.quantile(heights, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def draw_weights(strata: ArrayLike, *, resamples: int, seed: int) -> Floats:
    """How often each patient is drawn in each resample, ``(resamples, P)``: within a stratum the draws are its size.

    Args:
        strata: The class of each patient, ``(P,)``.
        resamples: How many.
        seed: Of the generator.
    """
    codes = np.asarray(strata)
    random = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(codes)))
    for stratum in np.unique(codes):
        members = np.flatnonzero(codes == stratum)
        weights[:, members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return weights


def percentile_interval(values: Floats, *, level: float) -> tuple[float, float]:
    """The quantiles that leave equal tails on both sides."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _intervals(
    functions: Mapping[str, Callable[[Floats], Floats]], rows: Rows, *, resamples: int, seed: int, level: float
) -> dict[str, Estimate]:
    """Estimate every function of the patients' weights from one set of resamples."""
    if resamples < 1:
        raise ValueError(f"resamples must be positive, got {resamples}")
    name = name_method(f"bootstrap of patients, percentile, {resamples} resamples, seed {seed}", level)
    weights = draw_weights(rows.strata, resamples=resamples, seed=seed)
    estimates = {}
    for statistic, function in functions.items():
        value = float(function(np.ones((1, len(rows.strata))))[0])
        if isnan(value):
            estimates[statistic] = undefined(name, rows.why_undefined(statistic))
            continue
        values = function(weights)
        reason = rows.lacking(NEEDS.get(statistic, "both")) or unusable(values)
        if reason:
            estimates[statistic] = without_interval(value, name, reason)
        else:
            estimates[statistic] = Estimate(value, *percentile_interval(values, level=level), name)
    return estimates


def unusable(values: Floats) -> str:
    """Why resampled values make no interval; empty if they do."""
    missing = int(np.isnan(values).sum())
    if missing:
        return f"undefined in {missing} of {len(values)} resamples"
    return "all resamples agree" if np.ptp(values) < 1e-12 else ""
