"""What may be said of one configuration against another: paired tests, corrected for their number."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import isnan, nan
from statistics import median

import polars as pl
from numpy.typing import NDArray

from fistula.evidence.design.compare import Comparison, clustered_auroc_test, clustered_mcnemar
from fistula.evidence.design.factors import Effect, Spread
from fistula.evidence.design.power import detectable_difference
from fistula.evidence.design.verdict import holm, holm_levels, judge_equivalence
from fistula.evidence.estimate import undefined
from fistula.report.effects import effects, spreads
from fistula.report.results import Row
from fistula.report.sections.cross_checks import PAIR_CHECKS, pair_checks

MEASURES = ("auroc", "sensitivity", "specificity")
Tests = dict[str, Comparison]
Found = tuple[str, str, Tests, Tests]  # two configurations, the tests of the measures, and the checks of these
ALPHA = 0.05  # of a whole family of comparisons
CHANCE = 0.5
UNSHARED = Comparison(undefined("paired test", "no shared test rows: other folds or seeds"))
PLANNED = 0.5  # correlation of the scores of two models within a class, where only one was made


@dataclass(frozen=True)
class Pair:
    """Two configurations on the same test rows."""

    first: str  # name of a configuration
    second: str  # of the other; differences are first less second
    positive: str  # the class held against the rest
    # By the names of `MEASURES` (over all classes those of `all_classes`), at the study's primary level; the intervals
    # are at the level at which Holm tested the pair, so that one leaves out 0 exactly where `holm` is at most 0.05.
    tests: dict[str, Comparison]
    # P-values corrected within each measure over all pairs of the class; NaN where there is no test.
    holm: dict[str, float]
    # What the interval of the AUROC's difference says of the margin at the level that Bonferroni's correction for all
    # pairs leaves: in 5% of studies at most, a verdict on any pair is false. At Holm's levels, which rest on hypotheses
    # of no difference, more would be.
    equivalence: str
    checks: dict[str, Comparison]  # other tests of the same differences, by the names of `cross_checks.PAIR_CHECKS`


@dataclass(frozen=True)
class Comparisons:
    """Everything that sets configurations against each other, for one class."""

    positive: str  # the class held against the rest, or `all_classes.ALL`
    pairs: list[Pair]  # every two configurations of one split, the higher AUROC first
    uncompared: list[tuple[str, str]]  # pairs that were tested on different rows, by name
    # Least difference of per-patient AUROC that the best configuration's test finds with 80% power at the level that
    # Holm leaves, by simulation; NaN where no AUROC above chance is so low.
    detectable: float
    # Of the scores of two configurations within a class, on which that rests; NaN where nothing was simulated: slices
    # are primary, or the AUROC is not above chance, or perfect.
    correlation: float
    is_assumed: bool  # whether no two configurations gave that correlation
    alpha: float  # that level: 0.05 over the number of tested pairs
    # Main effects of the factors on the primary AUROC; empty where runs do not share their rows, and where one factor
    # alone varies, whose effects the pairs are.
    effects: list[Effect]
    spreads: dict[str, Spread]  # of seeds and of patients, by configuration, where it has several seeds


def compare(rows: list[Row], *, primary: str, margin: float, resamples: int) -> list[Comparisons]:
    """Compare all configurations in pairs, class by class. `margin` is a difference of AUROC that does not matter."""
    judged = [row for row in rows if row.level == primary]
    return [
        _compare_class(
            [row for row in judged if row.positive == positive], positive, margin=margin, resamples=resamples
        )
        for positive in dict.fromkeys(row.positive for row in judged)
    ]


def _compare_class(rows: list[Row], positive: str, *, margin: float, resamples: int) -> Comparisons:
    # The higher AUROC comes first: the best configuration's pairs stand at the top, and differences are positive.
    tables = [[row] for row in sorted(rows, key=_area)]
    found, uncompared = paired(tables, lambda one, two: _test(shared_rows(*one, *two), resamples=resamples))
    pairs = correct(found, positive, margin=margin)
    alpha = family_level([pair.holm["auroc"] for pair in pairs])
    return Comparisons(positive, pairs, uncompared, *_power(rows, alpha), alpha, effects([rows]), spreads(rows))


def paired(
    tables: list[list[Row]], test: Callable[[list[Row], list[Row]], tuple[Tests, Tests]]
) -> tuple[list[Found], list[tuple[str, str]]]:
    """Test every two configurations that share a split, and name those that do not.

    `test` gives the tests of two of them, and the checks of these.
    """
    found: list[Found] = []
    uncompared = []
    for one, two in combinations(tables, 2):
        first, second = one[0].configuration, two[0].configuration
        if first.split == second.split:
            found.append((first.name, second.name, *test(one, two)))
        else:
            uncompared.append((first.name, second.name))
    return found, uncompared


def _power(rows: list[Row], alpha: float) -> tuple[float, float, bool]:
    """What a model worse than the best honest one must lack to be found worse, on as many patients; never than chance.

    Gives `Comparisons.detectable`, and the correlation on which it rests, and whether that is assumed.
    """
    first, *others = sorted(rows, key=lambda row: row.configuration.rank(row.estimates["auroc"].value))
    area, (total, positives) = first.estimates["auroc"].value, first.num
    # Another seed scores the same patients once more: the first seed's runs are the patients that there are.
    seed = first.rows.filter(pl.col("seed") == pl.col("seed").min())
    runs = seed.group_by("run").agg(pl.col("label").sum(), rest=(1 - pl.col("label")).sum()).sort("run")
    if first.level != "patient" or not CHANCE < area < 1 or min(positives, total - positives) < 2:
        return nan, nan, True
    alike = [_alike(first, other) for other in others if other.configuration.split == first.configuration.split]
    known = [value for value in alike if not isnan(value)]
    correlation = min(0.99, max(0.0, median(known or [PLANNED])))
    sizes = list(runs.select("label", "rest").iter_rows())
    found = detectable_difference(area, sizes, correlation=correlation, alpha=alpha)
    return found if area - found > CHANCE else nan, correlation, not known


def _alike(first: Row, second: Row) -> float:
    """Correlation of two configurations' scores on the same rows, by rank within class and run."""
    shared = shared_rows(first, second)
    ranks = [pl.col(name).rank().over("run", "label") for name in ("score", "score_second")]
    middle = [rank - rank.mean().over("run", "label") for rank in ranks]
    found = shared.select(pl.corr(*middle)).item()
    return nan if found is None else float(found)


def correct(found: list[Found], positive: str, *, margin: float) -> list[Pair]:
    """Pairs with Holm's P values and the intervals that go with them, over all that were found."""
    measures = found[0][2] if found else ()
    p_values = {name: [tests[name].p_value for _, _, tests, _ in found] for name in measures}
    corrected = {name: holm(values).tolist() for name, values in p_values.items()}
    levels = {name: holm_levels(values, ALPHA).tolist() for name, values in p_values.items()}
    alpha = family_level(p_values.get("auroc", []))
    adjusted = [
        {name: tests[name].at(levels[name][index]) for name in measures} for index, (_, _, tests, _) in enumerate(found)
    ]
    return [
        Pair(
            first=first,
            second=second,
            positive=positive,
            tests=adjusted[index],
            holm={name: corrected[name][index] for name in measures},
            equivalence=judge_equivalence(tests["auroc"].at(alpha).difference, margin=margin),
            checks=checks,
        )
        for index, (first, second, tests, checks) in enumerate(found)
    ]


def family_level(p_values: list[float]) -> float:
    """What Bonferroni's correction leaves of `ALPHA` for each comparison that was tested."""
    return ALPHA / max(1, sum(not isnan(p_value) for p_value in p_values))


def _area(row: Row) -> tuple[bool, float]:
    area = row.estimates["auroc"].value
    return isnan(area), -area


def shared_rows(first: Row, second: Row) -> pl.DataFrame:
    """The rows that both were tested on, seed by seed."""
    columns = ["unit", "seed", "fold", "run", "patient_key", "label", "score", "called"]
    keys = ["unit", "seed", "fold"]
    one, two = (row.rows.select(columns).unique(keys, keep="first", maintain_order=True) for row in (first, second))
    return one.join(two.select(*keys, "score", "called"), on=keys, suffix="_second", maintain_order="left")


def _test(shared: pl.DataFrame, *, resamples: int) -> tuple[Tests, Tests]:
    if not len(shared):
        return dict.fromkeys(MEASURES, UNSHARED), dict.fromkeys(PAIR_CHECKS, UNSHARED)
    labels, first, second, keys, runs, calls, other_calls = (
        shared[name].to_numpy()
        for name in ("label", "score", "score_second", "patient_key", "run", "called", "called_second")
    )
    area = clustered_auroc_test(labels, first, second, keys, runs)
    checks = pair_checks(labels, (first, second), (calls, other_calls), keys, runs, resamples=resamples)
    return {"auroc": area} | rate_tests(labels, calls, other_calls, keys), checks


def rate_tests(labels: NDArray, calls: NDArray, others: NDArray, patients: NDArray) -> Tests:
    """Paired tests of sensitivity and specificity; all ``(N,)``, labels and the calls of either model 0 or 1."""
    of = {"sensitivity": labels == 1, "specificity": labels == 0}
    right, other = calls == labels, others == labels
    return {name: clustered_mcnemar(right[rows], other[rows], patients[rows]) for name, rows in of.items()}
