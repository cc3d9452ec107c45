"""The metrics that every run and every report states, each with the interval that holds for slices of patients."""

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.area import clustered_auroc
from fistula.evidence.clustered import rao_scott
from fistula.evidence.estimate import Estimate
from fistula.evidence.resample import patient_bootstrap

METRICS = ("sensitivity", "specificity", "balanced_accuracy", "auroc")


def standard_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    called: ArrayLike,
    patients: ArrayLike,
    runs: ArrayLike | None = None,
    *,
    resamples: int = 2000,
) -> dict[str, Estimate]:
    """Estimate the four metrics of `METRICS` from scores and decisions, patients being the independent units.

    The methods are those that cover 93 to 97 % in `benchmarks/coverage.py`: Rao-Scott for the two rates, Obuchowski for
    the AUROC, resampled patients for their mean, which has no formula. They serve one row a slice and one row
    a patient alike.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``; only their order counts.
        called: 0 or 1, ``(N,)``: whether the row is called positive.
        patients: Whom each row is of, ``(N,)``.
        runs: Which network scored each row, ``(N,)``: scores are compared within a run only; left out, one did all.
        resamples: Of the patients, for balanced accuracy.

    Raises:
        ValueError: If labels or decisions are not 0 or 1, scores are not finite, or lengths differ.
    """
    truth, calls, keys = np.asarray(labels), np.asarray(called), np.asarray(patients)
    positive = truth == 1
    resampled = patient_bootstrap(
        truth, calls, keys, threshold=0.5, statistics=("balanced_accuracy",), resamples=resamples
    )
    return {
        "sensitivity": rao_scott(calls[positive], keys[positive]),
        "specificity": rao_scott(1 - calls[~positive], keys[~positive]),
        "balanced_accuracy": resampled["balanced_accuracy"],
        "auroc": clustered_auroc(truth, scores, keys, runs),
    }
