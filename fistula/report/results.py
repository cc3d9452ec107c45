"""The numbers of each configuration: every metric, by slice and by patient, with its interval."""

from dataclasses import dataclass
from math import isnan

import numpy as np
import polars as pl

from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.jackknife import patient_jackknife
from fistula.evidence.probability.calibration import expected_calibration_error, murphy_decomposition
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.counts import Confusion, confusion
from fistula.evidence.rates.likelihood import likelihood_ratios, predictive_values
from fistula.evidence.standard import standard_metrics
from fistula.report.pooling import ranking, test_rows
from fistula.report.sections.cross_checks import cross_checks
from fistula.report.sections.methods import say_aggregation
from fistula.report.study import Configuration, Study

MORE = (
    "average_precision", "partial_auroc", "f1", "matthews", "likelihood_ratio_positive", "likelihood_ratio_negative",
)  # fmt: skip
CALIBRATION = ("brier", "reliability", "resolution", "expected_calibration_error")
PREDICTIVE = ("positive_predictive_value", "negative_predictive_value")


@dataclass(frozen=True)
class Row:
    """One configuration at one level, for one class."""

    configuration: Configuration  # whose runs were pooled
    positive: str  # the class held against the rest
    level: str  # ``slice`` or ``patient``
    aggregation: str  # how a patient's score is made of its slices', in words; empty by slice
    rows: pl.DataFrame  # the pooled test rows, as `pooling.test_rows` gives them
    # Slices or patients scored, and of them positive, each counted once whatever the number of seeds.
    num: tuple[int, int]
    estimates: dict[str, Estimate]  # by the names of `fistula.evidence.standard.METRICS`
    more: dict[str, Estimate]  # by the names of `MORE`, and of `PREDICTIVE` where a prevalence was given
    checks: dict[str, Estimate]  # intervals by other methods, by the names of `cross_checks.CHECKS`
    # Of ``raw`` and ``calibrated`` scores, by the names of `CALIBRATION`; empty where a patient's score is made of
    # slices', which is no probability of being positive.
    calibration: dict[str, dict[str, float | None]]


def results(
    study: Study, *, resamples: int, scaling: str, prevalence: float | None, only: str | None = None
) -> list[Row]:
    """Estimate every metric of every configuration, with patients as the independent units.

    Without the prevalence where decisions will be made there are no predictive values; `only` is the name of the one
    configuration that is wanted.
    """
    rows = []
    for configuration in study.configurations:
        if only not in (None, configuration.name):
            continue
        for positive in study.positives:
            for level in configuration.levels:
                table = test_rows(study, configuration, positive, level=level, scaling=scaling)
                arrays = tuple(table[name].to_numpy() for name in ("label", "score", "called", "patient_key", "run"))
                units = table.group_by("unit").agg(pl.col("label").max())
                num = len(units), int(units["label"].sum())
                rule = say_aggregation(study, configuration, positive) if level == "patient" else ""
                metrics, more = standard_metrics(*arrays), _more(table, num, prevalence=prevalence)
                checks = cross_checks(*arrays, resamples=resamples)
                bins = _calibration(table) if level == configuration.levels[0] else {}
                rows.append(Row(configuration, positive, level, rule, table, num, metrics, more, checks, bins))
    return rows


def counts(rows: pl.DataFrame) -> tuple[int, int, int, int]:
    """True positives, positives, true negatives, negatives of the decisions on test rows; seeds add up."""
    labels, called = rows["label"].to_numpy() == 1, rows["called"].to_numpy() == 1
    return int((labels & called).sum()), int(labels.sum()), int((~labels & ~called).sum()), int((~labels).sum())


def seed_rows(row: Row) -> list[tuple[int, Estimate]]:
    """The AUROC of each seed's runs, where a configuration has several: ``(seed, estimate)``."""
    parts = row.rows.group_by("seed", maintain_order=True)
    return [(int(seed), clustered_auroc(*ranking(part))) for (seed,), part in parts]


def _more(table: pl.DataFrame, num: tuple[int, int], *, prevalence: float | None) -> dict[str, Estimate]:
    labels, scores, patients, runs = ranking(table)
    called = table["called"].to_numpy()
    ranked = patient_jackknife(labels, scores, patients, runs, threshold=None, statistics=MORE[:2])
    decided = patient_jackknife(labels, called, patients, threshold=0.5, statistics=("f1", "matthews"))
    counts = confusion(labels, called, threshold=0.5)
    # Seeds repeat the same rows: the table of shares has as many rows as there are units.
    sick = np.float64(num[1] / max(1.0, float(counts.tp + counts.fn)))
    well = np.float64((num[0] - num[1]) / max(1.0, float(counts.fp + counts.tn)))
    counts = Confusion(counts.tp * sick, counts.fp * well, counts.tn * well, counts.fn * sick)
    ratios: tuple[Estimate, ...] = likelihood_ratios(counts)
    names: tuple[str, ...] = MORE[-2:]
    if prevalence is not None:
        ratios, names = (*ratios, *predictive_values(counts, prevalence=prevalence)), (*names, *PREDICTIVE)
    if table["unit"].n_unique() > table["patient_key"].n_unique():
        # Their formulas take rows as independent, which slices of one patient are not.
        ratios = tuple(undefined(ratio.method, "given by patient, where rows are independent") for ratio in ratios)
    return {**ranked, **decided, **dict(zip(names, ratios, strict=True))}


def _calibration(table: pl.DataFrame) -> dict[str, dict[str, float | None]]:
    labels, found = table["label"].to_numpy(), {}
    for kind, column in (("raw", "score"), ("calibrated", "calibrated")):
        if table[column].has_nulls():
            found[kind] = dict[str, float | None](dict.fromkeys(CALIBRATION))
            continue
        scores = table[column].to_numpy()
        parts = murphy_decomposition(labels, scores)
        values = parts.brier, parts.reliability, parts.resolution, expected_calibration_error(labels, scores)
        found[kind] = {name: None if isnan(value) else value for name, value in zip(CALIBRATION, values, strict=True)}
    return found
