"""A study's patients, each with one score and one call of its best network: what readers are held against."""

from statistics import fmean

import polars as pl

from fistula.report.external.cohorts import Outside
from fistula.report.pooling import fit_scaling
from fistula.report.results import Row
from fistula.report.study import Study

CASES = ("patient_key", "label", "score", "threshold", "called", "networks")


def cases_of(study: Study, row: Row, outside: list[Outside], cohort: str, *, scaling: str) -> tuple[str, pl.DataFrame]:
    """The patients of the study's own test parts, or of an external cohort.

    Within the study a patient is scored by the networks that did not learn from the patient. Their scores and
    thresholds are brought to one scale, as each run's validation part says, and averaged over seeds; where a run has no
    such scale, or one that reverses the order, all stay as they are. ``networks`` names those that scored a patient.

    `row` has the results of the best configuration, by patient; `cohort` is the name of one of `outside`, empty for the
    study's own patients. Gives the name of the configuration, and columns `CASES`, sorted; ``called`` 1 where the score
    reaches the threshold.
    """
    if cohort:
        one = next(o for o in outside if (o.external.name, o.positive, o.level) == (cohort, row.positive, "patient"))
        threshold = fmean(study.threshold(run, row.positive, level="patient") for run in one.external.runs)
        cases = one.rows.with_columns(threshold=threshold, networks=pl.lit(""))
        return one.configuration.name, cases.select(CASES).sort("patient_key")
    runs = row.configuration.runs
    fits = [fit_scaling(study, run, row.positive, scaling=scaling) for run in runs]
    thresholds = [study.threshold(run, row.positive, level="patient") for run in runs]
    table = row.rows.with_columns(threshold=pl.col("run").replace_strict(dict(enumerate(thresholds))))
    if all(fit and fit.slope > 0 for fit in fits):
        table = pl.concat(
            part.with_columns(
                pl.Series(name, fits[number].apply(part[name].clip(0, 1))) for name in ("score", "threshold")
            )
            for (number,), part in table.group_by("run", maintain_order=True)
        )
    means = [pl.col(name).sort_by("seed", "fold").mean() for name in ("score", "threshold")]
    networks = pl.col("run").sort().cast(pl.String).str.join(" ").alias("networks")
    cases = table.group_by("patient_key").agg(pl.col("label").max(), *means, networks)
    called = (pl.col("score") >= pl.col("threshold")).cast(pl.Int64)
    return row.configuration.name, cases.with_columns(called=called).select(CASES).sort("patient_key")
