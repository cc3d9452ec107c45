"""Whether a model does as well in one group of patients as in another."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from scipy.stats import chi2

from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import check_labels
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.placements import place


@dataclass(frozen=True)
class Subgroup:
    """One group of patients.

    Attributes:
        name: Of the group.
        patients: In it.
        positives: Of them, who have a positive row.
        auroc: Within runs, of the rows of these patients.
    """

    name: str
    patients: int
    positives: int
    auroc: Estimate


def subgroup_aurocs(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike, groups: ArrayLike
) -> tuple[list[Subgroup], float]:
    """The AUROC of each group of patients, and the test of whether they differ (interaction).

    The logits of the groups' AUROCs, each with its variance over patients left out, are held against their weighted
    mean (Cochran's Q). Groups without an interval, and those of a perfect AUROC, take no part in the test.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        patients: Whom each row is of, ``(N,)``; a patient is in one group.
        runs: Which network scored each row, ``(N,)``.
        groups: Name of the group, ``(N,)``.

    Returns:
        The groups by name, and the p-value; NaN where fewer than two groups can be compared. A test of interaction has
        little power: about four times as many patients as for an effect of the same size in all of them.

    Raises:
        ValueError: As `clustered_auroc`.

    Source:
        Cochran (1954), Biometrics 10(1), 101-129.
    """
    truth, values, keys, networks, names = (np.asarray(part) for part in (labels, scores, patients, runs, groups))
    check_labels(truth)
    found, logits, errors = [], [], []
    for name in np.unique(names):
        rows = names == name
        arrays = truth[rows], values[rows], keys[rows], networks[rows]
        area = clustered_auroc(*arrays)
        owners, positives = len(np.unique(keys[rows])), len(np.unique(keys[rows & (truth == 1)]))
        found.append(Subgroup(str(name), owners, positives, area))
        if area.has_interval and 0 < area.value < 1:
            logits.append(float(logit(area.value)))
            errors.append(place(*arrays).logit_error())
    if len(logits) < 2:
        return found, nan
    weights = 1 / np.square(errors)
    middle = np.average(logits, weights=weights)
    return found, float(chi2.sf(np.sum(weights * (np.array(logits) - middle) ** 2), len(logits) - 1))
