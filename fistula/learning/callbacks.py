"""What goes on beside training: checkpoints, the history of epochs, a sign of life."""

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from fistula.errors import ConfigError, TrainingError
from fistula.folder import write_whole

log = logging.getLogger(__name__)

WRITING_SHARE = 50  # so many times as long as writing `last.ckpt` takes is trained before it is written again
WATCHED = ("val/auroc", "val/loss", "val/sensitivity", "val/specificity", "train/loss")


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
        if not trainer.is_global_zero:
            return
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


class WeightAverage(Callback):
    """Average the weights over the steps, exponentially; validate, keep and score the averages.

    From a validation to the next epoch the averages stand in the network, and its own weights here.

    Args:
        decay: Part of the average that stays at a step, in (0, 1); less in the first steps, when an average of
            ``n`` steps can only be that old.

    Raises:
        ConfigError: If it is out of its range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ConfigError("ema", "must be 0 (off) or in (0, 1)", found=decay, remedy="Try ema=0.99")
        self.decay = decay
        self.aside: dict[str, Tensor] = {}
        self.averages_in_network = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.aside:
            self.aside = {name: value.clone() for name, value in self._weights(pl_module).items()}
        self.aside = {name: value.to(pl_module.device) for name, value in self.aside.items()}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.averages_in_network:
            self._swap(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        steps = trainer.global_step
        for name, value in self._weights(pl_module).items():
            self.aside[name].lerp_(value, 1 - min(self.decay, steps / (steps + 9)))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"aside": self.aside, "averages_in_network": self.averages_in_network}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.aside, self.averages_in_network = state_dict["aside"], state_dict["averages_in_network"]

    def _swap(self, pl_module: LightningModule) -> None:
        for name, value in self._weights(pl_module).items():
            aside = self.aside[name].clone()
            self.aside[name].copy_(value)
            value.copy_(aside)
        self.averages_in_network = not self.averages_in_network

    def _weights(self, pl_module: LightningModule) -> dict[str, Tensor]:
        state = pl_module.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}


class Patience(EarlyStopping):
    """End training when a metric has not got better for a while; a resumed training knows that it had ended."""

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        check_watched("stopping.monitor", monitor, WATCHED)
        super().__init__(monitor, mode=mode, patience=patience, min_delta=min_delta)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self.stopping_reason != EarlyStoppingReason.NOT_STOPPED


class LastCheckpoint(Checkpoint):
    """Write everything that training needs to go on as `last.ckpt`, whole or not at all, at the end of an epoch.

    Of every epoch, unless epochs are so short that writing would take more than a fiftieth of the time: then one that
    is killed trains again for at most fifty times as long as writing takes.

    A kind of `Checkpoint`, because Lightning calls those after all other callbacks: the best epoch so far and the
    history are in it.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"
        self._next = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        started = time.monotonic()
        # Every process of a run takes part in writing, and their clocks differ.
        if trainer.strategy.broadcast(started >= self._next):
            trainer.save_checkpoint(self.path)
            ended = time.monotonic()
            self._next = ended + WRITING_SHARE * (ended - started)


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside its place, then rename it: Lightning's own way copies it twice, once over to /tmp."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write what `torch.save` can.

        Raises:
            TrainingError: If the disk is full, or cannot be written to.
        """
        partial = Path(path).with_name(f".{Path(path).name}.partial")
        try:
            torch.save(checkpoint, partial)
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's own writer knows no more than that it failed
            partial.write_bytes(b"")  # PyTorch still has it open: unlinked alone it would go on taking its space
            partial.unlink()
            free = f"{shutil.disk_usage(partial.parent).free / 1e6:.0f} MB free"
            remedy = "Free some space; the same command then goes on from the last checkpoint"
            raise TrainingError(path, "cannot be written", found=free, remedy=remedy) from error


def best_checkpoint(folder: Path, *, monitor: str, mode: str) -> ModelCheckpoint:
    """Keep the weights of the best epoch, alone, as `best.ckpt`; with the monitor ``epoch`` those of the last.

    Raises:
        ConfigError: If no such metric is there to watch.
    """
    check_watched("checkpoint.monitor", monitor, ("epoch", *WATCHED))
    return ModelCheckpoint(
        folder,
        filename="best",
        monitor=monitor,
        mode=mode,
        save_weights_only=True,
        enable_version_counter=False,
    )


def check_watched(key: str, monitor: str, metrics: Sequence[str]) -> None:
    """Raise ConfigError unless `monitor` is one of the metrics that an epoch ends with."""
    if monitor not in metrics:
        raise ConfigError(key, f"must be one of {', '.join(metrics)}", found=monitor, remedy="Try val/auroc")


def progress() -> list[Callback]:
    """Show a bar where someone watches; in a file or a pipe the log's line per epoch has to do."""
    return [TQDMProgressBar(leave=False)] if sys.stderr.isatty() else []
