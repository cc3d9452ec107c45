"""What is scored: a slice, or a patient with all slices, one bag; a slice is a bag of one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fistula.cohort.manifest import Cohort
from fistula.errors import ConfigError, DataError, count, refuse_other
from fistula.learning.data.slices import Batch

# By unit, the column that names what is scored, and how a report tells one from another.
KEYS = {"slice": "slice_key", "patient": "patient_key"}
FACTORS = {"slice": "slice", "patient": "patient, {pooling} pooling"}
ORDERED = ("patient_key", "series_key")  # as the cohort has them, by content: pseudonyms have no say in what is learned


@dataclass(frozen=True)
class Bags:
    """B bags of N slices, one bag's slices after another's."""

    rows: NDArray[np.int64]  # of the manifest, ``(N,)``
    # For each slice 0, or the number of a jittered copy of it made before the split, ``(N,)``.
    copies: NDArray[np.int64]
    sizes: NDArray[np.int64]  # slices of each bag, at least 1, ``(B,)``; their sum is N
    labels: NDArray[np.int64]  # of the bags, ``(B,)``
    unit: str  # what they are, one of `KEYS`

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each bag's slices begin, ``(B,)``."""
        return np.cumsum(self.sizes) - self.sizes

    def named(self, manifest: pl.DataFrame) -> pl.DataFrame:
        """Rows of a manifest, one a bag: that of its first slice, with the bag's label and ``copy``.

        Only a slice that is a bag of its own has a ``slice_key``.
        """
        first = self.starts
        rows = manifest[self.rows[first].tolist()].with_columns(
            pl.Series("label", self.labels), pl.Series("copy", self.copies[first])
        )
        return rows if self.unit == "slice" else rows.with_columns(slice_key=pl.lit(None, pl.String))


class BagDataset(Dataset):
    """Bags of a part, as batches whose slices stand one bag after another; asked for as a `SliceDataset` is.

    Args:
        slices: The bags' slices, one bag's after another's: a dataset of images or of features.
        positions: Of the slices in mm, ``(N,)``.
        slice_labels: ``(N,)``, -1 where there is none.
        most: Slices that are drawn from a bag, anew each epoch; None takes all.
    """

    def __init__(
        self, slices: Any, bags: Bags, *, positions: Tensor, slice_labels: Tensor, most: int | None, seed: int
    ) -> None:
        self.slices, self.bags, self.most, self.seed = slices, bags, most, seed
        self.positions, self.slice_labels = positions, slice_labels

    def __len__(self) -> int:
        return len(self.bags)

    def __getitems__(self, draws: list[int]) -> Batch:
        """Fetch a whole batch."""
        chosen = [self._slices(*divmod(draw, len(self))) for draw in draws]
        positions = np.concatenate([numbers for _, numbers in chosen])
        epochs = np.concatenate([np.full(len(numbers), epoch) for epoch, numbers in chosen])
        batch = self.slices.__getitems__((epochs * len(self.slices) + positions).tolist())
        places = torch.from_numpy(positions)
        return batch | {
            "label": torch.from_numpy(self.bags.labels[np.array(draws) % len(self)]),
            "sizes": [len(numbers) for _, numbers in chosen],
            "position": self.positions[places],
            "slice_label": self.slice_labels[places],
        }

    def _slices(self, epoch: int, bag: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch, and places of a bag's slices that it sees: all, or as many as may be, in their order."""
        start, size = self.bags.starts[bag], self.bags.sizes[bag]
        numbers = np.arange(start, start + size)
        if self.most is not None and size > self.most:
            random = np.random.default_rng((self.seed, epoch, int(self.bags.rows[start])))
            numbers = np.sort(random.choice(numbers, self.most, replace=False))
        return epoch, numbers


def bags_of(cohort: Cohort, parts: pl.DataFrame, part: str, *, unit: str, are_grades: bool = False) -> Bags:
    """The bags of one part of a fold, of which `parts` has columns ``slice_key copy part``.

    By slice, every slice that the split names is a bag. By patient, a bag has every eligible slice of a patient whom
    the split names, with a label or without, in the order in which they lie: by series, stack and position.

    Raises:
        ConfigError: If the unit is neither.
        DataError: If by patient, and a patient stands in two parts, or classes of a patient cannot be made one.
    """
    refuse_other("unit", unit, KEYS)
    images = parts.join(cohort.labelled.select("slice_key", "row", "patient_key", "label"), on="slice_key")
    if unit == "patient":
        return _of_patients(cohort, images, part, are_grades=are_grades)
    chosen = images.filter(pl.col("part") == part).sort("row", "copy")
    ones = np.ones(len(chosen), np.int64)
    return Bags(chosen["row"].to_numpy(), chosen["copy"].to_numpy(), ones, chosen["label"].to_numpy(), unit)


def with_labels_of_bags(slices: pl.DataFrame, unit: str, *, num_classes: int, are_grades: bool) -> pl.DataFrame:
    """Add ``of_bag``, the label of the bag that each slice of a cohort is in; null where that has none.

    Raises:
        DataError: As `patient_labels`.
    """
    if unit == "slice":
        return slices.with_columns(of_bag="label")
    labels = patient_labels(slices, num_classes=num_classes, are_grades=are_grades).rename({"label": "of_bag"})
    return slices.join(labels, on="patient_key", how="left", maintain_order="left")


def check_bags(cfg: Any, cohort: Cohort, parts: pl.DataFrame) -> None:
    """Refuse, before training, a unit of which bags cannot be made, and whatever does nothing to it.

    Raises:
        ConfigError: If a key is for the other unit.
        DataError: As `bags_of`.
    """
    steps, weight, rule = cfg.slices_per_step, cfg.slice_weight, cfg.aggregation
    if cfg.unit == "slice":
        why = "is for unit=patient: a single slice leaves nothing to pool"
        if not cfg.pooling._target_.endswith(".Mean"):
            found = str(cfg.pooling._target_).rpartition(".")[2]
            raise ConfigError("pooling", why, found=found, remedy="Set unit=patient, or pooling=mean")
        if weight:
            raise ConfigError("slice_weight", why, found=weight, remedy="Set unit=patient, or slice_weight=0")
    else:
        bags_of(cohort, parts, "train", unit=cfg.unit, are_grades=str(cfg.loss._target_).endswith(".Ordinal"))
        if rule != "mean":
            why = "is for unit=slice: with unit=patient the network gives a patient one score"
            raise ConfigError("aggregation", why, found=rule, remedy="Leave it out; pooling=max is like max")
        level = cohort.record.get("label_level", "slice")
        if weight and level != "slice":
            why = f"needs labels of slices: this cohort's are those of a {level}, spread over its slices"
            raise ConfigError("slice_weight", why, found=weight, remedy="Say slice_weight=0")
    if not isinstance(steps, int | None) or isinstance(steps, bool):
        raise ConfigError("slices_per_step", "must be a whole number, or null for all", found=steps)


def patient_labels(manifest: pl.DataFrame, *, num_classes: int, are_grades: bool = False) -> pl.DataFrame:
    """The class of each patient: the one the table gave to the patient, else the highest of the slices'.

    Columns are ``patient_key label``, sorted; patients without a label are left out.

    Raises:
        DataError: If there are more than two classes that are no grades, and a patient whose slices differ in class has
            none of their own.
    """
    found = manifest.group_by("patient_key").agg(
        own=pl.col("patient_label").drop_nulls().first(),
        highest=pl.col("label").max(),
        classes=pl.col("label").drop_nulls().n_unique(),
    )
    torn = found.filter(pl.col("own").is_null() & (pl.col("classes") > 1))
    if num_classes > 2 and len(torn) and not are_grades:
        rule = "needs one class per patient if there are more than two classes"
        several = f"{count(len(torn), 'patient')} with slices of several"
        remedy = "Give the patients' own in a table with labels.level=patient; for grades, set loss=ordinal"
        raise DataError("unit=patient", rule, found=several, remedy=remedy)
    labels = found.select("patient_key", label=pl.coalesce("own", "highest")).drop_nulls()
    return labels.sort("patient_key")


def _of_patients(cohort: Cohort, images: pl.DataFrame, part: str, *, are_grades: bool) -> Bags:
    torn = images.group_by("patient_key").agg(pl.col("part").n_unique()).filter(pl.col("part") > 1)
    if len(torn):
        remedy = "Use a split by patient, such as split=patient_kfold"
        found = f"{count(len(torn), 'patient')} in several sets"
        raise DataError("unit=patient", "needs each patient in one set of the split", found=found, remedy=remedy)
    if (images["copy"] > 0).any():
        rule, remedy = "takes each slice once, and no copies made beforehand", "Use augmentation=color_jitter"
        raise DataError("unit=patient", rule, remedy=remedy)
    wanted = images.filter(pl.col("part") == part)["patient_key"].unique()
    labels = patient_labels(cohort.manifest, num_classes=len(cohort.classes), are_grades=are_grades)
    slices = (
        cohort.grid.filter(pl.col("patient_key").is_in(wanted.implode()))
        .join(labels.rename({"label": "of_patient"}), on="patient_key")
        .sort(*(pl.col("row").min().over(key) for key in ORDERED), "volume", "position_mm", "row", nulls_last=True)
    )
    bags = slices.group_by("patient_key", maintain_order=True).agg(pl.len(), pl.col("of_patient").first())
    none = np.zeros(len(slices), np.int64)
    sizes = bags["len"].cast(pl.Int64).to_numpy()
    return Bags(slices["row"].to_numpy(), none, sizes, bags["of_patient"].to_numpy(), "patient")
