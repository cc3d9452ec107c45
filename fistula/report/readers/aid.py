"""What a study says of its patients, for readers who read with it: scores, calls, and places in the source images."""

from typing import Any

import polars as pl

from fistula.cohort.order import in_source
from fistula.errors import DataError
from fistula.report.choice import best_configuration
from fistula.report.external.cohorts import outside, read_externals
from fistula.report.readers.cases import cases_of
from fistula.report.results import results
from fistula.report.study import Configuration, Study

MOST = 3  # slices whose places are shown, as in predict's page
SCALING = "platt"


def aid_of(study: Study) -> tuple[str, dict[str, dict[str, dict[str, Any]]]]:
    """Scores of the best configuration, within the study by the networks that did not learn from the patient.

    Returns:
        The configuration's name; and by cohort (empty: the study's own test patients) and patient a ``score`` from 0 to
        100, its ``threshold``, the class called as ``answer``, and ``slices``: by key a ``score`` from 0 to 1, and for
        the `MOST` most suspicious ones, where places are known, ``row`` and ``col`` in the source image.

    Raises:
        DataError: If the study has more than two classes: one score would not say what is suspected.
    """
    if len(study.positives) > 1:
        raise DataError(f"aid={study.folder}", "must be of two classes", found=", ".join(study.cohort.classes))
    best = best_configuration(study)
    rows = results(study, resamples=1, scaling=SCALING, prevalence=None, only=best.name)
    own = next(row for row in rows if row.level == "patient")
    slices = _slices(study, best)
    found = {"": _aids(cases_of(study, own, [], "", scaling=SCALING)[1], slices, study.cohort.classes)}
    for external in read_externals(study):
        if external.runs[0] in best.runs:
            others = outside(study, external, rows, primary="patient", scaling=SCALING)
            slices_of = external.folder / "slices.parquet"  # there where patients were scored
            alone = pl.read_parquet(slices_of, glob=False) if slices_of.is_file() else external.predictions
            table = alone.group_by("patient_key", "slice_key", maintain_order=True)
            mean = table.agg(pl.col("score").mean()).with_columns(row=pl.lit(None), col=pl.lit(None))
            cases = cases_of(study, own, others, external.name, scaling=SCALING)[1]
            found[external.name] = _aids(cases, mean, study.cohort.classes)
    return best.name, found


def _aids(cases: pl.DataFrame, slices: pl.DataFrame, classes: list[str]) -> dict[str, dict[str, Any]]:
    by_patient = {key[0]: rows for key, rows in slices.group_by("patient_key", maintain_order=True)}
    aids: dict[str, dict[str, Any]] = {}
    for case in cases.iter_rows(named=True):
        rows = by_patient.get(case["patient_key"], slices.clear()).sort("score", "slice_key", descending=[True, False])
        aids[case["patient_key"]] = {
            **_percent(case["score"], case["threshold"]),
            "answer": classes[int(case["called"])],
            "slices": {
                row["slice_key"]: {"score": round(row["score"], 4)}
                | ({"row": row["row"], "col": row["col"]} if rank < MOST and row["row"] is not None else {})
                for rank, row in enumerate(rows.iter_rows(named=True))
            },
        }
    return aids


def _percent(score: float, threshold: float) -> dict[str, int]:
    """Both from 0 to 100, rounded so that a score below the threshold remains below it.

    Example:
        >>> _percent(0.162, 0.158), _percent(0.162, 0.164)
        ({'score': 16, 'threshold': 16}, {'score': 16, 'threshold': 17})
    """
    shown, limit = (round(100 * value) for value in (score, threshold))
    return {"score": shown, "threshold": limit if score >= threshold else max(limit, shown + 1)}


def _slices(study: Study, configuration: Configuration) -> pl.DataFrame:
    """Mean score of each test slice over seeds, with the place that the first seed's network names, in its source."""
    tables, places = [], []
    for run in configuration.runs:
        tables.append(run.tested.select("patient_key", "slice_key", "score"))
        if run.places is not None:
            places.append(run.placed("opening").select("slice_key", "row", "col"))
    mean = pl.concat(tables).group_by("patient_key", "slice_key", maintain_order=True).agg(pl.col("score").mean())
    if not places:
        return mean.with_columns(row=pl.lit(None), col=pl.lit(None))
    first = pl.concat(places).drop_nulls().unique("slice_key", keep="first", maintain_order=True)
    known = first.join(study.cohort.manifest.drop("row", strict=False), on="slice_key", maintain_order="left")
    moved = [in_source((row["row"], row["col"]), row) for row in known.iter_rows(named=True)]
    source = known.select("slice_key").with_columns(
        pl.Series(name, [round(point[axis], 2) for point in moved], pl.Float64)
        for axis, name in enumerate(("row", "col"))
    )
    return mean.join(source, on="slice_key", how="left", maintain_order="left")
