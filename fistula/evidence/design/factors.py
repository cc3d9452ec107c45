"""A study as an experiment: what each factor does to the AUROC, and how much seeds and patients move it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt

import numpy as np
from scipy.stats import chi2

from fistula.evidence.design.compare import wald
from fistula.evidence.estimate import LEVEL, Estimate, name_method, undefined, without_interval
from fistula.evidence.inputs import Floats
from fistula.evidence.ranking.placements import Placements


@dataclass(frozen=True)
class Effect:
    """What a level of a factor adds to the AUROC over the factor's first level, the other factors held."""

    factor: str  # such as ``model``
    level: str  # such as ``resnet34``
    reference: str  # the level that it is compared with
    # Of AUROC, with its interval for new patients, the runs taken as they are; of all effects of a design the intervals
    # hold at once.
    difference: Estimate


@dataclass(frozen=True)
class Spread:
    """How far an AUROC moves when the seed changes, and when the patients do."""

    seed: Estimate  # standard deviation over runs that differ in their seed alone, on the same patients
    patients: Estimate  # standard error of one run's AUROC over samples of patients


def main_effects(factors: Mapping[str, Sequence[str]], placements: Placements) -> list[Effect]:
    """Main effects of a design on the AUROC by least squares, with 95% CIs that take patients as the sample.

    All of them hold at once, by Bonferroni's correction for their number.

    The AUROC of a run is modelled as a constant and one term for each factor's level. Each effect is then a fixed
    combination of the runs' AUROCs, and its variance follows from their covariance on the same patients. Interactions
    are not modelled: an effect is a mean over the runs made. Repeated seeds are runs like others.

    Args:
        factors: For each factor its level in each run, ``(R,)``; a factor's first run names its reference level.
        placements: Of the R runs on the same rows, from `placements.place`.

    Returns:
        One effect for each level but the reference, in order of appearance; undefined where the design confounds it
        with another factor. A factor with one level has none.

    Raises:
        ValueError: If a factor has not one level for each run.

    Source:
        Montgomery (2017), Design and Analysis of Experiments, ch. 10; covariance by leaving out patients:
        Efron & Tibshirani (1993), ch. 11.
    """
    runs = len(placements.aurocs)
    names: list[tuple[str, str, str]] = []
    columns = [np.ones(runs)]
    for factor, levels in factors.items():
        if len(levels) != runs:
            raise ValueError(f"factor {factor} must have a level for each of the {runs} runs, got {len(levels)}")
        reference, *others = dict.fromkeys(levels)
        names += [(factor, other, reference) for other in others]
        columns += [np.array([value == other for value in levels], dtype=np.float64) for other in others]
    matrix = np.stack(columns, axis=1)
    solve = np.linalg.pinv(matrix)
    # A coefficient is estimable if the rows of the design can make it alone.
    reached = solve @ matrix
    alone = np.eye(matrix.shape[1])
    confounded = [not np.allclose(reached[index], alone[index], atol=1e-8) for index in range(1, len(alone))]
    each = 1 - (1 - LEVEL) / max(1, confounded.count(False))
    return [
        Effect(factor, other, reference, _effect(solve[index], placements, each, confounded=confounded[index - 1]))
        for index, (factor, other, reference) in enumerate(names, start=1)
    ]


def seed_and_patient_spread(placements: Placements) -> Spread:
    """Set the spread of seeds apart from that of patients.

    The seeds' spread is seen on the same patients, so no patient variance enters but what a seed and a patient share.
    The seeds' part has no value for one run. The placements are of runs that differ in their seed alone, on the same
    rows.
    """
    runs = len(placements.aurocs)
    name = name_method("standard deviation over seeds, chi-square", LEVEL)
    if placements.reason and isnan(placements.aurocs[0]):
        seed = undefined(name, placements.reason)
    elif runs < 2:
        seed = undefined(name, "only one seed")
    else:
        spread = float(np.std(placements.aurocs, ddof=1))
        low, high = (spread * sqrt((runs - 1) / chi2.ppf(p, runs - 1)) for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
        seed = Estimate(spread, low, high, name)
    name = "standard error by delete-one-patient jackknife, mean over seeds"
    if placements.reason:
        return Spread(seed, undefined(name, placements.reason))
    error = sqrt(float(np.mean(np.diag(placements.covariance()))))
    return Spread(seed, without_interval(error, name, "not made for a standard error"))


def _effect(weights: Floats, placements: Placements, level: float, *, confounded: bool) -> Estimate:
    """One combination of the runs' AUROCs with its interval."""
    name = name_method("least squares over runs, delete-one-patient jackknife, t", round(level, 6))
    if confounded:
        return undefined(name, "confounded with another factor in this design")
    return wald(*placements.contrast(weights), name=name, reason=placements.reason, level=level).difference
