"""The report's intervals by other methods, beside those that it states: a reader sees what hangs on the choice."""

import numpy as np
from numpy.typing import NDArray

from fistula.evidence.design.compare import Comparison, mcnemar
from fistula.evidence.estimate import Estimate
from fistula.evidence.rates.clustered import gee
from fistula.evidence.rates.counts import clopper_pearson
from fistula.evidence.resample import paired_bootstrap, patient_bootstrap

CHECKS = (
    "sensitivity, GEE", "sensitivity, Clopper-Pearson", "specificity, GEE", "specificity, Clopper-Pearson",
    "AUROC, bootstrap",
)  # fmt: skip
PAIR_CHECKS = ("AUROC, bootstrap", "sensitivity, McNemar exact", "specificity, McNemar exact")


def cross_checks(
    labels: NDArray, scores: NDArray, called: NDArray, patients: NDArray, runs: NDArray, *, resamples: int
) -> dict[str, Estimate]:
    """Estimate sensitivity, specificity and AUROC by the methods of `CHECKS`.

    All are ``(N,)``: labels and calls 0 or 1, scores finite, whom each row is of, and which network scored it.
    """
    right = np.asarray(called == labels, dtype=np.int64)
    found = []
    for rows in (labels == 1, labels == 0):
        found.append(gee(right[rows], patients[rows]))
        found.append(clopper_pearson(int(right[rows].sum()), int(rows.sum())))
    drawn = patient_bootstrap(
        labels, scores, patients, runs, threshold=None, statistics=("auroc",), resamples=resamples
    )
    return dict(zip(CHECKS, [*found, drawn["auroc"]], strict=True))


def pair_checks(
    labels: NDArray,
    scores: tuple[NDArray, NDArray],
    called: tuple[NDArray, NDArray],
    patients: NDArray,
    runs: NDArray,
    *,
    resamples: int,
) -> dict[str, Comparison]:
    """Compare two models by the methods of `PAIR_CHECKS`.

    McNemar's exact test takes rows as independent.

    All are as `cross_checks` takes them, scores and calls of either model.
    """
    found = [Comparison(paired_bootstrap(labels, scores, patients, runs, resamples=resamples))]
    for label in (1, 0):
        rows = labels == label
        found.append(mcnemar(*(calls[rows] == label for calls in called)))
    return dict(zip(PAIR_CHECKS, found, strict=True))
