"""How much a leaky split flatters: the same configuration under a split by image and under a split by patient."""

from dataclasses import dataclass

from fistula.evidence.estimate import Estimate
from fistula.report.results import Row
from fistula.report.study import say_level

# Yagis et al. 2021, Sci Rep 11:22544: what splitting by slice added to the accuracy of MR classifiers, in points, over
# their data sets; on labels at random it still gave 96 %.
YAGIS_POINTS = (29, 55)


@dataclass(frozen=True)
class Inflation:
    """One configuration under two splits, by slice.

    Attributes:
        name: Its factors without the split.
        positive: The class held against the rest.
        leaky: AUROC and balanced accuracy under the leaky split.
        honest: The same under the split by patient.
        points: Leaky less honest balanced accuracy, in points of 100; NaN if either is undefined. The two are of
            different test rows and runs, so it has no paired test.
    """

    name: str
    positive: str
    leaky: dict[str, Estimate]
    honest: dict[str, Estimate]
    points: float


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
                name = " · ".join(say_level(factor, level) for factor, level in _others(leaky).items())
                found.append(Inflation(name, leaky.positive, leaky.estimates, honest.estimates, points))
    return found


def _others(row: Row) -> dict[str, object]:
    return {factor: level for factor, level in row.configuration.factors.items() if factor != "split"}
