"""Test rows of all runs of a configuration, by slice or by patient, and the level at which a study is judged."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.split_table import SETS
from fistula.errors import ConfigError, DataError
from fistula.evidence.aggregate import patient_scores
from fistula.evidence.probability.calibration import Scaling, fit_platt, fit_temperature
from fistula.report.run import Run
from fistula.report.study import Configuration, Study

LEVELS = ("slice", "patient")
PRIMARY = ("auto", *LEVELS)
# How scores become probabilities, fitted on each run's validation part alone: what it is called, and the fit.
SCALINGS = {"platt": ("Platt scaling", fit_platt), "temperature": ("temperature scaling", fit_temperature)}


def ranking(rows: pl.DataFrame) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """What an AUROC is made of: labels, scores, patients and runs of test rows, each ``(N,)``."""
    labels, scores, patients, runs = (rows[name].to_numpy() for name in ("label", "score", "patient_key", "run"))
    return labels, scores, patients, runs


def primary_level(study: Study, said: str) -> str:
    """The level of headline, comparisons, main effects, power and curves: ``slice`` or ``patient``.

    `said` is one of `PRIMARY`; ``auto`` is by patient where each class tested has patients who have it and others who
    have not, or where a network scores patients, and by slice otherwise (where every patient has a slice of the last
    class, say).

    Raises:
        ConfigError: If it is to be by slice, and a network scores patients.
    """
    if said == "slice" and (none := [one.name for one in study.configurations if said not in one.levels]):
        rule, remedy = "must be patient: not every configuration scores slices", "Say primary=patient"
        raise ConfigError("primary", rule, found=f"{none[0]}, which does not", remedy=remedy)
    if said != "auto":
        return said
    if any("slice" not in configuration.levels for configuration in study.configurations):
        return "patient"
    tables = [run.predictions.filter(pl.col("part") == "test") for c in study.configurations for run in c.runs]
    tested = pl.concat([table.select("patient_key", "label") for table in tables])
    patients = tested.group_by("patient_key").agg(pl.col("label").max())["label"]
    # Of a class that nobody in the test set has, slices say no more than patients do.
    labels = {study.cohort.classes.index(positive) for positive in study.positives} & set(tested["label"])
    counts = [int((patients == label).sum()) for label in labels]
    return "patient" if all(0 < count < len(patients) for count in counts) else "slice"


def test_rows(study: Study, configuration: Configuration, positive: str, *, level: str, scaling: str) -> pl.DataFrame:
    """The test rows of all runs of a configuration, for the class `positive` against the rest.

    Scores of two runs are of two networks, which have no common scale: compare them within a run.

    By ``patient``, the label is the last class that a slice has (of two: positive if a slice is), and the score is by
    the run's own rule.

    Returns:
        One row a unit and run, sorted: ``unit patient_key seed fold run label score calibrated called``. ``unit`` is
        the slice or patient; ``score`` the network's; ``calibrated`` null in a run whose scaling could not be fitted;
        ``called`` 1 where ``score`` reaches the run's own operating point of the level.

    Raises:
        DataError: If a score is missing.
    """
    tables = []
    for number, run in enumerate(configuration.runs):
        rows = judged(study, run, _scored(study, run, positive, part="test"), positive, level=level, scaling=scaling)
        told = {"seed": run.record["seed"], "fold": run.record["fold"], "run": number}
        tables.append(rows.with_columns(pl.lit(value, pl.Int64).alias(name) for name, value in told.items()))
    return pl.concat(tables).sort("seed", "fold", "unit")


def judged(study: Study, run: Run, rows: pl.DataFrame, positive: str, *, level: str, scaling: str) -> pl.DataFrame:
    """What a run makes of scores: calibrated as its validation part says, by its own rule and operating point.

    `rows` are as `one_against_rest` gives them. Gives columns ``patient_key unit label score calibrated called``, as
    `test_rows` has them.
    """
    fitted = fit_scaling(study, run, positive, scaling=scaling)
    scores = rows["score"].to_numpy()
    calibrated = fitted.apply(scores) if fitted else [None] * len(scores)
    rows = rows.with_columns(pl.Series("calibrated", calibrated, dtype=pl.Float64))
    rows = _by_patient(rows, rule=study.aggregation(run, positive)) if level == "patient" else rows.drop("of_patient")
    threshold = study.threshold(run, positive, level=level)
    return rows.with_columns(called=(pl.col("score") >= threshold).cast(pl.Int64))


def _scored(study: Study, run: Run, positive: str, *, part: str) -> pl.DataFrame:
    remedy = "Remove this run's folder and train it again"
    path = run.folder / "predictions.parquet"
    return one_against_rest(study, run.predictions, positive, part=part, where=path, remedy=remedy)


def one_against_rest(
    study: Study, predictions: pl.DataFrame, positive: str, *, part: str, where: Path, remedy: str
) -> pl.DataFrame:
    """The rows of a part, for one class: columns ``patient_key unit label of_patient score``.

    `part` is ``val``, ``test`` or ``external``; `where` and `remedy` are of an error.

    Raises:
        DataError: If there is no row, or a score is missing or no probability.
    """
    classes = study.cohort.classes
    column = "score" if len(classes) == 2 else f"score_{positive}"
    if column not in predictions.columns:
        raise DataError(where, f"lacks the column {column}", remedy=remedy)
    is_positive = pl.col("label", "of_patient") == classes.index(positive)
    whole = predictions.filter(pl.col("part") == part).with_columns(
        of_patient=pl.col("label").max().over("patient_key")
    )
    rows = whole.select(
        "patient_key", is_positive.cast(pl.Int64), unit=_image(predictions), score=pl.col(column).cast(pl.Float64)
    )
    # NaN is between nothing.
    if not len(rows) or not rows["score"].is_between(0, 1).fill_null(False).all():
        rule = f"must hold a {column} from 0 to 1 for every {SETS.get(part, part)} slice"
        raise DataError(where, rule, remedy=remedy)
    return rows


def _image(predictions: pl.DataFrame) -> pl.Expr:
    """The slice, or the patient where patients were scored; a jittered copy made before the split is an image too."""
    unit = pl.coalesce("slice_key", "patient_key")
    if "copy" not in predictions.columns:
        return unit
    return pl.when(pl.col("copy") == 0).then(unit).otherwise(pl.format("{} copy {}", "slice_key", "copy"))


def fit_scaling(study: Study, run: Run, positive: str, *, scaling: str) -> Scaling | None:
    """What makes probabilities of a run's scores, by its validation set; None where that has one class."""
    rows = _scored(study, run, positive, part="val")
    try:
        return SCALINGS[scaling][1](rows["label"].to_numpy(), rows["score"].to_numpy())
    except ValueError:  # one class on validation: nothing to fit
        return None


def _by_patient(rows: pl.DataFrame, *, rule: str) -> pl.DataFrame:
    labels, patients = rows["of_patient"].to_numpy(), rows["patient_key"].to_numpy()
    keys, positive, scores = patient_scores(labels, rows["score"].to_numpy(), patients, rule=rule)
    calibrated = rows["calibrated"]
    mended = [None] * len(keys)
    if not calibrated.has_nulls():
        mended = patient_scores(labels, calibrated.to_numpy(), patients, rule=rule)[2].tolist()
    return pl.DataFrame(
        {
            "patient_key": keys.astype(str),
            "unit": keys.astype(str),
            "label": positive.astype(np.int64),
            "score": scores,
            "calibrated": pl.Series(mended, dtype=pl.Float64),
        }
    )
