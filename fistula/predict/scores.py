"""What runs see in slices, and what slices, bags, series and patients come to: scores, their range, the decision."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.evidence.aggregate import patient_scores
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

    Features are as `look` gives them, of the N slices of the table, in the order in which they lie; `by` is the column,
    empty for each slice by itself.
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


def slice_scores(table: pl.DataFrame, probabilities: NDArray[np.float64], runs: Sequence[LoadedRun]) -> pl.DataFrame:
    """Add to each of N slices what the runs say of it, with the probabilities ``(runs, N, K)`` of the classes.

    Returns:
        `table` with ``score`` (mean over the runs; more than two classes: ``score_CLASS`` each), ``score_low`` and
        ``score_high`` (the lowest and highest of the runs, null for one run; two classes only) and ``decision``.
    """
    return table.hstack(_columns(probabilities, runs, [run.threshold for run in _binary(runs)]))


def group_scores(
    table: pl.DataFrame,
    probabilities: NDArray[np.float64],
    runs: Sequence[LoadedRun],
    *,
    by: str,
    kept: Sequence[str] = (),
    pooled: NDArray[np.float64] | None = None,
) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """One row a series or patient, in the order of their keys, each run aggregating its slices by its own rule.

    In other columns that are `kept`, the slices of a group agree; `pooled` is what runs that score bags make of the
    groups, ``(runs, groups, K)``. Gives columns `by`, `kept`, ``slices`` and those that `slice_scores` adds; and the
    aggregated ``(runs, groups, K)``.
    """
    groups = table[by].to_numpy()
    keys, first, counts = np.unique(groups, return_index=True, return_counts=True)
    aggregated = np.empty((len(runs), len(keys), probabilities.shape[2])) if pooled is None else pooled
    is_binary = len(runs[0].classes) == 2
    for index, run in enumerate(runs if pooled is None else ()):
        for column, name in enumerate(run.classes):
            if is_binary and column == 0:
                continue  # it is what the other leaves
            rule = run.rule(name)
            scores = probabilities[index, :, column]
            aggregated[index, :, column] = patient_scores(np.zeros(len(groups), int), scores, groups, rule=rule)[2]
    if is_binary:
        aggregated[..., 0] = 1 - aggregated[..., 1]
    rows = table[[by, *kept]][first]
    columns = _columns(aggregated, runs, [run.patient_threshold for run in _binary(runs)])
    return rows.hstack([pl.Series("slices", counts), *columns]), aggregated


def _binary(runs: Sequence[LoadedRun]) -> Sequence[LoadedRun]:
    """The runs where there are two classes, and so a threshold."""
    return runs if len(runs[0].classes) == 2 else []


def _columns(
    probabilities: NDArray[np.float64], runs: Sequence[LoadedRun], thresholds: Sequence[float]
) -> list[pl.Series]:
    classes = runs[0].classes
    mean = probabilities.mean(axis=0)
    if not thresholds:
        likeliest = [classes[index] for index in mean.argmax(axis=1)]
        return [pl.Series(f"score_{name}", mean[:, column]) for column, name in enumerate(classes)] + [
            pl.Series("decision", likeliest, dtype=pl.String())
        ]
    scores = probabilities[:, :, 1]
    # Runs share no scale: what counts is how far each is beyond its own threshold, on average.
    is_positive = (scores - np.array(thresholds)[:, None]).mean(axis=0) >= 0
    one = len(runs) == 1
    return [
        pl.Series("score", mean[:, 1]),
        pl.Series("score_low", [None] * len(mean) if one else scores.min(axis=0), dtype=pl.Float64()),
        pl.Series("score_high", [None] * len(mean) if one else scores.max(axis=0), dtype=pl.Float64()),
        pl.Series("decision", [classes[int(positive)] for positive in is_positive], dtype=pl.String()),
    ]
