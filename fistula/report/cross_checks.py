"""The report's intervals by other methods, beside those that it states: a reader sees what hangs on the choice."""

import numpy as np
from numpy.typing import NDArray

from fistula.evidence.clustered import gee
from fistula.evidence.estimate import Estimate
from fistula.evidence.placements import delong
from fistula.evidence.rates import clopper_pearson
from fistula.evidence.resample import METHODS, patient_bootstrap

CHECKS = (
    "sensitivity, GEE",
    "sensitivity, Clopper-Pearson",
    "specificity, GEE",
    "specificity, Clopper-Pearson",
    "AUROC, bootstrap percentile",
    "AUROC, bootstrap BCa",
    "AUROC, DeLong",
)


def cross_checks(
    labels: NDArray, scores: NDArray, called: NDArray, patients: NDArray, *, resamples: int
) -> dict[str, Estimate]:
    """Estimate sensitivity, specificity and AUROC by the methods of `CHECKS`.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        called: 0 or 1, ``(N,)``.
        patients: Whom each row is of, ``(N,)``.
        resamples: Of the patients.
    """
    right = np.asarray(called == labels, dtype=np.int64)
    found = []
    for rows in (labels == 1, labels == 0):
        found.append(gee(right[rows], patients[rows]))
        found.append(clopper_pearson(float(right[rows].sum()), float(rows.sum())))
    for method in METHODS:
        drawn = patient_bootstrap(
            labels, scores, patients, threshold=None, statistics=("auroc",), resamples=resamples, method=method
        )
        found.append(drawn["auroc"])
    return dict(zip(CHECKS, [*found, delong(labels, scores)], strict=True))
