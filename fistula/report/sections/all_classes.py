"""Three classes or more at once: the macro AUROC of each configuration, and reference standard against calls."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.estimate import Estimate
from fistula.evidence.places.distances import clustered_mean
from fistula.evidence.ranking.macro import macro_auroc
from fistula.evidence.rates.clustered import clustered_rate
from fistula.evidence.readers.agreement import cohens_kappa
from fistula.report.names import listed
from fistula.report.results import Row, counts
from fistula.report.study import Configuration, Study

EQUAL = 1e-9  # two AUROCs that differ by less are one
NAMED = 2  # configurations named in a sentence; more are counted


@dataclass(frozen=True)
class AllClasses:
    """One configuration over all classes, at the primary level.

    Attributes:
        configuration: Whose runs were pooled.
        auroc: Mean over the classes of each against the rest.
        accuracy: Share of slices or patients called as the reference standard says.
        kappa: Agreement with the reference standard, disagreements counting by the square of how many grades apart
            they are; None where the classes are not ordered.
        error: Mean of how many grades apart they are; None likewise.
        counts: Reference standard (rows) against the class of the highest score, ``(K, K)``; over seeds they add up.
    """

    configuration: Configuration
    auroc: Estimate
    accuracy: Estimate
    kappa: Estimate | None
    error: Estimate | None
    counts: NDArray[np.int64]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Each number by its name."""
        found = {"macro_auroc": self.auroc, "accuracy": self.accuracy}
        further = {"quadratic_kappa": self.kappa, "mean_absolute_error": self.error}
        return found | {name: one for name, one in further.items() if one is not None}


def all_classes(study: Study, rows: list[Row], *, level: str) -> list[AllClasses]:
    """Every configuration over all classes, the highest macro AUROC first, those that are no evidence last.

    A slice or patient is called what has the highest score.

    Args:
        study: Of three classes or more; of two nothing is found.
        rows: Its results, of these configurations alone.
        level: ``slice`` or ``patient``.
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
            error = replace(error, low=max(error.low, 0.0)) if error.has_interval else error
        area = macro_auroc(np.eye(len(classes), dtype=int)[truth], scores, keys, runs)
        if lacking := [name for name, number in zip(classes, counts.sum(axis=1), strict=True) if not number]:
            area = replace(area, reason=f"no test {level} is {listed(lacking)}")
        right = clustered_rate((truth == called).astype(int), keys)
        found.append(AllClasses(configuration, area, right, kappa, error, counts))
    return sorted(found, key=_falling)


def say_together(found: list[AllClasses], ranked: dict[str, list[Row]]) -> list[str]:
    """The macro AUROC, where there are three classes or more."""
    if not found:
        return []
    best, level = found[0], next(iter(ranked.values()))[0].level
    correct, total = int(best.counts.trace()), int(best.counts.sum())
    kappa, name = best.kappa, best.configuration.name
    agreed = f", with a quadratically weighted kappa of {kappa.value:.2f}" if kappa and kappa.is_defined else ""
    agreed += f" and a mean absolute error of {best.error.value:.2f} grades" if agreed and best.error else ""
    seeds = best.configuration.num_seeds
    over = f", over {seeds} seeds" if seeds > 1 else ""
    named = f"named the class of {correct} of {total} {level}s correctly{over}{agreed}."
    each = _say_each(best, ranked)
    those = [f"Its AUROC for each class against the rest was {listed(each)}."] if each else []
    if not best.auroc.is_defined:
        return [f"The per-{level} macro AUROC is undefined: {best.auroc.reason}.", f"{name} {named}", *those]
    interval = "no CI: " + best.auroc.reason
    if best.auroc.has_interval:
        interval = f"95% CI {best.auroc.low:.2f} to {best.auroc.high:.2f}"
    tied = [one.configuration.name for one in found[1:] if abs(one.auroc.value - best.auroc.value) < EQUAL]
    most = f", the highest of {len(found)} configurations{say_tied(tied)}" if len(found) > 1 else ""
    area = f"{best.auroc.value:.2f} ({interval}){most}"
    return [
        f"Over the {len(best.counts)} classes, {name} had a per-{level} macro AUROC of {area}; it {named}",
        *those,
    ]


def say_tied(names: list[str]) -> str:
    """Which configurations are as good as the one that a sentence names.

    Example:
        >>> say_tied([]), say_tied(["A"]), say_tied(["A", "B", "C"])
        ('', ', tied with A', ', tied with 3 others')
    """
    if not names:
        return ""
    return f", tied with {listed(names) if len(names) <= NAMED else f'{len(names)} others'}"


def _say_each(best: AllClasses, ranked: dict[str, list[Row]]) -> list[str]:
    """What the headline's configuration makes of each class."""
    said = []
    for positive, rows in ranked.items():
        row = next(row for row in rows if row.configuration is best.configuration)
        area, (hits, sick, right, well) = row.estimates["auroc"], counts(row.rows)
        if not area.is_defined:
            continue
        interval = f"95% CI {area.low:.2f} to {area.high:.2f}; " if area.has_interval else ""
        said.append(
            f"{area.value:.2f} for {positive} ({interval}sensitivity, {hits} of {sick}; specificity, {right} of {well})"
        )
    return said


def wide_rows(study: Study, configuration: Configuration, rows: list[Row]) -> tuple[NDArray, ...]:
    """Test rows of a configuration over all classes: the class ``(N,)``, scores ``(N, K)``, patients and runs ``(N,)``.

    Args:
        study: Of three classes or more.
        configuration: Whose rows are wanted.
        rows: Results of every class at one level.
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


def _falling(one: AllClasses) -> tuple[bool, bool, float]:
    value = -one.auroc.value if one.auroc.is_defined else 1.0
    return one.configuration.is_canary, one.configuration.leaky_by_design, value
