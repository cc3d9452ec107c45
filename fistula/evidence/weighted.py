"""Statistics as functions of the patients' weights: what a bootstrap or a jackknife needs to be fast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.inputs import Bools, Codes, Floats, check_pairs, class_reason, patient_codes, sum_by_patient
from fistula.evidence.rates.counts import RATES, Confusion, call_positive

PARTIAL = 0.2  # false positive rate up to which the partial AUROC counts: specificity of 0.8 and above
_BLOCK = 4_000_000  # weights of rows held at once: 32 MB


@dataclass(frozen=True)
class Rows:
    """The rows of one model, gathered by patient."""

    labels: Bools  # ``(N,)``, ordered by run and score
    scores: Floats  # ``(N,)``, ascending within a run
    codes: Codes  # the patient of each row, ``(N,)``
    ends: Codes  # where the runs begin and end among the rows, ``(runs + 1,)``
    strata: Codes  # the class of each patient, ``(P,)``: 0 has negatives only, 1 both, 2 positives only
    # True positives, false positives, true negatives, false negatives of each patient, ``(P, 4)``; NaN without a
    # threshold.
    counts: Floats

    def why_undefined(self, statistic: str) -> str:
        """Why a statistic has no value on these rows."""
        if statistic in RATES and len(self.labels):
            return RATES[statistic][1]
        return class_reason(self.labels) or "no run tested both classes"

    def lacking(self, needed: str) -> str:
        """Why resampling says nothing of the spread: a class that rests on one patient; empty if none does."""
        for name, strata in (("positive", (1, 2)), ("negative", (0, 1))):
            if needed in (name, "both") and (count := int(np.isin(self.strata, strata).sum())) < 2:
                return f"all {name}s are of one patient" if count else f"no {name}s"
        return ""


Statistic = Callable[[Rows, Floats], Floats]


def gather(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    threshold: float | None,
    statistics: Sequence[str],
) -> Rows:
    """Check the rows of one model and gather them by patient; scores are ranked within a run only.

    Raises:
        ValueError: If a statistic is unknown or lacks its threshold, a label is not 0 or 1, a score is not finite,
            or the lengths differ.
    """
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown:
        raise ValueError(f"statistics must be among {', '.join(STATISTICS)}; got {unknown[0]!r}")
    if threshold is None and any(name in RATES for name in statistics):
        raise ValueError(f"threshold is needed for {next(name for name in statistics if name in RATES)}, got None")
    truth, values = check_pairs(labels, scores)
    keys, codes = patient_codes(patients, rows=len(truth))
    has_positive, has_negative = (np.bincount(codes[part], minlength=len(keys)) > 0 for part in (truth, ~truth))
    if threshold is None:
        counts = np.full((len(keys), 4), np.nan)
    else:
        called = call_positive(values, threshold)
        cells = np.stack([truth & called, ~truth & called, ~truth & ~called, truth & ~called], axis=1)
        counts = sum_by_patient(cells.astype(np.float64), codes, patients=len(keys))
    _, of_run = patient_codes(np.zeros(len(truth)) if runs is None else runs, rows=len(truth))
    order = np.lexsort((values, of_run))
    ends = np.r_[0, np.cumsum(np.bincount(of_run))].astype(np.intp)
    strata = np.where(has_positive & has_negative, 1, np.where(has_positive, 2, 0))
    return Rows(truth[order], values[order], codes[order], ends, strata, counts)


def auroc(rows: Rows, weights: Floats) -> Floats:
    """AUROC within runs under each row of patients' weights ``(R, P)``; ties count one half; NaN without pairs."""

    def areas(positive: Floats, negative: Floats) -> Floats:
        below = np.cumsum(negative, axis=1) - negative / 2
        return np.sum(positive * below, axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))

    return _over_ties(rows, weights, areas)


def average_precision(rows: Rows, weights: Floats) -> Floats:
    """Mean over runs of the average precision under each row of patients' weights ``(R, P)``; NaN without pairs.

    A sum of steps, without interpolation, which would be wrong: Davis & Goadrich (2006), ICML, 233-240. Its value for a
    random score is the prevalence, so it compares only within one cohort.
    """

    def areas(positive: Floats, negative: Floats) -> Floats:
        true_positives = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
        called = true_positives + np.cumsum(negative[:, ::-1], axis=1)[:, ::-1]
        precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
        return np.sum(positive * precision, axis=1) / positive.sum(axis=1)

    return _over_ties(rows, weights, areas)


def partial_auroc(rows: Rows, weights: Floats) -> Floats:
    """Standardised AUROC up to a false positive rate of `PARTIAL` under each row of patients' weights ``(R, P)``.

    Rescaled so that chance is 0.5 and a perfect score 1; NaN where a class has no weight.

    Source:
        McClish (1989), Medical Decision Making 9(3), 190-195.
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
            # At a vertical step `interp` takes the upper end; the right border needs the lower one, read backwards.
            end = np.interp(-PARTIAL, -fpr[::-1], tpr[::-1])
            found.append(float(np.trapezoid(np.r_[tpr[inside], end], np.r_[fpr[inside], PARTIAL])))
        return 0.5 * (1 + (np.array(found) - chance) / (PARTIAL - chance))

    return _over_ties(rows, weights, areas)


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
    """Give `areas` the weight of positives and of negatives at each distinct score of a run, ascending.

    The mean over runs, each weighing its pairs of a positive and a negative row, as `placements.place` compares them.
    """
    step = max(1, _BLOCK // max(1, len(rows.labels)))
    results = []
    for first in range(0, len(weights), step):
        block = weights[first : first + step]
        total: Floats | float = 0.0
        pairs = np.zeros(len(block))
        for begin, end in pairwise(rows.ends):
            labels, scores = rows.labels[begin:end], rows.scores[begin:end]
            starts = np.flatnonzero(np.diff(scores, prepend=-np.inf))
            of_rows = block[:, rows.codes[begin:end]]
            positive, negative = (np.add.reduceat(of_rows * side, starts, axis=1) for side in (labels, ~labels))
            weight = positive.sum(axis=1) * negative.sum(axis=1)
            # A run whose positives, say, were not drawn has nothing to compare, and weighs nothing.
            with np.errstate(invalid="ignore"):
                found = areas(positive, negative)
            shape = (-1,) + (1,) * (found.ndim - 1)
            total = total + np.where((weight > 0).reshape(shape), found, 0.0) * weight.reshape(shape)
            pairs += weight
        if isinstance(total, float):
            total = np.zeros(len(block))
        with np.errstate(invalid="ignore"):
            results.append(total / pairs.reshape((-1,) + (1,) * (total.ndim - 1)))
    return np.concatenate(results)


STATISTICS: dict[str, Statistic] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "partial_auroc": partial_auroc,
    **{name: _rate(name) for name in RATES},
}
"""Each statistic that can be resampled, by its name."""

NEEDS = {"sensitivity": "positive", "specificity": "negative"}
"""The class that a statistic rests on; those not named rest on both."""
