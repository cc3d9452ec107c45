"""How much a leaky split flatters: the same configuration by image and by patient; controls that must be at 0.5."""

from dataclasses import dataclass
from math import sqrt

from scipy.special import ndtr

from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.counts import two_sided
from fistula.report.names import say_level
from fistula.report.pooling import ranking
from fistula.report.results import Row
from fistula.report.study import Configuration
from fistula.sweep.folder.run import WITHIN

# Yagis et al. 2021, Sci Rep 11:22544: what splitting by slice added to the accuracy of MR classifiers, in points, over
# their data sets; on labels at random it still gave 96 %.
YAGIS_POINTS = (29, 55)
YAGIS_RANDOM = 96


@dataclass(frozen=True)
class Inflation:
    """One configuration under two splits, by slice."""

    name: str  # its factors without split and labels, and settings that tell it from others of the same factors
    labels: str  # ``given``, or how they were permuted
    positive: str  # the class held against the rest
    leaky: dict[str, Estimate]  # AUROC and balanced accuracy under the leaky split
    honest: dict[str, Estimate]  # the same under the split by patient
    # Leaky less honest balanced accuracy, in points of 100; NaN if either is undefined. The two are of different test
    # rows and runs, so it has no paired test.
    points: float


@dataclass(frozen=True)
class Canary:
    """A configuration that learned permuted labels, at one level."""

    name: str  # of the configuration
    positive: str  # the class held against the rest
    level: str  # ``patient`` or ``slice``: a leak may show at one alone
    auroc: Estimate  # on the permuted labels of its test rows
    verdict: str  # what its interval, at the level of `_judge`, says of 0.5


def inflations(rows: list[Row]) -> list[Inflation]:
    """Match configurations that differ in their split alone, one of them leaky by design."""
    by_slice = [row for row in rows if row.level == "slice"]
    found = []
    for leaky in (row for row in by_slice if row.configuration.leaky_by_design):
        for honest in (row for row in by_slice if not row.configuration.leaky_by_design):
            if honest.positive == leaky.positive and _others(honest) == _others(leaky):
                points = 100 * (
                    leaky.estimates["balanced_accuracy"].value - honest.estimates["balanced_accuracy"].value
                )
                labels = str(leaky.configuration.factors.get("labelling", "given"))
                name = _name(leaky.configuration)
                found.append(Inflation(name, labels, leaky.positive, leaky.estimates, honest.estimates, points))
    return found


def canaries(rows: list[Row]) -> list[Canary]:
    """What each configuration with permuted labels shows of its split, per patient and per slice."""
    those = [row for row in rows if row.configuration.is_canary]
    return [
        Canary(row.configuration.name, row.positive, row.level, row.estimates["auroc"], _judge(row, among=len(those)))
        for row in those
    ]


def _judge(row: Row, *, among: int) -> str:
    """What the interval says of 0.5, at Bonferroni's level, and in cross-validation with twice the variance.

    There a patient whose label is permuted trains the networks that score the others, and they that which scores it:
    where a network learns nothing but whom it has seen, each pair counts twice (benchmarks/folds.py).
    """
    level = 1 - 0.05 / among
    if row.rows["fold"].n_unique() > 1:
        level = 1 - 2 * float(ndtr(-sqrt(2) * two_sided(level)))
    area = clustered_auroc(*ranking(row.rows), level=level)
    if not area.has_interval:
        return f"untested ({area.reason})"
    if area.low <= 0.5 <= area.high:
        return "compatible with 0.5, as expected"
    if area.high < 0.5:
        return "below 0.5, no sign of a leak, which would raise it"
    if row.configuration.leaky_by_design:
        return "above 0.5: under this split the network recognizes patients"
    return "above 0.5: information leaks, and no result of this split can be trusted"


def _name(configuration: Configuration) -> str:
    """Its factors, and what tells it from others that have them all."""
    said = {factor: say_level(factor, level) for factor, level in configuration.factors.items()}
    settings = [part for part in configuration.name.split(" · ") if part not in said.values()]
    return " · ".join([*(text for factor, text in said.items() if factor not in ("split", "labelling")), *settings])


def _others(row: Row) -> tuple[dict[str, object], dict[str, object]]:
    """Factors and settings beside the split."""
    factors, identity = row.configuration.factors, row.configuration.runs[0].record["identity"]
    settings = {key: value for key, value in identity.items() if not key.startswith("split") and key not in WITHIN}
    settings["train_fraction"] = identity.get("split.train_fraction", 1.0)
    return {factor: level for factor, level in factors.items() if factor != "split"}, settings
