"""Points of a cohort: of which kinds they are, where they lie in a network's input, and what they say of a side."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import Cohort
from fistula.errors import ConfigError

POINTS = ("opening", "canal")  # the finding, and the centre of the anal canal: NAME_row and NAME_col
SIDES = {"left", "right"}


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


def pixel_mm_of(cohort: Cohort, *, image_size: int) -> float | None:
    """Distance of pixels in the network's input; None unless every slice states its own."""
    if "spacing_mm" not in cohort.record or cohort.manifest["pixel_spacing_mm"].has_nulls():
        return None
    return float(cohort.record["spacing_mm"]) * cohort.pixels.shape[1] / image_size


def side_of_labels(classes: list[str], kinds: tuple[str, ...]) -> str:
    """What of a cohort's labels a mirror image would make wrong, in words; empty for nothing."""
    words = {word for name in classes for word in name.lower().replace("_", " ").replace("-", " ").split()}
    if words & SIDES:
        return "a class names a side"
    return "the cohort has a clock position" if "canal" in kinds else ""
