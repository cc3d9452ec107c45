"""What goes on beside training: checkpoints, the history of epochs, a sign of life."""

import logging
import sys
from pathlib import Path

import polars as pl
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar

from fistula.folder import write_whole

log = logging.getLogger(__name__)


class EpochHistory(Callback):
    """Write every epoch's metrics to `history.csv`, whatever the logger, and a line of them to the log.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.csv"
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": float(trainer.current_epoch)} | metrics)
        write_whole(self.path, pl.DataFrame(self.epochs).write_csv())
        shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        log.info("epoch %d/%d  %s", trainer.current_epoch + 1, trainer.max_epochs, shown)

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.epochs = list(state_dict["epochs"])


def best_checkpoint(folder: Path, *, monitor: str, mode: str) -> ModelCheckpoint:
    """Keep the weights of the best epoch, alone, as `best.ckpt`."""
    return ModelCheckpoint(
        folder,
        filename="best",
        monitor=monitor,
        mode=mode,
        save_weights_only=True,
        enable_version_counter=False,
    )


def progress() -> list[Callback]:
    """Show a bar where someone watches; in a file or a pipe the log's line per epoch has to do."""
    return [TQDMProgressBar(leave=False)] if sys.stderr.isatty() else []
