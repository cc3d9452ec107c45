"""Fewer training patients, nested, so that a study can say whether more of them would help."""

import numpy as np
import polars as pl

from fistula.errors import ConfigError


def thinned(cohort_rows: pl.DataFrame, parts: pl.DataFrame, fraction: float, *, seed: int) -> pl.DataFrame:
    """A split that trains on fewer patients; its other parts stay as they are.

    Patients of each class (the highest of their slices') stand in one random order, whatever the fraction and the fold,
    and the first of those in training stay: the patients of a smaller fraction are among those of a larger one.

    Args:
        cohort_rows: The labelled slices in the cohort's order: columns ``slice_key patient_key label``.
        parts: Of one fold: columns ``slice_key part``.
        fraction: Of the training patients of each class, in (0, 1]; at least one of each stays.
        seed: Of the order.

    Raises:
        ConfigError: If the fraction is not in (0, 1].
    """
    check_fraction(fraction)
    if fraction == 1:
        return parts
    patients = cohort_rows.group_by("patient_key", maintain_order=True).agg(pl.col("label").max())
    order = np.random.default_rng([seed, 2]).permutation(len(patients))
    trained = parts.filter(pl.col("part") == "train").join(cohort_rows, on="slice_key")["patient_key"].unique()
    turns = patients.with_columns(turn=pl.Series(order)).filter(pl.col("patient_key").is_in(trained.implode()))
    kept = turns.filter(pl.col("turn").rank("ordinal").over("label") <= (pl.len().over("label") * fraction).ceil())
    rows = cohort_rows.filter(pl.col("patient_key").is_in(kept["patient_key"].implode()))["slice_key"]
    return parts.filter((pl.col("part") != "train") | pl.col("slice_key").is_in(rows.implode()))


def check_fraction(fraction: object) -> None:
    """Raise a ConfigError unless it is a number in (0, 1]."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise ConfigError("split.train_fraction", "must be a number above 0 and at most 1", found=fraction)
