"""Which slices an image is made of: the slice alone, or with its neighbours in the series as further channels."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.errors import DataError

ADJACENT = "adjacent"


def check_positions(slices: pl.DataFrame) -> None:
    """Raise DataError unless every slice has a position, without which it has no neighbours."""
    unplaced = slices["position_mm"].null_count()
    if unplaced:
        raise DataError(
            f"model.channels={ADJACENT}",
            "needs the position of every slice",
            found=f"{unplaced} of {len(slices)} without one",
            remedy="Use model.channels=sum, or images whose headers say where they lie",
        )


def channel_rows(slices: pl.DataFrame, num_slices: int) -> NDArray[np.int64]:
    """Rows of the slices that are the channels of each slice's image.

    Neighbours are those along the normal inside the same volume of the same series; at an end the edge slice is
    repeated.

    Args:
        slices: N of them; columns of a manifest: ``slice_key series_key position_mm``, ``volume`` if there.
        num_slices: Channels of an image, odd: 1 is the slice alone.

    Returns:
        ``(N, num_slices)``, by position, the slice itself in the middle.

    Raises:
        DataError: If neighbours are wanted and a slice has no position.

    Example:
        >>> positions = {"slice_key": ["a", "b", "c"], "series_key": ["s"] * 3, "position_mm": [6.0, 0.0, 3.0]}
        >>> channel_rows(pl.DataFrame(positions), 3).tolist()
        [[2, 0, 0], [1, 1, 2], [1, 2, 0]]
    """
    own = np.arange(len(slices))
    if num_slices == 1:
        return own[:, None]
    check_positions(slices)
    reach = np.arange(num_slices) - num_slices // 2
    rows = np.empty((len(slices), num_slices), np.int64)
    volume = [name for name in ("series_key", "volume") if name in slices.columns]
    keys = slices.select(*volume, "position_mm", "slice_key", pl.Series("number", own))
    for _, group in keys.group_by(volume):
        ordered = group.sort("position_mm", "slice_key")["number"].to_numpy()
        places = np.arange(len(ordered))[:, None] + reach
        rows[ordered] = ordered[places.clip(0, len(ordered) - 1)]
    return rows
