"""The three parts of one fold of a cohort, as data loaders."""

from collections.abc import Callable, Sequence
from typing import Any

import albumentations
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fistula.cohort.manifest import Cohort
from fistula.learning.adjacent import channel_rows
from fistula.learning.expansion import Expanded, with_copies
from fistula.learning.sampling import EpochSampler, ProcessSampler
from fistula.learning.slices import FeatureDataset, Resize, SliceDataset


class FistulaDataModule(LightningDataModule):
    """Serve the train, val and test slices of one fold.

    Args:
        cohort: As `fistula ingest` wrote it.
        parts: Columns ``slice_key copy part``, one fold of a split.
        expansion: What makes the copies of slices that a split by image may ask for.
        augmentation: Random pipeline for training slices; keeps dtype, shape and range. An `Expanded` one makes copies
            of them beforehand instead.
        sampler: Called with the training slices and ``seed``; gives what an epoch sees, in order.
        resize: To the network's input.
        num_slices: That an image is made of; as `channel_rows` has it.
        batch_size: Slices a batch.
        num_workers: Loader processes; 0 loads in the main process.
        seed: Of the order and of the augmentation.

    Attributes:
        first_epoch: Number of the epoch that training begins with; above 0 where it goes on.
        features: Of the slices of train and val, ``(M, F)``, where a frozen network has seen them before.
    """

    def __init__(
        self,
        cohort: Cohort,
        parts: pl.DataFrame,
        *,
        expansion: albumentations.Compose,
        augmentation: albumentations.Compose,
        sampler: Callable[..., EpochSampler],
        resize: Resize,
        num_slices: int,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.cohort = cohort
        self.expansion, self.augmentation = expansion, augmentation
        if isinstance(augmentation, Expanded):
            labels = cohort.labelled.select("slice_key", "label")
            parts = with_copies(parts, augmentation, labels, num_classes=len(cohort.classes))
            # From here on the copies are slices like others: no epoch draws anything anew.
            self.expansion, self.augmentation = augmentation, albumentations.Compose([], seed=seed)
        self.resize, self.batch_size, self.num_workers, self.seed = resize, batch_size, num_workers, seed
        self.channels = channel_rows(cohort.manifest, num_slices)
        self.make_sampler = sampler
        self.first_epoch = 0
        self.features: dict[str, Tensor] = {}
        images = parts.join(cohort.labelled.select("slice_key", "row"), on="slice_key").sort("row", "copy")
        self.parts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for part in ("train", "val", "test"):
            of_part = images.filter(pl.col("part") == part)
            self.parts[part] = of_part["row"].to_numpy(), of_part["copy"].to_numpy()

    @property
    def num_classes(self) -> int:
        """How many logits the network must give."""
        return len(self.cohort.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training slices of each class."""
        return np.bincount(self._slices("train")["label"].to_numpy(), minlength=self.num_classes).tolist()

    def train_dataloader(self) -> DataLoader:
        dataset: Dataset = self._features("train") or self._dataset("train", self.augmentation)
        slices = self._slices("train")
        sampler = self.make_sampler(slices, seed=self.seed)
        # Lightning tells a sampler its epoch, but where training goes on, only after workers have begun to fetch.
        sampler.set_epoch(self.first_epoch)
        if self._world > 1:
            sampler = ProcessSampler(sampler, rank=self._rank, world=self._world)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=already_a_batch,
            drop_last=len(sampler) % self.batch_size == 1,  # BatchNorm cannot normalise a batch of one
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # else a loader draws from the network's random numbers
        )

    def val_dataloader(self) -> DataLoader:
        dataset = self._features("val") or self._dataset("val", None)
        # Each slice at one process and none twice; what they sum up need not be of the same size.
        own = range(self._rank, len(dataset), self._world)
        return self._in_order(dataset, own if self._world > 1 else None)

    def part_dataloader(self, part: str) -> DataLoader:
        """Every slice of a part once, in the manifest's order, unaugmented."""
        return self._in_order(self._dataset(part, None))

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _in_order(self, dataset: Dataset, positions: Sequence[int] | None = None) -> DataLoader:
        return DataLoader(
            dataset,
            sampler=positions,
            batch_size=2 * self.batch_size,
            num_workers=self.num_workers,
            collate_fn=already_a_batch,
            generator=torch.Generator(),
        )

    def _slices(self, part: str) -> pl.DataFrame:
        return self.cohort.manifest[self.parts[part][0]]

    def _features(self, part: str) -> FeatureDataset | None:
        if part not in self.features:
            return None
        return FeatureDataset(self.features[part], self._slices(part)["label"].to_numpy())

    def _dataset(self, part: str, augmentation: albumentations.Compose | None) -> SliceDataset:
        return SliceDataset(
            self.cohort.pixels,
            self.cohort.manifest["label"].fill_null(-1).to_numpy(),  # a slice without one is never asked for
            self.channels,
            *self.parts[part],
            resize=self.resize,
            augmentation=augmentation,
            expansion=self.expansion,
            seed=self.seed,
        )


def already_a_batch(batch: Any) -> Any:
    """Collate nothing: `SliceDataset.__getitems__` already gives a whole batch."""
    return batch
