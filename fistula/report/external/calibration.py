"""What probabilities, decisions and answers are worth: calibration, predictive values, and abstentions outside."""

from dataclasses import dataclass

import polars as pl

from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.probability.calibration import brier_score
from fistula.evidence.rates.counts import confusion
from fistula.evidence.rates.likelihood import predictive_values
from fistula.report.results import PREDICTIVE
from fistula.report.sections.further import line


@dataclass(frozen=True)
class Calibration:
    """How calibrated probabilities compare with what was observed."""

    mean: float  # of the probabilities
    share: float  # of positives
    intercept: Estimate  # with the slope held at 1; above 0, probabilities are too low
    slope: Estimate  # below 1, they are too extreme
    brier: float  # mean squared error; lower is better


@dataclass(frozen=True)
class Answers:
    """What `fistula predict` would say of the patients, at the error rate that it was asked with."""

    patients: int
    abstained: int  # who would get no answer
    right: int  # of the others, whose answer is the reference standard's
    covered: int  # of all, whose true class is among those said to be possible


def calibration(rows: pl.DataFrame) -> Calibration | None:
    """That of columns ``label calibrated patient_key``; None where scores could not be calibrated."""
    if (found := line(rows)) is None:
        return None
    labels, chances = rows["label"].to_numpy(), rows["calibrated"].to_numpy()
    return Calibration(float(chances.mean()), float(labels.mean()), *found, brier_score(labels, chances))


def predictive(rows: pl.DataFrame, prevalence: float | None) -> dict[str, Estimate]:
    """Predictive values of the decisions at a stated prevalence, by the names of `PREDICTIVE`; empty without one.

    `rows` has ``label called patient_key``; the prevalence is that where decisions will be made, not the cohort's.
    """
    if prevalence is None:
        return {}
    if rows["patient_key"].n_unique() < len(rows):
        return {name: undefined("logit", "given by patient, where rows are independent") for name in PREDICTIVE}
    counts = confusion(rows["label"].to_numpy(), rows["called"].to_numpy(), threshold=0.5)
    return dict(zip(PREDICTIVE, predictive_values(counts, prevalence=prevalence), strict=True))


def answers(patients: pl.DataFrame, predictions: pl.DataFrame, classes: list[str]) -> Answers:
    """Count answers as `fistula predict` gives them, ``patient_key possible answer``, against ``patient_key label``.

    A patient's class is the last that a row has.
    """
    truth = predictions.group_by("patient_key").agg(pl.col("label").max())
    names = pl.col("label").replace_strict(dict(enumerate(classes)), return_dtype=pl.String)
    told = patients.join(truth.with_columns(truth=names), on="patient_key")
    covered = told.select(pl.col("possible").str.split("|").list.contains(pl.col("truth")).sum()).item()
    right = told.select((pl.col("answer") == pl.col("truth")).sum()).item()
    return Answers(len(told), int((told["answer"] == "abstain").sum()), int(right), int(covered))
