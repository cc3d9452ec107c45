"""Points of a cohort: of which kinds they are, where they lie in a network's input, and what they say of a side."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import POINTS, Cohort
from fistula.errors import ConfigError

SIDES = {"left", "right"}
PLACES = (
    "slice_key", "copy", "patient_key", "fold", "part", "kind", "row", "col", "peak", "row_true", "col_true",
    "mm_per_pixel",
)  # fmt: skip


def kinds_of(manifest: pl.DataFrame) -> tuple[str, ...]:
    """The kinds of points that a cohort has, of some slice at least; the finding's first.

    Raises:
        ConfigError: If no slice has one of the finding.
    """
    kinds = tuple(kind for kind in POINTS if manifest[f"{kind}_row"].is_not_null().any())
    if POINTS[0] not in kinds:
        remedy = "Give opening_row and opening_col in the table of labels, or use head=classify"
        raise ConfigError("head=locate", "needs points, and no slice of the cohort has one", remedy=remedy)
    return kinds


def points_of(cohort: Cohort, kinds: tuple[str, ...], *, image_size: int) -> NDArray[np.float32]:
    """Row and column of each kind in the network's input, centre of the first pixel at 0, ``(N, M, 2)``.

    NaN where a slice has none; and for the finding, the first kind, in slices of class 0, whatever was marked there:
    their map is empty.
    """
    columns = [f"{kind}_{axis}" for kind in kinds for axis in ("row", "col")]
    stored = cohort.manifest.select(pl.col(columns).fill_null(float("nan"))).to_numpy().reshape(-1, len(kinds), 2)
    points = (stored + 0.5) * (image_size / cohort.pixels.shape[1]) - 0.5
    points[(cohort.manifest["label"] == 0).fill_null(value=False).to_numpy(), 0] = np.nan
    return points.astype(np.float32)


def places_table(
    slices: pl.DataFrame, marks: NDArray[np.float64], kinds: tuple[str, ...], *, spacing_mm: float | None
) -> pl.DataFrame:
    """Marks of slices beside the points that were given: one row a slice and kind of point.

    Args:
        slices: Rows of a manifest, and `PLACES` that it lacks; ``(N,)``.
        marks: Row, column and height of each peak in pixels of the stored slices, ``(N, M, 3)``; NaN where there is
            none.
        kinds: Of the points, M.
        spacing_mm: Distance of pixels of slices that state one; None where none does.

    Returns:
        The columns of `slices` that are no points, and the rest of `PLACES`; row, column and peak are null where a map
        has no peak, ``mm_per_pixel`` where a slice states no distance.
    """
    tables = []
    for number, kind in enumerate(kinds):
        row, column, peak = marks[:, number].T
        own = slices.select(
            pl.exclude([f"{point}_{axis}" for point in POINTS for axis in ("row", "col")])
        ).with_columns(
            pl.lit(kind).alias("kind"),
            *(pl.Series(name, values).fill_nan(None) for name, values in (("row", row), ("col", column))),
            pl.Series("peak", np.where(np.isnan(row), np.nan, peak)).fill_nan(None),
            slices[f"{kind}_row"].alias("row_true"),
            slices[f"{kind}_col"].alias("col_true"),
            pl.when(pl.col("pixel_spacing_mm").is_not_null())
            .then(pl.lit(spacing_mm, pl.Float64))
            .alias("mm_per_pixel"),
        )
        tables.append(own)
    return pl.concat(tables)


def pixel_mm_of(cohort: Cohort, *, image_size: int) -> float | None:
    """Distance of pixels in the network's input; None unless every slice states its own."""
    if "spacing_mm" not in cohort.record or cohort.manifest["pixel_spacing_mm"].has_nulls():
        return None
    return float(cohort.record["spacing_mm"]) * cohort.pixels.shape[1] / image_size


def side_of_labels(classes: list[str], kinds: tuple[str, ...]) -> str:
    """What of a cohort's labels a mirror image would make wrong, in words; empty for nothing."""
    if names_side(classes):
        return "a class names a side"
    return "the cohort has a clock position" if "canal" in kinds else ""


def names_side(classes: list[str]) -> bool:
    """Whether a class is of the left or of the right, by its name."""
    words = {word for name in classes for word in name.lower().replace("_", " ").replace("-", " ").split()}
    return bool(words & SIDES)
