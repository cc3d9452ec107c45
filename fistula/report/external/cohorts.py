"""External cohorts of a study: the numbers of each beside the internal ones, everything that was learned held fixed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from fistula.cohort.manifest import named_scanner
from fistula.errors import DataError
from fistula.evidence.design.subgroups import subgroup_aurocs
from fistula.evidence.estimate import Estimate
from fistula.evidence.independent import independent_difference
from fistula.evidence.probability.recalibration import Recalibrated, recalibrations
from fistula.evidence.standard import METRICS, standard_metrics
from fistula.folder import digest_of
from fistula.report.external.calibration import Answers, Calibration, answers, calibration, predictive
from fistula.report.pooling import judged, one_against_rest, ranking
from fistula.report.results import Row
from fistula.report.sections.further import Groups
from fistula.report.study import Configuration, Run, Study

FOLDER = "external"
KEPT = "evaluate.json"
TABLES = ("predictions.parquet", "patients.parquet")
PLACES = "places.parquet"
FACTORS = ("site", "scanner")
AGAIN = "Remove {} and run fistula evaluate again"


@dataclass(frozen=True)
class External:
    """One folder that `fistula evaluate` wrote."""

    folder: Path  # where it lies; its name is that of the cohort
    record: dict[str, Any]  # what `evaluate.json` holds
    runs: list[Run]  # of the study, that scored it
    predictions: pl.DataFrame  # one row a unit and run
    patients: pl.DataFrame  # one row a patient: where from, how familiar, and the answer
    places: pl.DataFrame | None  # one row a slice and kind of point; None where the runs name no places

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Outside:
    """One class of an external cohort at one level."""

    external: External  # where the scores lie
    positive: str  # the class held against the rest
    level: str  # ``slice`` or ``patient``
    configuration: Configuration
    # Of the ensemble, one a unit: ``unit patient_key label score calibrated called``; score and calibrated are means
    # over the runs, and a unit is called positive where the scores lie above the runs' own thresholds on average, as
    # `fistula predict` decides.
    rows: pl.DataFrame
    estimates: dict[str, Estimate]  # of the ensemble, by the names of `METRICS`
    single: dict[str, Estimate]  # of the runs one by one, pooled as the internal ones are
    inside: Row  # the configuration's internal results at the level
    differences: dict[str, Estimate]  # inside less outside, single networks on both sides, by the names of `METRICS`
    # Of the ensemble; None where scores could not be calibrated, or another level is told in full.
    calibration: Calibration | None
    inside_calibration: Calibration | None  # of the internal results, likewise
    predictive: dict[str, Estimate]  # predictive values of the ensemble's decisions, where a prevalence is stated
    groups: list[Groups]  # AUROC by site and by scanner, where there are several
    recalibrated: list[Recalibrated]  # what a few of these patients would mend
    answers: Answers  # that `fistula predict` would give

    @property
    def num(self) -> tuple[int, int]:
        """Units, and of them positive."""
        return len(self.rows), int(self.rows["label"].sum())


def read_externals(study: Study) -> list[External]:
    """The external cohorts listed under a study, by name.

    Raises:
        DataError: If one was changed, or was scored by runs that the study no longer has.
    """
    # A folder whose name begins with a dot was being written when its process was killed.
    folders = sorted(path.parent for path in (study.folder / FOLDER).glob(f"[!.]*/{KEPT}"))
    return [read_external(study, folder) for folder in folders]


def read_external(study: Study, folder: Path) -> External:
    """One of them; errors as `read_externals`."""
    record, runs = read_evaluation(study, folder / KEPT, TABLES)
    predictions, patients = (pl.read_parquet(folder / name, glob=False) for name in TABLES)
    places = pl.read_parquet(folder / PLACES, glob=False) if PLACES in record["files"] else None
    return External(folder, record, runs, predictions, patients, places)


def read_evaluation(study: Study, path: Path, tables: Sequence[str]) -> tuple[dict[str, Any], list[Run]]:
    """What `fistula evaluate` recorded beside tables, these at least, and the study's runs that it used.

    Raises:
        DataError: If a file was changed since, or the study no longer has the runs.
    """
    folder, remedy = path.parent, AGAIN.format(path.parent)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        names, files = record["runs"], record["files"]
        names = names if isinstance(names, dict) else {run["name"]: run["fingerprint"] for run in names}
        changed = sorted(name for name in {*files, *tables} if digest_of(folder / name) != files[name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"cannot be read as an evaluation ({error})", remedy=remedy) from error
    if changed:
        raise DataError(folder, "must be as it was written", found=f"{', '.join(changed)} changed", remedy=remedy)
    runs = [run for run in study.runs if names.get(run.folder.name) == run.record.get("fingerprint")]
    if len(runs) < len(names):
        rule = "must have been scored by finished runs of this study"
        lost = sorted(set(names) - {run.folder.name for run in runs})
        raise DataError(path, rule, found=", ".join(lost), remedy=remedy)
    return record, runs


def outside(
    study: Study, external: External, rows: list[Row], *, primary: str, scaling: str, prevalence: float | None = None
) -> list[Outside]:
    """Every class and level of an external cohort.

    `rows` are the study's internal results, those of the configuration that scored it at least; `primary` is the level
    that is calibrated and split up. Without the prevalence where decisions will be made there are no predictive values.
    """
    name = study.configuration_of(external.runs[0]).name
    inside = {(row.positive, row.level): row for row in rows if row.configuration.name == name}
    levels = ("slice", "patient") if external.predictions["slice_key"].null_count() == 0 else ("patient",)
    found = []
    for positive, level in product(study.positives, sorted(levels, key=lambda level: level != primary)):
        row, in_full = inside[positive, level], level == primary or len(levels) == 1
        found.append(_outside(study, external, row, in_full=in_full, scaling=scaling, prevalence=prevalence))
    return found


def _outside(
    study: Study, external: External, inside: Row, *, in_full: bool, scaling: str, prevalence: float | None
) -> Outside:
    positive, level = inside.positive, inside.level
    long = external_rows(study, external, positive, level=level, scaling=scaling)
    ensemble = ensemble_rows(long)
    columns = ("label", "score", "called", "patient_key")
    single = standard_metrics(*(long[name].to_numpy() for name in (*columns, "run")))
    calibrated = calibration(ensemble) if in_full else None
    mended = calibrated and recalibrations(*(ensemble[name] for name in ("label", "calibrated", "patient_key")))
    return Outside(
        external=external,
        positive=positive,
        level=level,
        configuration=inside.configuration,
        rows=ensemble,
        estimates=standard_metrics(*(ensemble[name].to_numpy() for name in columns)),
        single=single,
        inside=inside,
        differences={name: independent_difference(inside.estimates[name], single[name]) for name in METRICS},
        calibration=calibrated,
        inside_calibration=calibration(inside.rows) if in_full else None,
        predictive=predictive(ensemble, prevalence),
        groups=_groups(ensemble, external) if in_full else [],
        recalibrated=mended or [],
        answers=answers(external.patients, external.predictions, study.cohort.classes),
    )


def external_rows(study: Study, external: External, positive: str, *, level: str, scaling: str) -> pl.DataFrame:
    """Rows of every run, as `evaluated_rows`."""
    table, where = external.predictions, external.folder / TABLES[0]
    return evaluated_rows(
        study, external.runs, table, positive, level=level, scaling=scaling, part="external", where=where
    )


def evaluated_rows(
    study: Study,
    runs: list[Run],
    table: pl.DataFrame,
    positive: str,
    *,
    level: str,
    scaling: str,
    part: str,
    where: Path,
) -> pl.DataFrame:
    """Rows of every run, as `pooling.test_rows` has them of the study's own, and the ``threshold`` of each run.

    The part of the table, which lies at `where`, is ``external`` or ``test``.
    """
    tables = []
    for number, run in enumerate(runs):
        own, remedy = table.filter(pl.col("run") == run.folder.name), AGAIN.format(where.parent)
        rows = one_against_rest(study, own, positive, part=part, where=where, remedy=remedy)
        rows = judged(study, run, rows, positive, level=level, scaling=scaling)
        threshold = study.threshold(run, positive, level=level)
        tables.append(rows.with_columns(run=pl.lit(number, pl.Int64), threshold=pl.lit(threshold)))
    columns = tables[0].columns
    return pl.concat([table.select(columns) for table in tables]).sort("run", "unit")


def ensemble_rows(long: pl.DataFrame) -> pl.DataFrame:
    """The runs as one: see `Outside.rows`."""
    number = long["run"].n_unique()
    # A sum in the order of the runs: a mean over a group may add in any order, and so round otherwise.
    parts = [rows.sort("unit") for rows in long.partition_by("run", maintain_order=True)]

    def mean(of: pl.Expr) -> pl.Series:
        return reduce(lambda one, two: one + two, (rows.select(of.alias("value"))["value"] for rows in parts)) / number

    beyond = mean(pl.col("score") - pl.col("threshold"))
    return (
        parts[0]
        .select("unit", "patient_key", "label")
        .with_columns(
            mean(pl.col("score")).alias("score"),
            mean(pl.col("calibrated")).alias("calibrated"),
            (beyond >= 0).cast(pl.Int64).alias("called"),
        )
    )


def _groups(ensemble: pl.DataFrame, external: External) -> list[Groups]:
    facts = external.patients.select("patient_key", "site", named_scanner())
    found = []
    for factor in FACTORS:
        rows = ensemble.join(facts, on="patient_key", maintain_order="left").drop_nulls(factor)
        if rows[factor].n_unique() > 1:
            one = rows.with_columns(run=pl.lit(0))  # the ensemble is one network
            found.append(Groups(factor, *subgroup_aurocs(*ranking(one), one[factor].to_numpy())))
    return found
