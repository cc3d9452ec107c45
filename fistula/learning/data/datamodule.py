"""The three parts of one fold of a cohort, as data loaders."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
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
from fistula.cohort.split_table import PARTS
from fistula.learning.data.bags import BagDataset, Bags, bags_of
from fistula.learning.data.channels import image_rows, with_constants
from fistula.learning.data.covariates import accompanied, spread, values_of
from fistula.learning.data.expansion import Expanded, with_copies
from fistula.learning.data.mixing import Mixed
from fistula.learning.data.resized import resized
from fistula.learning.data.slices import Images, KeptDataset, Resize, SliceDataset, on_card
from fistula.learning.pipeline import following
from fistula.learning.places.points import points_of
from fistula.learning.sampling import AheadLoader, EpochSampler, ProcessSampler
from fistula.learning.training.hardware import auto_workers, with_room

log = logging.getLogger(__name__)

AUTO = "auto"
SHARE_OF_CARD = 0.1  # of its free memory, that a part of the cohort may take; several runs may share a card


class FistulaDataModule(LightningDataModule):
    """Serve the train, val and test slices of one fold.

    Args:
        parts: Columns ``slice_key copy part``, one fold of a split.
        augmentation: Random pipeline for training slices; keeps dtype, shape and range. An `Expanded` one makes copies
            beforehand instead.
        sampler: Called with the training slices and ``seed``; gives what an epoch sees, in order.
        num_slices: That an image is made of; as `image_rows` has it.
        sequences: That an image is made of, if it is.
        batch_size: Bags a batch: slices, or patients.
        num_workers: Loader processes; 0 loads in the main process; ``auto``: as many as `auto_workers` says.
        seed: Of the order and of the augmentation.
        unit: What is scored, a bag: ``slice`` or ``patient``.
        slices_per_step: Of a bag that training draws at each step; None takes all. Evaluation takes all.
        covariates: Names of what else is known of a bag.
        kinds: Of points that training is given, moved with what moves the image; the finding's first.
        are_grades: Whether the classes are; a patient has the highest of the slices'.
        mixup, cutmix: As `Mixed` takes them; with both 0 nothing is mixed.

    Attributes:
        bags: Of each part.
        draws: Whether an epoch draws images anew.
        mixed: Given the training set's slices, the same with each image mixed with another; None where none is.
        known: Covariates of each part's bags, ``(B, C)``; empty without covariates.
        first_epoch: Number of the epoch that training begins with; above 0 where it goes on.
        features: Of the slices of train and val, ``(M, F)``, where a frozen network has seen them before.
    """

    def __init__(
        self,
        cohort: Cohort, parts: pl.DataFrame, *, augmentation: albumentations.Compose,
        sampler: Callable[..., EpochSampler], resize: Resize, num_slices: int, sequences: Sequence[str] = (),
        batch_size: int, num_workers: int | str, seed: int, unit: str = "slice", slices_per_step: int | None = None,
        covariates: Sequence[str] = (), kinds: tuple[str, ...] = (), are_grades: bool = False,
        mixup: float = 0.0, cutmix: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cohort, self.kinds = cohort, kinds
        self.augmentation = following(augmentation) if kinds else augmentation
        self.draws = bool(augmentation.transforms) and not isinstance(augmentation, Expanded)
        labels = cohort.labelled.select("slice_key", "label")
        parts = with_copies(parts, augmentation, labels, num_classes=len(cohort.classes))
        self.resize, self.batch_size, self.num_workers, self.seed = resize, batch_size, num_workers, seed
        self.sequences = tuple(sequences)
        self.channels = image_rows(cohort.manifest, num_slices, sequences)
        self.make_sampler, self.first_epoch = sampler, 0
        self.features: dict[str, Tensor] = {}
        self.mixed = partial(Mixed, mixup=mixup, cutmix=cutmix, seed=seed) if mixup or cutmix else None
        self.slices_per_step = slices_per_step
        taken = partial(bags_of, cohort, parts, unit=unit, are_grades=are_grades)
        self.bags: dict[str, Bags] = {part: taken(part) for part in PARTS}
        self.known: dict[str, Tensor] = {}
        for part, bags in self.bags.items() if covariates else ():
            self.known[part] = values_of(cohort.manifest[bags.rows.tolist()], covariates, bags.sizes)

    @property
    def num_classes(self) -> int:
        """How many logits the network must give."""
        return len(self.cohort.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training bags of each class."""
        return np.bincount(self.bags["train"].labels, minlength=self.num_classes).tolist()

    @cached_property
    def points(self) -> NDArray[np.float32] | None:
        """Of all slices, in the network's input, ``(N, M, 2)``; None where none are asked for."""
        return points_of(self.cohort, self.kinds, image_size=self.resize.image_size) if self.kinds else None

    @cached_property
    def images(self) -> Images:
        """The cohort's slices at the network's size, as far as any fold or part asks for them."""
        # Those of other folds and splits too: all runs share the file.
        labelled = self.cohort.labelled["row"].to_numpy()
        asked = np.concatenate([labelled, *(bags.rows for bags in self.bags.values())])
        rows, count = np.unique(self.channels[asked]), len(self.cohort.manifest)
        kept = resized(self.cohort, self.resize, rows[rows < count])  # the others are constants
        return with_constants(kept, self.sequences)

    def prepare_data(self) -> None:
        """Resize the cohort, in one process of a run; the others find the file."""
        _ = self.images
        if self.num_workers != AUTO and int(self.num_workers) > (cores := joblib.cpu_count()):
            log.warning("num_workers=%s: more processes than the %d cores load no faster", self.num_workers, cores)

    def train_dataloader(self) -> DataLoader:
        dataset = self._dataset("train", draws=self.draws, most=self.slices_per_step)
        sampler = self.make_sampler(self.bags["train"].named(self.cohort.manifest), seed=self.seed)
        if self._world > 1:
            sampler = ProcessSampler(sampler, rank=self._rank, world=self._world)
        # Lightning tells a sampler its epoch, but where training goes on, only after workers have begun to fetch.
        sampler.set_epoch(self.first_epoch)
        fewest = self.bags["train"].sizes.min(initial=self.slices_per_step or len(self.cohort.manifest))
        served = accompanied(dataset, self.known.get("train"))
        return AheadLoader(
            self.mixed(served) if self.mixed else served,
            batch_size=self.batch_size,
            sampler=sampler,
            epochs=self.trainer.max_epochs if self.trainer else None,
            # BatchNorm cannot normalise one image, which the last batch may come to.
            drop_last=bool(fewest == 1) and len(sampler) % self.batch_size == 1,
            **self._loading(dataset, augments=self.draws or bool(self.bags["train"].copies.any())),
        )

    def val_dataloader(self) -> DataLoader:
        dataset = self._dataset("val")
        # Each slice at one process and none twice; what they sum up need not be of the same size.
        own = range(self._rank, len(self.bags["val"]), self._world)
        return self._in_order(dataset, own if self._world > 1 else None, known=self.known.get("val"))

    def part_dataloader(self, part: str) -> DataLoader:
        """Every slice of a part once, in the order of its bags, unaugmented, with what is known of its bag."""
        known = spread(self.known.get(part), self.bags[part].sizes.tolist())
        return self._in_order(self._images(part), known=known)

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _in_order(
        self, dataset: Dataset, positions: Sequence[int] | None = None, *, known: Tensor | None
    ) -> DataLoader:
        return DataLoader(
            accompanied(dataset, known),
            sampler=positions,
            # A bag comes whole, and may be large: as many images as there would be, were each a bag.
            batch_size=max(1, 2 * self.batch_size // self._images_of_a_bag(dataset)),
            **self._loading(dataset, augments=False),
        )

    def _loading(self, dataset: Dataset, *, augments: bool) -> dict[str, Any]:
        """How a loader brings a part's slices to the device."""
        on_card = self._device.type == "cuda"
        is_there = not isinstance(getattr(dataset, "slices", dataset), SliceDataset)
        workers = auto_workers(on_card=on_card, augments=augments) if self.num_workers == AUTO else self.num_workers
        size = self.batch_size * self._images_of_a_bag(dataset) * self.channels.shape[1] * self.resize.image_size**2
        workers = 0 if is_there else with_room(int(workers), batch_bytes=size, is_auto=self.num_workers == AUTO)
        return {
            "num_workers": workers,
            # From Python 3.14 on they would else be sent all slices, each a copy of its own.
            "multiprocessing_context": "fork" if workers and sys.platform == "linux" else None,
            "persistent_workers": workers > 0 and augments,
            "pin_memory": on_card and not is_there,  # copies then run beside the network
            "collate_fn": already_a_batch,
            "generator": torch.Generator(),  # else a loader draws from the network's random numbers
        }

    def _dataset(self, part: str, *, draws: bool = False, most: int | None = None) -> Dataset:
        """The bags of a part; slices that a frozen network has seen before as their features."""
        bags = self.bags[part]
        labels = torch.from_numpy(self._labels[bags.rows])
        if part in self.features:
            slices: Any = KeptDataset(features=self.features[part], label=labels)
        else:
            slices = self._images(part, draws=draws)
        if bags.unit == "slice":
            return slices
        positions = self.positions(part)
        return BagDataset(slices, bags, positions=positions, slice_labels=labels, most=most, seed=self.seed)

    def positions(self, part: str) -> Tensor:
        """Of the slices of a part's bags in mm, float32 ``(N,)``; 0 where a slice has none."""
        known = self.cohort.manifest["position_mm"].fill_null(0.0).to_numpy()
        return torch.from_numpy(known[self.bags[part].rows].astype(np.float32))

    def _images(self, part: str, *, draws: bool = False) -> SliceDataset | KeptDataset:
        bags, seed = self.bags[part], self.seed if draws else None
        augmentation = self.augmentation if draws or bags.copies.any() else None
        slices = SliceDataset(
            self.images, self._labels, self.channels, bags.rows, bags.copies,
            augmentation=augmentation, seed=seed, points=self.points,
        )  # fmt: skip
        return on_card(slices, self._device) if not draws and self._fits_card(bags.rows) else slices

    @property
    def _labels(self) -> NDArray[np.int64]:
        """Of the manifest's slices, -1 where there is none."""
        return self.cohort.manifest["label"].fill_null(-1).to_numpy()

    def _images_of_a_bag(self, dataset: Dataset) -> int:
        """At most; 1 where there are features instead."""
        has_images = isinstance(dataset, BagDataset) and not self.features
        return max(int(bags.sizes.max(initial=1)) for bags in self.bags.values()) if has_images else 1

    def _fits_card(self, rows: NDArray[np.int64]) -> bool:
        """Whether these slices take a small part of what is free on the run's card."""
        if self._device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self._device)
        return self.channels[rows].size * self.resize.image_size**2 < SHARE_OF_CARD * free


def already_a_batch(batch: Any) -> Any:
    """Collate nothing: `SliceDataset.__getitems__` already gives a whole batch."""
    return batch
