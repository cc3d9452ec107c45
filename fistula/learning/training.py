"""One training from its first epoch to its metrics."""

from pathlib import Path
from typing import Any

import polars as pl
import torch

from fistula.learning import tracking
from fistula.learning.experiment import Experiment
from fistula.learning.results import ChooseThreshold, flat_metrics, summarize
from fistula.learning.scoring import score_parts

PREDICTIONS = "predictions.parquet"


def train(
    experiment: Experiment, folder: Path, *, fold: int, choose_threshold: ChooseThreshold, description: dict[str, Any]
) -> dict[str, Any]:
    """Fit, score val and test with the best epoch's weights, store the scores, and summarise what is stored.

    Args:
        experiment: As `build` made it.
        folder: The run's; receives `best.ckpt`, `history.csv` and `predictions.parquet`.
        fold: Number to write beside each score.
        choose_threshold: See `fistula.learning.results.summarize`.
        description: What the tracker is told of the run: its whole configuration and its fingerprints.

    Returns:
        Operating point, metrics and warnings, for `run.json`.
    """
    logger = experiment.trainer.logger
    exit_code = 1
    try:
        tracking.record_configuration(logger, description)
        experiment.trainer.fit(experiment.classifier, experiment.data)
        best = torch.load(folder / "best.ckpt", map_location="cpu", weights_only=True)
        experiment.classifier.load_state_dict(best["state_dict"])
        score_parts(experiment.classifier, experiment.data, fold=fold).write_parquet(folder / PREDICTIONS)
        predictions = pl.read_parquet(folder / PREDICTIONS)
        summary = summarize(
            predictions, classes=experiment.data.cohort.classes, choose_threshold=choose_threshold
        ) | {"best_epoch": int(best["epoch"])}
        tracking.record_results(logger, flat_metrics(summary["metrics"]), predictions, summary["operating_point"])
        exit_code = 0
    finally:
        tracking.finish(logger, exit_code)
    return summary
