"""A study's patients, each with one score and one call of its best network: what readers are held against."""

import polars as pl

from fistula.report.external.cohorts import Outside
from fistula.report.results import Row


def cases_of(row: Row, outside: list[Outside], cohort: str) -> tuple[str, pl.DataFrame]:
    """The patients of the study's own test parts, or of an external cohort.

    Within the study a patient is scored by the networks that did not learn from the patient: their calibrated scores,
    which have one scale, averaged over seeds; and called as most of them call.

    Args:
        row: Results of the best configuration, by patient.
        outside: External cohorts.
        cohort: The name of one of them; empty for the study's own patients.

    Returns:
        Name of the configuration, and columns ``patient_key label score called``, sorted.
    """
    if cohort:
        one = next(o for o in outside if (o.external.name, o.positive, o.level) == (cohort, row.positive, "patient"))
        return one.configuration.name, one.rows.select("patient_key", "label", "score", "called").sort("patient_key")
    score = "score" if row.rows["calibrated"].has_nulls() else "calibrated"
    table = row.rows.group_by("patient_key").agg(
        pl.col("label").max(), pl.col(score).sort_by("seed", "fold").mean().alias("score"), pl.col("called").mean()
    )
    table = table.with_columns((pl.col("called") >= 0.5).cast(pl.Int64)).sort("patient_key")
    return row.configuration.name, table.select("patient_key", "label", "score", "called")
