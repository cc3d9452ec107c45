"""The order of the manifest: by content alone, so that names, paths, machine and key have no say in a split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fistula.dicom.pixels.geometry import MISSING, SAME_PLACE_MM, found_point, turned_point
from fistula.labels.tables.lines import POINTS
from fistula.source.grid import grid_point, source_point

DENIED = "opening on a slice of the first class: ignored"


def in_order(facts: pl.DataFrame) -> pl.DataFrame:
    """Sort patients by their smallest pixel hash, then series by theirs, then slices by position.

    Patients, or series, that share their smallest hash (a copied picture) are told apart by all their hashes and
    labels.
    """
    slices = ["volume", "position_mm", "pixel_hash", "frame"]
    places = facts.select("patient_key", "series_key", *slices).with_row_index("place")
    for key, rank in (("patient_key", "patient_rank"), ("series_key", "series_rank")):
        places = places.join(_ranked(facts, key, rank), on=key)
    return facts[places.sort("patient_rank", "series_rank", *slices)["place"]]


def _ranked(facts: pl.DataFrame, key: str, rank: str) -> pl.DataFrame:
    """Each value of `key` with its place; one row a value, for all hashes of a patient are long."""
    said = pl.concat_str("pixel_hash", pl.col("label").cast(pl.String).fill_null("")).sort().str.join("")
    groups = facts.group_by(key).agg(pl.col("pixel_hash").min().alias("first"), said.alias("all"))
    return groups.sort("first", "all", key).select(key).with_row_index(rank)


def unbroken(positions: np.ndarray) -> np.ndarray:
    """Of each of a stack's positions, in order, the number of the run without a missing one that it is in.

    Example:
        >>> unbroken(np.array([0.0, 3.0, 6.0, 12.0])).tolist()
        [0, 0, 0, 1]
    """
    gaps = np.diff(positions)
    apart = gaps[gaps >= SAME_PLACE_MM]
    is_broken = gaps > MISSING * np.median(apart) if len(apart) else np.zeros(gaps.shape, bool)
    return np.concatenate([[0], np.cumsum(is_broken)])


def turn_in_stack() -> pl.Expr:
    """The place of each slice in its stack by position, from 1; null where a slice of the stack states no position."""
    stack, position = ("series_key", "volume"), pl.col("position_mm")
    return pl.when(position.is_not_null().all().over(stack)).then(position.rank("ordinal").over(stack))


def with_points(facts: pl.DataFrame, size: int) -> pl.DataFrame:
    """Carry the points of the table from the source image to the grid; null, and noted, where one lies outside.

    An opening on a slice of class 0, which says that there is none, is null and noted too.

    Also joins the notes on header and pixels, counts study days from the patient's first study, and names the columns
    as the manifest does.
    """
    notes = [pl.col("notes").fill_null(""), pl.col("seen").fill_null("")]
    for point in POINTS:
        columns = f"{point}_row", f"{point}_col"
        moved = _moved(facts, [f"source_{column}" for column in columns], size)
        facts = facts.with_columns(
            pl.Series(column, [place[axis] if place else None for place in moved], dtype=pl.Float64())
            for axis, column in enumerate(columns)
        )
        is_lost = pl.col(columns[0]).is_null() & pl.col(f"source_{columns[0]}").is_not_null()
        notes.append(pl.when(is_lost).then(pl.lit(f"{point} outside the grid")).otherwise(pl.lit("")))
    is_denied = (pl.col("label") == 0).fill_null(value=False) & pl.col("opening_row").is_not_null()
    notes.append(pl.when(is_denied).then(pl.lit(DENIED)).otherwise(pl.lit("")))
    return facts.with_columns(
        *(pl.when(~is_denied).then(pl.col(f"opening_{axis}")).alias(f"opening_{axis}") for axis in ("row", "col")),
        notes=pl.concat_str(*notes, separator="|").str.replace_all(r"\|+", "|").str.strip_chars("|"),
        study_day=pl.col("study_day") - pl.col("study_day").min().over("patient_key"),
        pixel_spacing_mm=pl.col("spacing_row"),
        image_number=pl.col("instance_number"),
    )


def _moved(facts: pl.DataFrame, columns: list[str], size: int) -> list[tuple[float, float] | None]:
    placement = facts.select(
        *columns, "rows", "columns", "turned", "scale_row", "scale_col", "offset_row", "offset_col"
    )
    return [
        grid_point(
            turned_point((row, column), (rows, width), turned) if turned else (row, column),
            scale=(scale_row, scale_col),
            offset=(top, left),
            size=size,
        )
        if row is not None
        else None
        for row, column, rows, width, turned, scale_row, scale_col, top, left in placement.iter_rows()
    ]


def in_source(point: tuple[float, float], slice_row: Mapping[str, Any]) -> tuple[float, float]:
    """Where a point of the grid lies in the image that the slice was read from; row and column, first centres at 0.

    The way back of `with_points`; coordinates of a structured report (SCOORD, PS3.3 C.18.6) are column and row of this
    plus 0.5, for they count from the corner of the first pixel.

    The point is row and column of a pixel of the stored slice, or between pixels; `slice_row` its row of a manifest, or
    of the slices to predict.
    """
    scale, offset = ((slice_row[f"{name}_row"], slice_row[f"{name}_col"]) for name in ("scale", "offset"))
    placed = source_point(point, scale=scale, offset=offset)
    rows, columns = map(int, slice_row["matrix"].split("x"))
    return found_point(placed, (rows, columns), slice_row["turned"] or "")


def on_grid(point: tuple[float, float], slice_row: Mapping[str, Any], *, size: int) -> tuple[float, float] | None:
    """Where a point of the source image lies in the stored slice: the inverse of `in_source`; None outside of it.

    The point is row and column in the source image, first centres at 0; `slice_row` the slice's row of a manifest, and
    `size` the side of the stored slice in pixels.
    """
    rows, columns = map(int, slice_row["matrix"].split("x"))
    turned = turned_point(point, (rows, columns), slice_row["turned"] or "")
    scale, offset = (tuple(slice_row[f"{kind}_{axis}"] for axis in ("row", "col")) for kind in ("scale", "offset"))
    return grid_point(turned, scale=scale, offset=offset, size=size)
