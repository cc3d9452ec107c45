"""What goes on beside training: checkpoints, the history of epochs, a sign of life."""

import logging
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, ModelCheckpoint, TQDMProgressBar

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


class EpochSeed(Callback):
    """Draw what is random inside the network (dropout) from the seed and the epoch: a resumed run draws the same.

    Args:
        seed: The run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        entropy = (self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class LastCheckpoint(Checkpoint):
    """Write everything that training needs to go on as `last.ckpt`, whole or not at all, at the end of every epoch.

    A kind of `Checkpoint`, because Lightning calls those after all other callbacks: the best epoch so far and the
    history are in it.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        partial = self.path.with_name(".last.ckpt.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.path)


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
