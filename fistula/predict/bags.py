"""What runs see in slices, and what bags of them come to."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.learning.building.judging import judge, see
from fistula.learning.data.slices import as_batch
from fistula.learning.heads import marks_of
from fistula.predict.runs.known import known_of_slices
from fistula.predict.runs.model import LoadedRun

BATCH = 64
GROUPS = {"slice": (), "patient": ("series_key", "patient_key")}
"""By unit, the columns whose groups a run pools itself; those of the others get what their slices come to."""


@torch.inference_mode()
def look(
    runs: Sequence[LoadedRun], pixels: NDArray[np.uint8], channels: NDArray[np.int64], known: Tensor | None = None
) -> tuple[list[Tensor], Tensor]:
    """What each run sees in images, each ``(N, F)``, as `judge` takes it; and the marks of the mean maps ``(N, M, 3)``.

    Images are made of the rows ``(N, C)`` of slices ``(M, size, size)``; their covariates are ``(N, V)``.

    Marks are in pixels of the slices, as `fistula.learning.heads.marks_of` has them; M is 0 for runs that find none.
    """
    found: list[list[Tensor]] = [[] for _ in runs]
    marks = [torch.zeros(0, len(runs[0].classifier.head.kinds), 3)]
    for start in range(0, len(channels), BATCH):
        batch = as_batch(pixels[channels[start : start + BATCH]], runs[0].resize)
        maps = []
        for run, own in zip(runs, found, strict=True):
            device = run.classifier.device
            of_images = None if known is None else known[start : start + BATCH].to(device)
            seen, of_run = see(run.classifier, batch.to(device), of_images)
            own.append(seen)
            maps.append(of_run.cpu())
        marks.append(marks_of(torch.stack(maps).mean(dim=0), size=pixels.shape[-1]))
    return [torch.cat(own) for own in found], torch.cat(marks)


@torch.inference_mode()
def alone(runs: Sequence[LoadedRun], seen: Sequence[Tensor]) -> NDArray[np.float64]:
    """Class probabilities of slices by themselves ``(runs, N, K)``, without covariates that were not seen with them."""
    found = []
    for run, own in zip(runs, seen, strict=True):
        scores, _, _ = judge(run.classifier, own, [1] * len(own), own.new_zeros(len(own)))
        found.append(scores.cpu().double().numpy())
    return np.stack(found)


@torch.inference_mode()
def pooled(
    runs: Sequence[LoadedRun], features: Sequence[Tensor], table: pl.DataFrame, *, by: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Class probabilities of the bags that a column forms, sorted by it, ``(runs, B, K)``; and weights ``(N,)``.

    A slice's weight in its bag is the mean over the runs.

    Args:
        runs: Of one configuration.
        features: As `look` gives them.
        table: The N slices, in the order in which they lie.
        by: The column; empty for each slice by itself.
    """
    groups = table[by].to_numpy() if by else np.arange(len(table))
    _, sizes = np.unique(groups, return_counts=True)
    order = np.argsort(groups, kind="stable")
    known = known_of_slices(runs[0], table)
    if known is not None:
        known = known[torch.from_numpy(order[np.cumsum(sizes) - sizes])]
    positions = torch.from_numpy(np.nan_to_num(table["position_mm"].to_numpy()).astype(np.float32)[order])
    found, weights = [], np.zeros(len(table))
    for run, of_run in zip(runs, features, strict=True):
        device = run.classifier.device
        of_bags = None if known is None else known.to(device)
        ordered = of_run[torch.from_numpy(order)]
        bags, own, _ = judge(run.classifier, ordered, sizes.tolist(), positions.to(device), of_bags)
        found.append(bags.cpu().double().numpy())
        weights[order] += own.cpu().double().numpy() / len(runs)
    return np.stack(found), weights
