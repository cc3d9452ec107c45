"""What a run tells its experiment tracker: everything that describes it, then its results, then that it ended."""

import os
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B would otherwise call home when it fails
os.environ.setdefault("WANDB_SILENT", "true")  # its lines at start and end; a failure still raises

import numpy as np
import polars as pl
import wandb
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger, WandbLogger

from fistula.evidence.roc import roc_curve


def record_results(
    logger: Logger, metrics: dict[str, float], predictions: pl.DataFrame, operating_point: dict[str, Any]
) -> None:
    """Send final metrics; to W&B as the run's summary, with tables of the test ROC and the confusion counts.

    Args:
        logger: Of the run.
        metrics: Flat, by ``part/level/name``.
        predictions: As in `predictions.parquet`.
        operating_point: As in `run.json`; with more than two classes, by class.
    """
    if not isinstance(logger, WandbLogger):
        logger.log_metrics({name: value for name, value in metrics.items() if np.isfinite(value)})
        return
    run = logger.experiment
    run.summary.update(metrics)
    test = predictions.filter(pl.col("part") == "test")
    scores = [column for column in test.columns if column.startswith("score")]
    for label, column in enumerate(scores):
        positive = test["label"] == (1 if len(scores) == 1 else label)
        name = column.removeprefix("score").removeprefix("_")
        point = operating_point[name] if name else operating_point
        run.log(_tables(positive.to_numpy(), test[column].to_numpy(), point["threshold"], f"test/{name}".rstrip("/")))


def _tables(positive: NDArray, scores: NDArray, threshold: float, prefix: str) -> dict[str, wandb.Table]:
    curve = zip(*roc_curve(positive, scores), strict=True)
    called = scores >= threshold
    counts = [[truth, call, int(((positive == truth) & (called == call)).sum())] for truth in (0, 1) for call in (0, 1)]
    roc_columns: list[str | int] = ["false_positive_rate", "sensitivity", "threshold"]
    return {
        f"{prefix}/roc": wandb.Table(columns=roc_columns, data=[[float(value) for value in point] for point in curve]),
        f"{prefix}/confusion": wandb.Table(columns=["label", "called", "slices"], data=counts),
    }


def finish(logger: Logger, exit_code: int) -> None:
    """Close the run at the tracker. Without this the next run of a sweep silently merges into this one at W&B."""
    if isinstance(logger, WandbLogger):
        wandb.finish(exit_code=exit_code)
    else:
        logger.finalize("success" if exit_code == 0 else "failed")
