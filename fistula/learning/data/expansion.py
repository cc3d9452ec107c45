"""Copies of slices that are made beforehand, once, as the paper made its augmented set."""

from collections.abc import Sequence
from typing import Any

import albumentations
import numpy as np
import polars as pl

from fistula.errors import ConfigError

MOST = 1000  # images of a slice


class Expanded(albumentations.Compose):
    """A pipeline that makes copies of slices before the first epoch, the same for every epoch and run.

    `images_per_slice` is of a training slice, itself among them: one number, or one for each class. A split that asks
    for copies says itself how many, and of which slices.
    """

    def __init__(
        self, transforms: list[Any], *, images_per_slice: float | Sequence[float], seed: int | None = None
    ) -> None:
        super().__init__(transforms, seed=seed)
        self.images_per_slice = images_per_slice

    def copies(self, labels: pl.Series, *, num_classes: int) -> list[int]:
        """How many copies each slice gets, so that the number of images of a class is the one asked for, rounded.

        Raises:
            ConfigError: If there is not one number for each class, or one is below 1.

        Example:
            >>> Expanded([], images_per_slice=2.5).copies(pl.Series([0, 0, 1, 1]), num_classes=2)
            [1, 2, 1, 2]
        """
        wanted: Any = self.images_per_slice
        factors = list(wanted) if isinstance(wanted, list | tuple) else [wanted] * num_classes
        are_numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in factors)
        if len(factors) != num_classes or not are_numbers or not all(1 <= one <= MOST for one in factors):
            rule = f"must be a number from 1 to {MOST}, or {num_classes} of them"
            raise ConfigError("augmentation.images_per_slice", rule, found="null" if wanted is None else wanted)
        made = np.zeros(len(labels), np.int64)
        for label, factor in enumerate(factors):
            rows = np.flatnonzero((labels == label).to_numpy())
            steps = np.floor(np.arange(len(rows) + 1) * round(factor * len(rows)) / max(1, len(rows)) + 1e-9)
            made[rows] = np.diff(steps).astype(np.int64)
        return (made - 1).tolist()


def with_copies(
    parts: pl.DataFrame, pipeline: albumentations.Compose, labels: pl.DataFrame, *, num_classes: int
) -> pl.DataFrame:
    """One fold of a split with the copies of its training slices; nothing is added to val or test.

    Args:
        parts: Columns ``slice_key copy part``; with copies of its own where the split was asked for some.
        pipeline: An `Expanded` one says how many, unless the split has; any other adds none.
        labels: Columns ``slice_key label`` of the whole cohort, in the manifest's order.
        num_classes: Of the cohort.
    """
    if not isinstance(pipeline, Expanded) or (parts["copy"] > 0).any():
        return parts
    train = labels.join(parts.filter(pl.col("part") == "train"), on="slice_key", maintain_order="left")
    copies = pipeline.copies(train["label"], num_classes=num_classes)
    numbers = [list(range(1, count + 1)) for count in copies]
    added = train.select("slice_key", pl.Series("copy", numbers, dtype=pl.List(parts.schema["copy"])), "part").explode(
        "copy"
    )
    return pl.concat([parts.select(added.columns), added.drop_nulls()])
