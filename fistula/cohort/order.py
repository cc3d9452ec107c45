"""The order of the manifest: by content alone, so that names, paths, machine and key have no say in a split."""

import polars as pl

from fistula.cohort.pixels import grid_point


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
    said = pl.concat_str("pixel_hash", pl.col("label").cast(pl.String)).sort().str.join("")
    groups = facts.group_by(key).agg(pl.col("pixel_hash").min().alias("first"), said.alias("all"))
    return groups.sort("first", "all", key).select(key).with_row_index(rank)


def with_openings(facts: pl.DataFrame, size: int) -> pl.DataFrame:
    """Carry the opening from the source image to the grid; null, and noted, where it lies outside the grid.

    Also joins the notes on header and pixels, counts study days from the patient's first study, and names the columns
    as the manifest does.
    """
    points = [
        grid_point((row, column), scale=(scale_row, scale_col), offset=(top, left), size=size)
        if row is not None
        else None
        for row, column, scale_row, scale_col, top, left in facts.select(
            "source_row", "source_col", "scale_row", "scale_col", "offset_row", "offset_col"
        ).iter_rows()
    ]
    is_lost = pl.Series([point is None for point in points]) & facts["source_row"].is_not_null()
    lost = pl.when(is_lost).then(pl.lit("opening outside the grid")).otherwise(pl.lit(""))
    notes = pl.concat_str(pl.col("notes").fill_null(""), pl.col("seen").fill_null(""), lost, separator="|")
    return facts.with_columns(
        opening_row=pl.Series([point[0] if point else None for point in points], dtype=pl.Float64()),
        opening_col=pl.Series([point[1] if point else None for point in points], dtype=pl.Float64()),
        notes=notes.str.replace_all(r"\|+", "|").str.strip_chars("|"),
        study_day=pl.col("study_day") - pl.col("study_day").min().over("patient_key"),
        pixel_spacing_mm=pl.col("spacing_row"),
    )
