"""Runs that score bags of slices: features of the slices, and what they come to together."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.learning.slices import as_batch
from fistula.predict.model import LoadedRun

BATCH = 64


@torch.inference_mode()
def bag_features(runs: Sequence[LoadedRun], pixels: NDArray[np.uint8], channels: NDArray[np.int64]) -> list[Tensor]:
    """What each run's network makes of images before they are pooled, each ``(N, F)``.

    Args:
        runs: Of one configuration.
        pixels: Slices ``(M, size, size)``.
        channels: Rows of those that each image is made of, ``(N, C)``.
    """
    found: list[list[Tensor]] = [[] for _ in runs]
    for start in range(0, len(channels), BATCH):
        batch = as_batch(pixels[channels[start : start + BATCH]], runs[0].resize)
        for run, own in zip(runs, found, strict=True):
            own.append(run.classifier.backbone.features(batch.to(run.classifier.device)))
    return [torch.cat(own) for own in found]


@torch.inference_mode()
def pooled(
    runs: Sequence[LoadedRun], features: Sequence[Tensor], table: pl.DataFrame, *, by: str
) -> NDArray[np.float64]:
    """Class probabilities of the bags that a column forms, sorted by it, ``(runs, B, K)``.

    Args:
        runs: Of one configuration.
        features: As `bag_features` gives them.
        table: The N slices, in the order in which they lie.
        by: The column; empty for each slice by itself.
    """
    groups = table[by].to_numpy() if by else np.arange(len(table))
    _, sizes = np.unique(groups, return_counts=True)
    order = np.argsort(groups, kind="stable")
    positions = torch.from_numpy(table["position_mm"].fill_null(0.0).to_numpy().astype(np.float32)[order])
    found = []
    for run, of_run in zip(runs, features, strict=True):
        device = run.classifier.device
        bags, _, _ = run.classifier.pool(of_run[torch.from_numpy(order)], sizes.tolist(), positions.to(device))
        found.append(bags.double().cpu().numpy())
    return np.stack(found)
