"""Three classes or more at once: each configuration's macro AUROC and calls, and paired tests of two."""

from dataclasses import dataclass, replace
from math import nan

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.design.compare import Comparison, auroc_test, clustered_mcnemar
from fistula.evidence.estimate import Estimate
from fistula.evidence.places.distances import clustered_mean
from fistula.evidence.ranking.macro import macro_auroc, place_classes
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.readers.agreement import cohens_kappa
from fistula.report.effects import effects
from fistula.report.names import listed
from fistula.report.results import Row
from fistula.report.sections.comparisons import UNSHARED, Comparisons, correct, family_level, paired, shared_rows
from fistula.report.study import Configuration, Study

ALL = "all classes"
MEASURES = ("auroc", "accuracy")


@dataclass(frozen=True)
class AllClasses:
    """One configuration over all classes, at the primary level."""

    configuration: Configuration  # whose runs were pooled
    auroc: Estimate  # mean over the classes of each against the rest
    accuracy: Estimate  # share of slices or patients called as the reference standard says
    # Agreement with the reference standard, disagreements counting by the square of how many grades apart they are;
    # None where the classes are not ordered.
    kappa: Estimate | None
    error: Estimate | None  # mean of how many grades apart they are; None likewise
    # Reference standard (rows) against the class of the highest score, ``(K, K)``; over seeds they add up.
    counts: NDArray[np.int64]
    count: int  # slices or patients, each counted once

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Each number by its name."""
        found = {"macro_auroc": self.auroc, "accuracy": self.accuracy}
        further = {"quadratic_kappa": self.kappa, "mean_absolute_error": self.error}
        return found | {name: one for name, one in further.items() if one is not None}


def all_classes(study: Study, rows: list[Row], *, level: str) -> list[AllClasses]:
    """Every configuration over all classes, the highest macro AUROC first, those that are no evidence last.

    A slice or patient is called what has the highest score.

    Of a study of two classes nothing is found; `rows` are of the configurations that are wanted alone.
    """
    classes = study.cohort.classes
    if len(classes) < 3:
        return []
    found = []
    judged = {row.configuration.name for row in rows}
    for configuration in (one for one in study.configurations if one.name in judged):
        truth, scores, keys, runs = wide_rows(study, configuration, [row for row in rows if row.level == level])
        called = scores.argmax(axis=1)
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (truth, called), 1)
        kappa = error = None
        if study.is_ordered:
            kappa = cohens_kappa(np.stack([truth, called], 1), keys, classes=len(classes), weights="quadratic")
            error = clustered_mean(np.abs(truth - called).astype(np.float64), keys)
        area = macro_auroc(np.eye(len(classes), dtype=int)[truth], scores, keys, runs)
        if lacking := [name for name, number in zip(classes, counts.sum(axis=1), strict=True) if not number]:
            area = replace(area, reason=f"no test {level} is {listed(lacking)}")
        right = clustered_rate((truth == called).astype(int), keys)
        count = next(row.num[0] for row in rows if row.configuration is configuration and row.level == level)
        found.append(AllClasses(configuration, area, right, kappa, error, counts, count))
    # A test set that lacks a class has no macro AUROC; then the accuracy orders them, below any that has one.
    return sorted(
        found,
        key=lambda one: one.configuration.rank(one.auroc.value if one.auroc.is_defined else one.accuracy.value - 1),
    )


def wide_rows(study: Study, configuration: Configuration, rows: list[Row]) -> tuple[NDArray, ...]:
    """Test rows of a configuration over all classes: the class ``(N,)``, scores ``(N, K)``, patients and runs ``(N,)``.

    The results are those of every class at one level.
    """
    of_class = {row.positive: row.rows for row in rows if row.configuration is configuration}
    first, *others = study.cohort.classes
    wide = of_class[first].select("run", "unit", "patient_key", "label", "score")
    for name in others:
        part = of_class[name].select("run", "unit", pl.col("label", "score").name.suffix(f" {name}"))
        wide = wide.join(part, on=["run", "unit"], maintain_order="left")
    labels, scores = (
        wide.select(kind, *(f"{kind} {name}" for name in others)).to_numpy() for kind in ("label", "score")
    )
    return labels.argmax(axis=1), scores, wide["patient_key"].to_numpy(), wide["run"].to_numpy()


def compare_every_class(found: list[AllClasses], rows: list[Row], *, primary: str, margin: float) -> list[Comparisons]:
    """Compare all configurations in pairs by their macro AUROC and their accuracy; nothing of two classes.

    `found` has the highest macro AUROC first; negative controls are passed over.
    """
    honest = [one.configuration for one in found if not one.configuration.is_canary]
    if not honest:
        return []
    of_level = [row for row in rows if row.level == primary]
    tables = [[row for row in of_level if row.configuration is one] for one in honest]
    tested, uncompared = paired(tables, lambda one, two: (_test(one, two), {}))
    pairs = correct(tested, ALL, margin=margin)
    alpha = family_level([pair.holm["auroc"] for pair in pairs])
    by_class = [list(of_class) for of_class in zip(*tables, strict=True)]
    return [Comparisons(ALL, pairs, uncompared, nan, nan, True, alpha, effects(by_class), {})]


def _test(one: list[Row], two: list[Row]) -> dict[str, Comparison]:
    """Paired tests of two configurations, of each of which there is a row a class."""
    shared = [shared_rows(first, second) for first, second in zip(one, two, strict=True)]
    if not len(shared[0]):
        return dict.fromkeys(MEASURES, UNSHARED)
    assert all(table["unit"].equals(shared[0]["unit"]) for table in shared)  # of the same predictions, in their order
    labels = np.stack([table["label"].to_numpy() for table in shared], axis=1)
    scores = np.stack([table.select("score", "score_second").to_numpy() for table in shared], axis=1)
    keys, runs = (shared[0][name].to_numpy() for name in ("patient_key", "run"))
    right = (scores.argmax(axis=1) == labels.argmax(axis=1)[:, None]).astype(int)
    return {
        "auroc": auroc_test(place_classes(labels, scores, keys, runs)),
        "accuracy": clustered_mcnemar(right[:, 0], right[:, 1], keys),
    }
