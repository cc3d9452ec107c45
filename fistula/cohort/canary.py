"""Labels for a canary: permuted by patient, so that a network that still does well has seen the patients before."""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import Cohort
from fistula.cohort.split_table import PARTS
from fistula.errors import DataError

DRAWS = 200  # permutations to choose among


def given(cohort: Cohort, split_table: pl.DataFrame) -> Cohort:
    """The cohort as it is."""
    return cohort


def permuted_by_patient(cohort: Cohort, split_table: pl.DataFrame, *, seed: int) -> Cohort:
    """The cohort with every patient's labels replaced by those of another, the same in every fold and part.

    Labels follow the order of the slices; where the other patient has more or fewer slices, they are stretched. Of many
    draws it takes the one least associated with the true labels: a network that learned those would otherwise stand
    above or below 0.5 by the luck of the draw.

    The cohort is not changed; the split, columns ``slice_key fold part``, was drawn with the true labels.

    Raises:
        DataError: If no draw leaves every part of every fold with two classes.

    Source:
        Ojala & Garriga (2010), J Mach Learn Res 11, 1833-1863: permutation of labels as a test of a classifier.
    """
    manifest = cohort.labelled
    rows = [part["row"].to_numpy() for part in manifest.partition_by("patient_key", maintain_order=True)]
    labels = cohort.manifest["label"].fill_null(-1).to_numpy()
    places = _places(manifest, split_table)
    random = np.random.default_rng(seed)
    draws = (_permute(labels, rows, random.permutation(len(rows))) for _ in range(DRAWS))
    usable = [draw for draw in draws if all(len(np.unique(draw[place])) > 1 for place in places)]
    if not usable:
        rule = "needs a permutation that leaves two classes in every set of the split"
        remedy = "Use fewer folds, or another labelling.seed"
        raise DataError("labelling=permuted_by_patient", rule, found=f"none in {DRAWS} draws", remedy=remedy)
    kept = manifest["row"].to_numpy()
    best = min(usable, key=lambda draw: _association(labels[kept], draw[kept]))
    return replace(
        cohort, manifest=cohort.manifest.with_columns(label=pl.Series(best, dtype=pl.Int64).replace(-1, None))
    )


def _places(manifest: pl.DataFrame, split_table: pl.DataFrame) -> list[NDArray[np.int64]]:
    """The rows of each part of each fold."""
    table = split_table.join(manifest.select("slice_key", "row"), on="slice_key")
    return [
        table.filter((pl.col("fold") == fold) & (pl.col("part") == part))["row"].to_numpy()
        for fold in table["fold"].unique()
        for part in PARTS
    ]


def _permute(labels: NDArray[np.int64], rows: list[NDArray[np.int64]], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the slices of each patient the labels of the patient that `order` names."""
    permuted = labels.copy()
    for mine, other in zip(rows, order, strict=True):
        theirs = labels[rows[other]]
        permuted[mine] = theirs[np.arange(len(mine)) * len(theirs) // len(mine)]
    return permuted


def _association(labels: NDArray[np.int64], permuted: NDArray[np.int64]) -> float:
    """Mean square contingency of two labellings of the same slices: 0 where one says nothing of the other."""
    counts = np.zeros((labels.max() + 1, labels.max() + 1))
    np.add.at(counts, (labels, permuted), 1)
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    return float(np.sum((counts - expected) ** 2 / np.where(expected > 0, expected, 1)) / counts.sum())
