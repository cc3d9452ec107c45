"""The places that runs name on slices, each beside the true one, the slice's score and where it lies in its stack."""

from typing import Any

import polars as pl

from fistula.cohort.order import turn_in_stack
from fistula.report.external.cohorts import External
from fistula.report.study import Configuration, Study

STACK = ("series_key", "volume")
Marks = tuple[pl.DataFrame, pl.DataFrame]
"""Of the finding and of the canal: columns of `places.parquet`, and ``run``. The former also have ``score label seed``,
where the slice lies (`STACK`, ``image_number orientation``, ``turn`` as in `turn_in_stack`), and ``row_fixed
col_fixed``, the mean place in patients that the run did not test."""


def marks_inside(study: Study, configuration: Configuration) -> Marks:
    """Marks of a configuration's runs on their test slices. Raises DataError if a run lacks its places."""
    manifest = study.cohort.manifest
    facts = manifest.select("slice_key", *STACK, "image_number", "orientation", turn=turn_in_stack())
    openings, canals = [], []
    for number, run in enumerate(configuration.runs):
        found, canal = (run.placed(kind).drop("part", "copy", "fold") for kind in ("opening", "canal"))
        own = found.join(run.tested.select("slice_key", "score", "label"), on="slice_key", maintain_order="left")
        rest = manifest.filter(~pl.col("patient_key").is_in(own["patient_key"].unique().implode()))
        openings.append(own.with_columns(*_fixed(rest), run=pl.lit(number), seed=pl.lit(run.record["seed"])))
        canals.append(canal.with_columns(run=pl.lit(number)))
    return pl.concat(openings).join(facts, on="slice_key", how="left", maintain_order="left"), pl.concat(canals)


def marks_outside(study: Study, external: External) -> Marks | None:
    """Marks of an external cohort, of the runs as one; None where they name no places."""
    if external.places is None:
        return None
    places = external.places.with_columns(run=pl.lit(0), seed=pl.lit(0))
    openings = places.filter(pl.col("kind") == "opening").with_columns(*_fixed(study.cohort.manifest))
    return openings, places.filter(pl.col("kind") == "canal")


def _fixed(manifest: pl.DataFrame) -> list[pl.Expr]:
    """What always naming one place would come to: the mean of those of other patients."""
    means: dict[str, Any] = {axis: manifest[f"opening_{axis}"].mean() for axis in ("row", "col")}
    return [pl.lit(value, pl.Float64).alias(f"{axis}_fixed") for axis, value in means.items()]
