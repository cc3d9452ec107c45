"""What may be said of one configuration against another: paired tests, corrected for their number; main effects."""

from dataclasses import dataclass
from itertools import combinations
from math import isnan, nan
from statistics import median

import polars as pl

from fistula.evidence.compare import Comparison, clustered_auroc_test, clustered_mcnemar
from fistula.evidence.design import Effect, Spread, main_effects, seed_and_patient_spread
from fistula.evidence.estimate import undefined
from fistula.evidence.placements import place
from fistula.evidence.verdict import detectable_difference, holm, judge_equivalence, planned_auroc_error
from fistula.report.cross_checks import PAIR_CHECKS, pair_checks
from fistula.report.results import Row

MEASURES = ("auroc", "sensitivity", "specificity")
Tests = dict[str, Comparison]
Found = tuple[str, str, Tests, Tests]  # two configurations, the tests of the measures, and the checks of these
PLANNED = 0.5  # correlation of the AUROCs of two models alike, on the same patients


@dataclass(frozen=True)
class Pair:
    """Two configurations on the same test rows.

    Attributes:
        first: Name of a configuration.
        second: Of the other; differences are first less second.
        positive: The class held against the rest.
        tests: By the names of `MEASURES`: AUROC by patient, sensitivity and specificity by slice.
        holm: P-values corrected within each measure over all pairs of the class; NaN where there is no test.
        equivalence: What the interval of the AUROC's difference says of the margin.
        checks: Other tests of the same differences, by the names of `cross_checks.PAIR_CHECKS`.
    """

    first: str
    second: str
    positive: str
    tests: dict[str, Comparison]
    holm: dict[str, float]
    equivalence: str
    checks: dict[str, Comparison]


@dataclass(frozen=True)
class Comparisons:
    """Everything that sets configurations against each other, for one class.

    Attributes:
        positive: The class held against the rest.
        pairs: Every two configurations of one split, the higher AUROC first.
        uncompared: Pairs that were tested on different rows, by name.
        detectable: Least difference of AUROC by patient found with 80 % power, at the median standard error of the
            pairs; without one as planned from the numbers of patients; NaN where those do not tell it.
        is_planned: Whether it is that of a plan.
        effects: Main effects of the factors on the AUROC by patient; empty where runs do not share their rows.
        spreads: Of seeds and of patients, by configuration, where it has several seeds.
    """

    positive: str
    pairs: list[Pair]
    uncompared: list[tuple[str, str]]
    detectable: float
    is_planned: bool
    effects: list[Effect]
    spreads: dict[str, Spread]


def compare(rows: list[Row], *, margin: float) -> list[Comparisons]:
    """Compare all configurations in pairs, class by class.

    Args:
        rows: Of `results.results`.
        margin: Difference of AUROC that does not matter.
    """
    return [
        _compare_class([row for row in rows if row.positive == positive], positive, margin=margin)
        for positive in dict.fromkeys(row.positive for row in rows)
    ]


def _compare_class(rows: list[Row], positive: str, *, margin: float) -> Comparisons:
    patients = [row for row in rows if row.level == "patient"]
    slices = {row.configuration.name: row for row in rows if row.level == "slice"}
    found: list[Found] = []
    uncompared = []
    # The higher AUROC comes first: the best configuration's pairs stand at the top, and differences are positive.
    for one, two in combinations(sorted(patients, key=_falling), 2):
        first, second = one.configuration, two.configuration
        if first.split != second.split:
            uncompared.append((first.name, second.name))
            continue
        tests = _test(_shared(slices[first.name], slices[second.name]), _shared(one, two))
        found.append((first.name, second.name, *tests))
    pairs = _correct(found, positive, margin=margin)
    errors = [pair.tests["auroc"].standard_error for pair in pairs if pair.tests["auroc"].standard_error > 0]
    detectable = detectable_difference(median(errors)) if errors else _plan(patients)
    return Comparisons(positive, pairs, uncompared, detectable, not errors, _effects(patients), _spreads(patients))


def _plan(patients: list[Row]) -> float:
    """What two models like the best honest one could be told apart by, on as many patients."""
    first = min(patients, key=lambda row: (row.configuration.leaky_by_design, *_falling(row)))
    area, (total, positives) = first.estimates["auroc"].value, first.num
    if not 0 < area < 1:
        return nan
    error = planned_auroc_error(area, positives=positives, negatives=total - positives, correlation=PLANNED)
    return detectable_difference(error)


def _correct(found: list[Found], positive: str, *, margin: float) -> list[Pair]:
    corrected = {name: holm([tests[name].p_value for _, _, tests, _ in found]).tolist() for name in MEASURES}
    return [
        Pair(
            first=first,
            second=second,
            positive=positive,
            tests=tests,
            holm={name: corrected[name][index] for name in MEASURES},
            equivalence=judge_equivalence(tests["auroc"].difference, margin=margin),
            checks=checks,
        )
        for index, (first, second, tests, checks) in enumerate(found)
    ]


def _falling(row: Row) -> tuple[bool, float]:
    area = row.estimates["auroc"].value
    return isnan(area), -area


def _shared(first: Row, second: Row) -> pl.DataFrame:
    """The rows that both were tested on, seed by seed."""
    columns = ["unit", "seed", "fold", "patient_key", "label", "score", "called"]
    keys = ["unit", "seed", "fold"]
    one, two = (row.rows.select(columns).unique(keys, keep="first", maintain_order=True) for row in (first, second))
    return one.join(two.select(*keys, "score", "called"), on=keys, suffix="_second", maintain_order="left")


def _test(slices: pl.DataFrame, patients: pl.DataFrame) -> tuple[Tests, Tests]:
    if not len(slices):
        nothing = Comparison(undefined("paired test", "no shared test rows: other folds or seeds"), nan, nan, nan)
        return dict.fromkeys(MEASURES, nothing), dict.fromkeys(PAIR_CHECKS, nothing)
    labels, first, second, keys = (
        patients[name].to_numpy() for name in ("label", "score", "score_second", "patient_key")
    )
    truth, calls, other_calls, owners = (
        slices[name].to_numpy() for name in ("label", "called", "called_second", "patient_key")
    )
    right, other = calls == truth, other_calls == truth
    tests = {"auroc": clustered_auroc_test(labels, first, second, keys)}
    for measure, label in (("sensitivity", 1), ("specificity", 0)):
        rows = truth == label
        tests[measure] = clustered_mcnemar(right[rows], other[rows], owners[rows])
    return tests, pair_checks((labels, first, second, keys), (truth, calls, other_calls, owners))


def _effects(rows: list[Row]) -> list[Effect]:
    """Main effects over configurations and seeds, on the patients that all were tested on."""
    factors = {
        name: {str(row.configuration.factors.get(name)) for row in rows} for name in rows[0].configuration.factors
    }
    varied = [name for name, levels in factors.items() if len(levels) > 1]
    if not varied or len({row.configuration.split for row in rows}) > 1:
        return []
    wide, columns = _wide([(row, seed) for row in rows for seed in row.rows["seed"].unique(maintain_order=True)])
    if not len(wide):
        return []
    levels = {name: [str(row.configuration.factors.get(name)) for row, _ in columns] for name in varied}
    scores = wide.select(pl.exclude("unit", "label")).to_numpy()
    return main_effects(levels, place(wide["label"].to_numpy(), scores, wide["unit"].to_numpy()))


def _spreads(rows: list[Row]) -> dict[str, Spread]:
    found = {}
    for row in rows:
        if row.configuration.num_seeds > 1:
            wide, _ = _wide([(row, seed) for seed in row.rows["seed"].unique(maintain_order=True)])
            scores = wide.select(pl.exclude("unit", "label")).to_numpy()
            placements = place(wide["label"].to_numpy(), scores, wide["unit"].to_numpy())
            found[row.configuration.name] = seed_and_patient_spread(placements)
    return found


def _wide(columns: list[tuple[Row, int]]) -> tuple[pl.DataFrame, list[tuple[Row, int]]]:
    """Scores of the same patients, one column a configuration and seed: ``unit label 0 1 ...``."""
    wide: pl.DataFrame | None = None
    for number, (row, seed) in enumerate(columns):
        table = row.rows.filter(pl.col("seed") == seed).unique("unit", keep="first", maintain_order=True)
        column = table.select("unit", pl.col("score").alias(str(number)))
        wide = table.select("unit", "label") if wide is None else wide
        wide = wide.join(column, on="unit", maintain_order="left")
    assert wide is not None  # there is at least one configuration
    return wide, columns
