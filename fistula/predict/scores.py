"""From slices to series and patients: scores of every run, their middle and their range, and the decision."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.aggregate import patient_scores
from fistula.predict.runs.model import LoadedRun


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
    groups, ``(runs, groups, K)``.

    Returns:
        Columns `by`, `kept`, ``slices`` and those that `slice_scores` adds; and the aggregated ``(runs, groups, K)``.
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
    rows = pl.DataFrame([table[name].gather(first) for name in (by, *kept)])
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
