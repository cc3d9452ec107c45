"""The report's intervals by other methods, beside those that it states: a reader sees what hangs on the choice."""

from math import nan

import numpy as np
from numpy.typing import NDArray

from fistula.evidence.clustered import gee
from fistula.evidence.compare import Comparison, clustered_mcnemar, delong_test, mcnemar
from fistula.evidence.estimate import Estimate
from fistula.evidence.placements import delong
from fistula.evidence.rates import clopper_pearson
from fistula.evidence.resample import METHODS, paired_bootstrap, patient_bootstrap

CHECKS = (
    "sensitivity, GEE",
    "sensitivity, Clopper-Pearson",
    "specificity, GEE",
    "specificity, Clopper-Pearson",
    "AUROC, bootstrap percentile",
    "AUROC, bootstrap BCa",
    "AUROC, DeLong",
)
PAIR_CHECKS = (
    "AUROC, DeLong",
    "AUROC, bootstrap percentile",
    "sensitivity, Durkalski",
    "sensitivity, McNemar mid-p",
    "sensitivity, bootstrap percentile",
    "specificity, Durkalski",
    "specificity, McNemar mid-p",
    "specificity, bootstrap percentile",
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


def pair_checks(
    patients: tuple[NDArray, NDArray, NDArray, NDArray], slices: tuple[NDArray, NDArray, NDArray, NDArray]
) -> dict[str, Comparison]:
    """Compare two models by the methods of `PAIR_CHECKS`.

    DeLong's and McNemar's tests take rows as independent; Durkalski's counts patients alike, not slices.

    Args:
        patients: Labels, scores of either model, and whom each row is of, ``(P,)``.
        slices: Labels, calls of either model (0 or 1), and whom each row is of, ``(N,)``.
    """
    labels, first, second, keys = patients
    drawn = paired_bootstrap(labels, (first, second), keys, thresholds=(None, None), statistics=("auroc",))
    found = [delong_test(labels, first, second), Comparison(drawn["auroc"], nan, nan, nan)]
    labels, first, second, keys = slices
    rates = paired_bootstrap(
        labels, (first, second), keys, thresholds=(0.5, 0.5), statistics=("sensitivity", "specificity")
    )
    for rate, label in (("sensitivity", 1), ("specificity", 0)):
        rows = labels == label
        right, other = first[rows] == label, second[rows] == label
        found += [
            clustered_mcnemar(right, other, keys[rows], method="durkalski"),
            mcnemar(right, other, method="mid_p"),
            Comparison(rates[rate], nan, nan, nan),
        ]
    return dict(zip(PAIR_CHECKS, found, strict=True))
