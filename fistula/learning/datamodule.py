"""The three parts of one fold of a cohort, as data loaders."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import albumentations
import joblib
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
from fistula.learning.resized import resized
from fistula.learning.sampling import EpochSampler, ProcessSampler
from fistula.learning.slices import DeviceDataset, FeatureDataset, Images, Resize, SliceDataset

AUTO = "auto"
MOST_WORKERS = 8  # 500 to 1600 images a second each, the more so the less they do to an image
SHARE_OF_CARD = 0.1  # of its free memory, that a part of the cohort may take; several runs may share a card


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
        num_workers: Loader processes; 0 loads in the main process; ``auto``: as many as `auto_workers` says.
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
        num_workers: int | str,
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

    @cached_property
    def images(self) -> Images:
        """The cohort's slices at the network's size, as far as any fold or part asks for them."""
        labelled = self.cohort.manifest["label"].is_not_null().to_numpy()
        return resized(self.cohort, self.resize, np.unique(self.channels[labelled]))

    def prepare_data(self) -> None:
        """Resize the cohort, in one process of a run; the others find the file."""
        _ = self.images

    def train_dataloader(self) -> DataLoader:
        augmentation = self.augmentation if self.augmentation.transforms else None
        dataset: Dataset = self._features("train") or self._dataset("train", augmentation)
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
            drop_last=len(sampler) % self.batch_size == 1,  # BatchNorm cannot normalise a batch of one
            **self._loading(dataset, augments=augmentation is not None),
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

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _in_order(self, dataset: Dataset, positions: Sequence[int] | None = None) -> DataLoader:
        return DataLoader(
            dataset,
            sampler=positions,
            batch_size=2 * self.batch_size,
            **self._loading(dataset, augments=False),
        )

    def _loading(self, dataset: Dataset, *, augments: bool) -> dict[str, Any]:
        """How a loader brings a part's slices to the device."""
        on_card = self._device.type == "cuda"
        is_there = not isinstance(dataset, SliceDataset)
        workers = auto_workers(on_card=on_card, augments=augments) if self.num_workers == AUTO else self.num_workers
        workers = 0 if is_there else int(workers)
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0 and augments,
            "pin_memory": on_card and not is_there,  # copies then run beside the network
            "collate_fn": already_a_batch,
            "generator": torch.Generator(),  # else a loader draws from the network's random numbers
        }

    def _slices(self, part: str) -> pl.DataFrame:
        return self.cohort.manifest[self.parts[part][0]]

    def _features(self, part: str) -> FeatureDataset | None:
        if part not in self.features:
            return None
        return FeatureDataset(self.features[part], self._slices(part)["label"].to_numpy())

    def _dataset(self, part: str, augmentation: albumentations.Compose | None) -> SliceDataset | DeviceDataset:
        rows, copies = self.parts[part]
        labels = self.cohort.manifest["label"].fill_null(-1).to_numpy()  # a slice without one is never asked for
        if augmentation is None and not copies.any() and self._fits_card(rows):
            return DeviceDataset(self.images, labels, self.channels, rows, device=self._device)
        return SliceDataset(
            self.images,
            labels,
            self.channels,
            rows,
            copies,
            augmentation=augmentation,
            expansion=self.expansion,
            seed=self.seed,
        )

    def _fits_card(self, rows: NDArray[np.int64]) -> bool:
        """Whether these slices take a small part of what is free on the run's card."""
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self.channels[rows].size * self.resize.image_size**2 < SHARE_OF_CARD * free


def auto_workers(*, on_card: bool, augments: bool) -> int:
    """How many processes load: none where the processor trains, else as many as the run's share of cores pays for."""
    cores = int(os.environ.get("OMP_NUM_THREADS") or joblib.cpu_count())
    return min(MOST_WORKERS, cores - 1) if on_card and augments else 0


def already_a_batch(batch: Any) -> Any:
    """Collate nothing: `SliceDataset.__getitems__` already gives a whole batch."""
    return batch
