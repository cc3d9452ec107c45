"""Test rows of a configuration, by slice or by patient, with the scores of its runs made comparable."""

import numpy as np
import polars as pl

from fistula.errors import DataError
from fistula.evidence.aggregate import patient_scores, pool_ranks
from fistula.evidence.calibration import Scaling, fit_platt, fit_temperature
from fistula.report.study import Configuration, Run, Study

LEVELS = ("slice", "patient")
# How scores of different networks, which have no common scale, are brought together: see `fistula.evidence.aggregate`.
POOLINGS = {
    "rank": "ranks within each run's test part",
    "calibrated": "scaled probabilities, fitted on each run's validation part",
    "raw": "as the networks gave them, as if all had one scale",
}
# How scores become probabilities, fitted on each run's validation part alone: what it is called, and the fit.
SCALINGS = {"platt": ("Platt's scaling", fit_platt), "temperature": ("temperature scaling", fit_temperature)}


def test_rows(
    study: Study, configuration: Configuration, positive: str, *, level: str, pooling: str, scaling: str
) -> pl.DataFrame:
    """Pool the test rows of all runs of a configuration, for the class `positive` against the rest.

    Args:
        study: Of the configuration.
        configuration: With its runs.
        positive: Name of the class.
        level: ``slice``, or ``patient``: positive if a slice is, with a score by the run's own rule.
        pooling: One of `POOLINGS`.
        scaling: One of `SCALINGS`.

    Returns:
        One row a unit and run, sorted: ``unit patient_key seed fold run label raw calibrated score called``. ``unit``
        is the slice or patient; ``raw`` the network's score; ``calibrated`` null in a run whose scaling could not be
        fitted; ``score`` the pooled one; ``called`` 1 where ``raw`` reaches the run's own operating point of the level.

    Raises:
        DataError: If a score is missing, or ``calibrated`` scores are to be pooled and a run has none.
    """
    tables = []
    for number, run in enumerate(configuration.runs):
        rows = _scored(study, run, positive, part="test")
        fitted = _fit(study, run, positive, scaling=scaling)
        raw = rows["raw"].to_numpy()
        calibrated = pl.Series("calibrated", fitted.apply(raw) if fitted else [None] * len(raw), dtype=pl.Float64)
        rows = rows.with_columns(calibrated)
        if level == "patient":
            rows = _by_patient(rows, rule=study.aggregation(run, positive))
        tables.append(
            rows.with_columns(
                called=(pl.col("raw") >= study.threshold(run, positive, level=level)).cast(pl.Int64),
                seed=pl.lit(run.record["seed"], pl.Int64),
                fold=pl.lit(run.record["fold"], pl.Int64),
                run=pl.lit(number, pl.Int64),
            )
        )
    table = pl.concat(tables)
    scores = _pool(table, pooling, where=configuration.runs[0].folder)
    return table.with_columns(pl.Series("score", scores)).sort("seed", "fold", "unit")


def _scored(study: Study, run: Run, positive: str, *, part: str) -> pl.DataFrame:
    classes = study.cohort.classes
    column = "score" if len(classes) == 2 else f"score_{positive}"
    remedy = "Remove this run's folder and train it again"
    if column not in run.predictions.columns:
        raise DataError(run.folder / "predictions.parquet", f"lacks the column {column}", remedy=remedy)
    rows = run.predictions.filter(pl.col("part") == part).select(
        "patient_key",
        unit=_image(run.predictions),
        label=(pl.col("label") == classes.index(positive)).cast(pl.Int64),
        raw=pl.col(column).cast(pl.Float64),
    )
    if not len(rows) or not rows["raw"].is_finite().fill_null(False).all():
        rule = f"must hold a finite {column} for every {part} slice"
        raise DataError(run.folder / "predictions.parquet", rule, remedy=remedy)
    return rows


def _image(predictions: pl.DataFrame) -> pl.Expr:
    """The slice; a jittered copy of one, made before the split, is an image of its own."""
    if "copy" not in predictions.columns:
        return pl.col("slice_key")
    return (
        pl.when(pl.col("copy") == 0).then(pl.col("slice_key")).otherwise(pl.format("{} copy {}", "slice_key", "copy"))
    )


def _fit(study: Study, run: Run, positive: str, *, scaling: str) -> Scaling | None:
    rows = _scored(study, run, positive, part="val")
    try:
        return SCALINGS[scaling][1](rows["label"].to_numpy(), rows["raw"].to_numpy())
    except ValueError:  # one class on validation: nothing to fit
        return None


def _by_patient(rows: pl.DataFrame, *, rule: str) -> pl.DataFrame:
    labels, patients = rows["label"].to_numpy(), rows["patient_key"].to_numpy()
    keys, positive, raw = patient_scores(labels, rows["raw"].to_numpy(), patients, rule=rule)
    calibrated = rows["calibrated"]
    mended = [None] * len(keys)
    if not calibrated.has_nulls():
        mended = patient_scores(labels, calibrated.to_numpy(), patients, rule=rule)[2].tolist()
    return pl.DataFrame(
        {
            "patient_key": keys.astype(str),
            "unit": keys.astype(str),
            "label": positive.astype(np.int64),
            "raw": raw,
            "calibrated": pl.Series(mended, dtype=pl.Float64),
        }
    )


def _pool(table: pl.DataFrame, pooling: str, *, where: object) -> np.ndarray:
    if pooling == "raw":
        return table["raw"].to_numpy()
    if pooling == "rank":
        return pool_ranks(table["raw"].to_numpy(), table["run"].to_numpy())
    if table["calibrated"].has_nulls():
        rule = "has a validation part of one class, to which no scaling can be fitted"
        raise DataError(where, rule, remedy="Use pooling=rank")
    return table["calibrated"].to_numpy()
