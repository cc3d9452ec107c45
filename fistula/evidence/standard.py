"""The metrics that every run and every report states, each with the interval that holds for slices of patients."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.clustered import balanced_accuracy, clustered_rate

METRICS = ("sensitivity", "specificity", "balanced_accuracy", "auroc")


def standard_metrics(
    labels: ArrayLike, scores: ArrayLike, called: ArrayLike, patients: ArrayLike, runs: ArrayLike | None = None
) -> dict[str, Estimate]:
    """Estimate the four metrics of `METRICS`, with 95% CIs, from scores and decisions, with patients as the units.

    The methods are those that cover best in `benchmarks/coverage.py`. They serve one row a slice and one row
    a patient alike.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``; only their order counts.
        called: 0 or 1, ``(N,)``: whether the row is called positive.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``: scores are compared within a run only; left out, one did all.

    Raises:
        ValueError: If labels or decisions are not 0 or 1, scores are not finite, or lengths differ.
    """
    truth, calls, keys = np.asarray(labels), np.asarray(called), np.asarray(patients)
    positive = truth == 1
    found = {
        "sensitivity": clustered_rate(calls[positive], keys[positive]),
        "specificity": clustered_rate(1 - calls[~positive], keys[~positive]),
        "balanced_accuracy": balanced_accuracy(truth, calls, keys),
        "auroc": clustered_auroc(truth, scores, keys, runs),
    }
    for name, rows, lacking in (("sensitivity", positive, "positives"), ("specificity", ~positive, "negatives")):
        if len(truth) and not rows.any():
            found[name] = replace(found[name], reason=f"no {lacking}")
    return found
