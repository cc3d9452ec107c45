"""Numbers of the headline's configuration for each class: calibration line and subgroups of patients."""

from dataclasses import dataclass

import polars as pl

from fistula.cohort.manifest import ELDEST
from fistula.evidence.design.subgroups import Subgroup, subgroup_aurocs
from fistula.evidence.estimate import Estimate
from fistula.evidence.probability.logistic import calibration_line
from fistula.report.pooling import fit_scaling, ranking
from fistula.report.results import Row
from fistula.report.study import Study

BAND = 20  # years of an age band
FACTORS = ("sex", "age", "site", "scanner")


@dataclass(frozen=True)
class Groups:
    """The subgroups of one factor."""

    factor: str  # one of `FACTORS`
    groups: list[Subgroup]  # by name
    p_value: float  # of the test of interaction; NaN where it could not be made


@dataclass(frozen=True)
class Further:
    """What is told of the headline's configuration alone, for a class, at the primary level."""

    row: Row
    # Calibration intercept and slope; None where its scores could not be calibrated.
    line: tuple[Estimate, Estimate] | None
    groups: list[Groups]  # its AUROC in subgroups of patients
    reversing: int  # runs whose calibration reverses the order of the scores: the fitted slope is negative


def further(study: Study, row: Row, *, scaling: str) -> Further:
    """Its calibration, by one of `pooling.SCALINGS`, and subgroups, of the headline's configuration for a class."""
    fits = [fit_scaling(study, run, row.positive, scaling=scaling) for run in row.configuration.runs]
    return Further(row, line(row.rows), subgroups(study, row), sum(fit is not None and fit.slope < 0 for fit in fits))


def line(rows: pl.DataFrame) -> tuple[Estimate, Estimate] | None:
    """Calibration intercept and slope of calibrated scores; None where they could not be calibrated."""
    if rows["calibrated"].has_nulls():
        return None
    return calibration_line(*(rows[name].to_numpy() for name in ("label", "calibrated", "patient_key")))


def subgroups(study: Study, row: Row) -> list[Groups]:
    """The AUROC by sex, age band, site and scanner, where the test patients have at least two values.

    A patient for whom a factor is not known takes no part in it.
    """
    band = (pl.col("age") // BAND * BAND).cast(pl.Int64)
    manifest = study.cohort.manifest.with_columns(
        age=pl.when(band + BAND > ELDEST)
        .then(pl.format("{}+ years", band))
        .when(pl.col("age").is_not_null())
        .then(pl.format("{} to {} years", band, band + BAND - 1))
    )
    found = []
    for factor in FACTORS:
        of_patient = manifest.group_by("patient_key").agg(pl.col(factor).cast(pl.String).drop_nulls().first())
        rows = row.rows.join(of_patient, on="patient_key", maintain_order="left").drop_nulls(factor)
        if rows[factor].n_unique() < 2:
            continue
        found.append(Groups(factor, *subgroup_aurocs(*ranking(rows), rows[factor].to_numpy())))
    return found
