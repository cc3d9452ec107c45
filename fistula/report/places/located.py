"""Is a place that a reader, or a network, names for a patient the right one? One rule for both."""

from math import hypot, inf
from typing import Any

import polars as pl

from fistula.cohort.manifest import Cohort
from fistula.cohort.order import on_grid
from fistula.report.places.marks import STACK
from fistula.report.places.numbers import NEAR
from fistula.report.study import Configuration


def rightly_placed(places: pl.DataFrame, cohort: Cohort) -> pl.Series:
    """Whether each place lies within `where.NEAR` of a marked finding of its patient.

    The distance is taken in the stack: across the slice, and along the stack by the slices' positions, so that the
    right point on the slice beside the marked one may count. Where slices state no position, the place has to be on the
    marked slice; where they state no distance of pixels, `NEAR` is per cent of the side.

    `places` has ``patient_key slice_key row col``, in pixels of the cohort's slices; null where none was named. Gives
    1, 0, or null for patients without a marked finding.
    """
    manifest = cohort.manifest
    has_mm = "spacing_mm" in cohort.record and manifest["pixel_spacing_mm"].null_count() == 0
    scale = float(cohort.record["spacing_mm"]) if has_mm else 100 / cohort.pixels.shape[1]
    marked = manifest.filter((pl.col("label") > 0) & pl.col("opening_row").is_not_null())
    truths = {key[0]: rows.to_dicts() for key, rows in marked.group_by("patient_key", maintain_order=True)}
    facts = {row["slice_key"]: row for row in manifest.select("slice_key", *STACK, "position_mm").iter_rows(named=True)}

    def far(place: dict[str, Any], truth: dict[str, Any]) -> float:
        own = facts.get(place["slice_key"])
        if own is None or place["row"] is None or any(own[name] != truth[name] for name in STACK):
            return inf
        across = hypot(place["row"] - truth["opening_row"], place["col"] - truth["opening_col"]) * scale
        if own["slice_key"] == truth["slice_key"]:
            return across
        known = has_mm and own["position_mm"] is not None and truth["position_mm"] is not None
        return hypot(across, own["position_mm"] - truth["position_mm"]) if known else inf

    found = [
        int(any(far(place, truth) <= NEAR for truth in truths[place["patient_key"]]))
        if place["patient_key"] in truths
        else None
        for place in places.select("patient_key", "slice_key", "row", "col").iter_rows(named=True)
    ]
    return pl.Series("located", found, pl.Int64)


def located_readings(readings: pl.DataFrame, cohort: Cohort) -> pl.DataFrame:
    """Readings with ``located`` where readers named places: a line that says it itself keeps what it says.

    The columns ``slice row col``, places in pixels of the source image, are taken away.
    """
    own, size = ["slice", "row", "col"], cohort.pixels.shape[1]
    if readings["row"].is_null().all():
        return readings.drop(own)
    facts = {row["slice_key"]: row for row in cohort.manifest.iter_rows(named=True)}
    points = [
        on_grid((row, col), facts[key], size=size) if row is not None and key in facts else None
        for key, row, col in readings.select(own).iter_rows()
    ]
    places = readings.select("patient_key", slice_key="slice").with_columns(
        pl.Series(name, [point[axis] if point else None for point in points], pl.Float64)
        for axis, name in enumerate(("row", "col"))
    )
    return readings.drop(own).with_columns(located=pl.coalesce("located", rightly_placed(places, cohort)))


def located_patients(configuration: Configuration, cohort: Cohort) -> pl.DataFrame | None:
    """Whether the place on the slice that a patient's scores name first is right.

    Of several seeds the first one's network speaks, whose fold tested the patient. Gives columns
    ``patient_key located``; None for runs that name no places.
    """
    tables = []
    for run in configuration.runs:
        if run.places is None:
            return None
        places = run.placed("opening").select("patient_key", "slice_key", "row", "col")
        tables.append(places.join(run.tested.select("slice_key", "score"), on="slice_key", maintain_order="left"))
    # Runs stand by seed and fold; a patient's rows of the first run that tested the patient are taken together.
    numbered = pl.concat([table.with_columns(run=pl.lit(number)) for number, table in enumerate(tables)])
    first = numbered.filter(pl.col("run") == pl.col("run").min().over("patient_key"))
    named = first.sort("patient_key", "score", "slice_key", descending=[False, True, False])
    named = named.group_by("patient_key", maintain_order=True).first()
    return named.select("patient_key").with_columns(rightly_placed(named, cohort))
