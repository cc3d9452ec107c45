"""Mixup and cutmix: each training image blended with another of its batch, and so what the loss asks of it."""

from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import Dataset

from fistula.errors import ConfigError
from fistula.learning.data.channels import OF_SEQUENCES
from fistula.learning.data.slices import Batch


class Mixed(Dataset):
    """Slices as batches in which each image has a part of the one before it, the first of the last.

    What is drawn is one share a batch, which follows from the seed, the epoch and the batch's first slice. Covariates
    are averaged by it; one that is missing of either is missing.

    `mixup` is alpha of the Beta distribution of the share that an image keeps, where two are averaged; 0 for never;
    `cutmix` the same, of the area that it keeps beside a square of the other one. With both, each is as likely.

    Source:
        Zhang et al. (2018), mixup, arXiv 1710.09412. Yun et al. (2019), CutMix, arXiv 1905.04899.
    """

    def __init__(self, slices: Any, *, mixup: float, cutmix: float, seed: int) -> None:
        self.slices, self.mixup, self.cutmix, self.seed = slices, mixup, cutmix, seed

    def __len__(self) -> int:
        return len(self.slices)

    def __getitems__(self, draws: list[int]) -> Batch:
        """Fetch a whole batch, with the ``other`` label of each slice and the ``share`` of its own."""
        batch: Batch = self.slices.__getitems__(draws)
        random = np.random.default_rng((self.seed, *divmod(draws[0], len(self))))
        cuts = bool(self.cutmix) and not (self.mixup and random.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share, image = float(random.beta(alpha, alpha)), batch["image"]
        if cuts:
            rows, columns = square(random, image.shape[-1], area=1 - share)
            mixed = image.clone()
            mixed[..., rows, columns] = image.roll(1, 0)[..., rows, columns]
            share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / image[0, 0].numel()
        else:
            mixed = _mean(image.float(), share).round().to(image.dtype)
        found: Batch = {**batch, "image": mixed, "other": batch["label"].roll(1, 0), "share": share}
        return found | {"covariates": _mean(batch["covariates"], share)} if "covariates" in batch else found


def square(random: Generator, side: int, *, area: float) -> tuple[slice, slice]:
    """Rows and columns of a square with this part of an image's area, less where it would leave the image."""
    half = side * area**0.5 / 2
    centers = random.uniform(0, side, 2)
    low, high = (np.rint((centers + shift).clip(0, side)).astype(int).tolist() for shift in (-half, half))
    return slice(low[0], high[0]), slice(low[1], high[1])


def check_mixing(cfg: Any) -> None:
    """Raise ConfigError where mixed images would have no meaning, or there are none to mix."""
    channels = cfg.model.get("channels")
    refused = {
        f"unit={cfg.unit}, whose slices belong together": cfg.unit != "slice",
        "head=locate, which learns a location in one image": not cfg.head._target_.endswith(".Classify"),
        f"model.channels={channels}, which may lack a sequence of either image": channels in OF_SEQUENCES,
        "model=clinical, which uses no image": cfg.model.architecture == "clinical",
    }
    for key in ("mixup", "cutmix"):
        for option, is_so in refused.items():
            if cfg[key] and is_so:
                raise ConfigError(key, f"is not for {option}", found=cfg[key], remedy=f"Set {key}=0")


def _mean(values: Tensor, share: float) -> Tensor:
    return torch.lerp(values.roll(1, 0), values, share)
