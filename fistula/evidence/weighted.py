"""Statistics as functions of the patients' weights: what a bootstrap or a jackknife needs to be fast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.inputs import (
    Bools,
    Codes,
    Floats,
    check_pairs,
    check_probabilities,
    class_reason,
    patient_codes,
    sum_by_patient,
)
from fistula.evidence.rates import RATES, Confusion, call_positive

PARTIAL = 0.2  # false positive rate up to which the partial AUROC counts: specificity of 0.8 and above
_BLOCK = 4_000_000  # weights of rows held at once: 32 MB


@dataclass(frozen=True)
class Rows:
    """The rows of one model, gathered by patient.

    Args:
        labels: ``(N,)``, ordered by score.
        scores: ``(N,)``, ascending.
        codes: The patient of each row, ``(N,)``.
        strata: The class of each patient, ``(P,)``: 0 has negatives only, 1 both, 2 positives only.
        counts: True positives, false positives, true negatives, false negatives of each patient, ``(P, 4)``;
            NaN without a threshold.
    """

    labels: Bools
    scores: Floats
    codes: Codes
    strata: Codes
    counts: Floats

    def why_undefined(self, statistic: str) -> str:
        """Why a statistic has no value on these rows."""
        if statistic in RATES and len(self.labels):
            return RATES[statistic][1]
        return class_reason(self.labels)

    def lacking(self, needed: str) -> str:
        """Why resampling says nothing of the spread: a class that rests on one patient; empty if none does."""
        for name, strata in (("positive", (1, 2)), ("negative", (0, 1))):
            if needed in (name, "both") and np.isin(self.strata, strata).sum() < 2:
                return f"only one patient has {name} rows"
        return ""


Statistic = Callable[[Rows, Floats], Floats]


def gather(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, threshold: float | None, statistics: Sequence[str]
) -> Rows:
    """Check the rows of one model and gather them by patient.

    Raises:
        ValueError: If a statistic is unknown or lacks its threshold, a label is not 0 or 1, a score is not finite
            (for ``brier``: not in [0, 1]), or the lengths differ.
    """
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown:
        raise ValueError(f"statistics must be among {', '.join(STATISTICS)}; got {unknown[0]!r}")
    if threshold is None and any(name in RATES for name in statistics):
        raise ValueError(f"threshold is needed for {next(name for name in statistics if name in RATES)}, got None")
    truth, values = check_pairs(labels, scores)
    if "brier" in statistics:
        check_probabilities(values, rows=len(truth))
    keys, codes = patient_codes(patients, rows=len(truth))
    has_positive, has_negative = (np.bincount(codes[part], minlength=len(keys)) > 0 for part in (truth, ~truth))
    if threshold is None:
        counts = np.full((len(keys), 4), np.nan)
    else:
        called = call_positive(values, threshold)
        cells = np.stack([truth & called, ~truth & called, ~truth & ~called, truth & ~called], axis=1)
        counts = sum_by_patient(cells.astype(np.float64), codes, patients=len(keys))
    order = np.argsort(values, kind="stable")
    strata = np.where(has_positive & has_negative, 1, np.where(has_positive, 2, 0))
    return Rows(truth[order], values[order], codes[order], strata, counts)


def auroc(rows: Rows, weights: Floats) -> Floats:
    """AUROC under each row of patients' weights ``(R, P)``; ties count one half; NaN where a class has no weight."""

    def areas(positive: Floats, negative: Floats) -> Floats:
        below = np.cumsum(negative, axis=1) - negative / 2
        with np.errstate(invalid="ignore"):
            return np.sum(positive * below, axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))

    return _over_ties(rows, weights, areas)


def average_precision(rows: Rows, weights: Floats) -> Floats:
    """Average precision under each row of patients' weights ``(R, P)``; NaN where positives have no weight."""

    def areas(positive: Floats, negative: Floats) -> Floats:
        true_positives = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
        called = true_positives + np.cumsum(negative[:, ::-1], axis=1)[:, ::-1]
        precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
        with np.errstate(invalid="ignore"):
            return np.sum(positive * precision, axis=1) / positive.sum(axis=1)

    return _over_ties(rows, weights, areas)


def partial_auroc(rows: Rows, weights: Floats) -> Floats:
    """Standardised AUROC up to a false positive rate of `PARTIAL` under each row of patients' weights ``(R, P)``.

    As `roc.partial_auroc`; NaN where a class has no weight.
    """
    chance = PARTIAL**2 / 2

    def areas(positive: Floats, negative: Floats) -> Floats:
        found = []
        for up, right in zip(positive[:, ::-1], negative[:, ::-1], strict=True):
            if not up.any() or not right.any():
                found.append(np.nan)
                continue
            tpr, fpr = np.cumsum(np.r_[0.0, up]) / up.sum(), np.cumsum(np.r_[0.0, right]) / right.sum()
            inside = fpr < PARTIAL
            # At a vertical step the lower end: see `roc.partial_auroc`.
            end = np.interp(-PARTIAL, -fpr[::-1], tpr[::-1])
            found.append(float(np.trapezoid(np.r_[tpr[inside], end], np.r_[fpr[inside], PARTIAL])))
        return 0.5 * (1 + (np.array(found) - chance) / (PARTIAL - chance))

    return _over_ties(rows, weights, areas)


def brier(rows: Rows, weights: Floats) -> Floats:
    """Mean squared distance of score and label under each row of patients' weights ``(R, P)``; NaN without rows."""
    patients = len(rows.strata)
    errors = sum_by_patient((rows.scores - rows.labels) ** 2, rows.codes, patients=patients)
    with np.errstate(invalid="ignore"):
        return (weights @ errors) / (weights @ np.bincount(rows.codes, minlength=patients))


def roc_heights(rows: Rows, weights: Floats, grid: Floats) -> Floats:
    """Sensitivity at each false positive rate of `grid` ``(G,)`` under each row of patients' weights: ``(R, G)``.

    Linear between the curve's points; at a vertical step its upper end.
    """

    def heights(positive: Floats, negative: Floats) -> Floats:
        curves = []
        for up, right in zip(positive[:, ::-1], negative[:, ::-1], strict=True):
            tpr, fpr = np.cumsum(np.r_[0.0, up]) / up.sum(), np.cumsum(np.r_[0.0, right]) / right.sum()
            curves.append(np.interp(grid, fpr, tpr))
        return np.stack(curves)

    return _over_ties(rows, weights, heights)


def _rate(name: str) -> Statistic:
    """A rate of `rates.RATES`, taken under each row of patients' weights."""
    function, _ = RATES[name]

    def rate(rows: Rows, weights: Floats) -> Floats:
        return np.asarray(function(Confusion(*(weights @ rows.counts).T)))

    return rate


def _over_ties(rows: Rows, weights: Floats, areas: Callable[[Floats, Floats], Floats]) -> Floats:
    """Give `areas` the weight of positives and of negatives at each distinct score, ascending, a block at a time."""
    if len(rows.labels) == 0:
        return np.full(len(weights), np.nan)
    starts = np.flatnonzero(np.diff(rows.scores, prepend=-np.inf))
    step = max(1, _BLOCK // len(rows.labels))
    results = []
    for first in range(0, len(weights), step):
        of_rows = weights[first : first + step][:, rows.codes]
        sides = (np.add.reduceat(of_rows * side, starts, axis=1) for side in (rows.labels, ~rows.labels))
        results.append(areas(*sides))
    return np.concatenate(results)


STATISTICS: dict[str, Statistic] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "partial_auroc": partial_auroc,
    "brier": brier,
    **{name: _rate(name) for name in RATES},
}
"""Each statistic that can be resampled, by its name."""

NEEDS = {"sensitivity": "positive", "specificity": "negative"}
"""The class that a statistic rests on; those not named rest on both."""
