"""What runs see in slices: scores and marks, or features and what bags of them come to."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.learning.data.slices import as_batch
from fistula.learning.heads import marks_of
from fistula.predict.runs.known import known_of_slices
from fistula.predict.runs.model import LoadedRun

BATCH = 64


@torch.inference_mode()
def look(
    runs: Sequence[LoadedRun], pixels: NDArray[np.uint8], channels: NDArray[np.int64], known: Tensor | None = None
) -> tuple[NDArray[np.float64], Tensor]:
    """Class probabilities of images ``(runs, N, K)``, and the marks of the mean maps ``(N, M, 3)``.

    Marks are in pixels of the slices, as `fistula.learning.heads.marks_of` has them; M is 0 for runs that find none.

    Args:
        runs: Of one configuration.
        pixels: Slices ``(M, size, size)``.
        channels: Rows of those that each image is made of, ``(N, C)``.
        known: Covariates of the images, ``(N, V)``, for runs that have any.
    """
    found = np.empty((len(runs), len(channels), len(runs[0].classes)))
    marks = [torch.zeros(0, len(runs[0].classifier.head.kinds), 3)]
    for start in range(0, len(channels), BATCH):
        batch = as_batch(pixels[channels[start : start + BATCH]], runs[0].resize)
        maps = []
        for index, run in enumerate(runs):
            own = None if known is None else known[start : start + BATCH].to(run.classifier.device)
            scores, of_run = run.classifier.find(batch.to(run.classifier.device), own)
            found[index, start : start + len(batch)] = scores.cpu().double().numpy()
            maps.append(of_run.cpu())
        marks.append(marks_of(torch.stack(maps).mean(dim=0), size=pixels.shape[-1]))
    return found, torch.cat(marks)


@torch.inference_mode()
def bag_features(
    runs: Sequence[LoadedRun], pixels: NDArray[np.uint8], channels: NDArray[np.int64]
) -> tuple[list[Tensor], Tensor]:
    """What each run's network makes of images before they are pooled, each ``(N, F)``; and the marks of the mean maps.

    Marks are ``(N, M, 3)``, in pixels of the slices, as `fistula.learning.heads.marks_of` has them.

    Args:
        runs: Of one configuration.
        pixels: Slices ``(M, size, size)``.
        channels: Rows of those that each image is made of, ``(N, C)``.
    """
    found: list[list[Tensor]] = [[] for _ in runs]
    marks = []
    for start in range(0, len(channels), BATCH):
        batch = as_batch(pixels[channels[start : start + BATCH]], runs[0].resize)
        maps = []
        for run, own in zip(runs, found, strict=True):
            features, of_run = run.classifier.features(batch.to(run.classifier.device))
            own.append(features)
            maps.append(of_run.cpu())
        marks.append(marks_of(torch.stack(maps).mean(dim=0), size=pixels.shape[-1]))
    return [torch.cat(own) for own in found], torch.cat(marks)


@torch.inference_mode()
def pooled(
    runs: Sequence[LoadedRun], features: Sequence[Tensor], table: pl.DataFrame, *, by: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class probabilities of the bags that a column forms, sorted by it, ``(runs, B, K)``; and weights ``(N,)``.

    A slice's weight in its bag is the mean over the runs.

    Args:
        runs: Of one configuration.
        features: As `bag_features` gives them.
        table: The N slices, in the order in which they lie.
        by: The column; empty for each slice by itself.
    """
    groups = table[by].to_numpy() if by else np.arange(len(table))
    _, sizes = np.unique(groups, return_counts=True)
    order = np.argsort(groups, kind="stable")
    known = known_of_slices(runs[0], table)
    if known is not None:
        known = known[torch.from_numpy(order[np.cumsum(sizes) - sizes])]
    positions = torch.from_numpy(table["position_mm"].fill_null(0.0).to_numpy().astype(np.float32)[order])
    found, weights = [], np.zeros(len(table))
    for run, of_run in zip(runs, features, strict=True):
        device = run.classifier.device
        of_bags = None if known is None else known.to(device)
        ordered = of_run[torch.from_numpy(order)]
        bags, own, _ = run.classifier.pool(ordered, sizes.tolist(), positions.to(device), of_bags)
        found.append(bags.cpu().double().numpy())
        weights[order] += own.cpu().double().numpy() / len(runs)
    return np.stack(found), weights
