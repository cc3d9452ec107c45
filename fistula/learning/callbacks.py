"""What goes on beside training: the history of epochs, averages of the weights, an early end, a sign of life."""

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, TQDMProgressBar
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch import Tensor

from fistula.errors import FistulaError, in_words, refuse_other
from fistula.folder import write_whole
from fistula.learning.training.watched import WATCHED, better, decisive

log = logging.getLogger(__name__)

TRIAL = "FISTULA_TRIAL"  # variable of a run that is a trial of a search: the arguments of `Prune`, as JSON
STARTUP_TRIALS = 5  # that end before any is cut short
WARMUP_EPOCHS = 3


class EpochHistory(Callback):
    """Write every epoch's metrics to `history.csv`, whatever the logger, and a line of them to the log."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.csv"
        self.epochs: list[dict[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started, self._before = time.monotonic(), trainer.current_epoch
        if self.epochs and trainer.is_global_zero:  # the file may tell of epochs after the checkpoint
            self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": float(trainer.current_epoch)} | metrics)
        if not trainer.is_global_zero:
            return
        self._write()
        shown = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        done, total = trainer.current_epoch + 1, int(trainer.max_epochs or 0)
        seconds = (time.monotonic() - self._started) / (done - self._before) * (total - done)
        log.info("epoch %d/%d  %s  %s left", done, total, shown, in_words(seconds))

    def _write(self) -> None:
        write_whole(self.path, pl.DataFrame(self.epochs).write_csv())

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, list[dict[str, float]]]) -> None:
        self.epochs = list(state_dict["epochs"])


class EpochSeed(Callback):
    """Draw what is random inside the network (dropout) from the seed and the epoch: a resumed run draws the same."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        entropy = (self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


class WeightAverage(Callback):
    """Average the weights over the optimiser's steps, exponentially; validate, keep and score the averages.

    From a validation, or the end of an epoch, to the next batch the averages stand in the network, and its own weights
    here. Lightning's `EMAWeightAveraging` takes them out again before the checkpoint of the best weights is written.
    `decay` is the part of the average that stays at a step, in (0, 1); less in the first steps, when an average of
    ``n`` steps can only be that old.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.aside: dict[str, Tensor] = {}
        self.averages_in_network = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # These share their memory with the network for the whole of training: gathering them anew costs a millisecond.
        weights = {name: value for name, value in pl_module.state_dict().items() if value.is_floating_point()}
        aside = self.aside or {name: value.clone() for name, value in weights.items()}
        self.aside = {name: aside[name].to(value.device) for name, value in weights.items()}
        self.averaged, self.weights = list(self.aside.values()), list(weights.values())
        self.steps = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._put_in_network(averages=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.global_step == self.steps:  # part of a batch, after which no weight has changed
            return
        self.steps = trainer.global_step
        torch._foreach_lerp_(self.averaged, self.weights, 1 - min(self.decay, self.steps / (self.steps + 9)))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:  # before training, which has no averages yet
            self._put_in_network(averages=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._put_in_network(averages=True)  # of an epoch without validation too

    def state_dict(self) -> dict[str, Any]:
        return {"aside": self.aside, "averages_in_network": self.averages_in_network}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.aside, self.averages_in_network = state_dict["aside"], state_dict["averages_in_network"]

    def _put_in_network(self, *, averages: bool) -> None:
        if averages != self.averages_in_network:
            held = [value.clone() for value in self.averaged]
            torch._foreach_copy_(self.averaged, self.weights)
            torch._foreach_copy_(self.weights, held)
            self.averages_in_network = averages


class Patience(EarlyStopping):
    """End training when a metric has not got better for a while; a resumed training knows that it had ended.

    Where the metric is as good as the best, a lower loss on validation is better.

    `patience` counts epochs without a value that is better by `min_delta`.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float) -> None:
        refuse_other("stopping.monitor", monitor, WATCHED)
        super().__init__(monitor, mode=better(monitor), patience=patience, min_delta=min_delta)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def _run_early_stopping_check(self, trainer: Trainer) -> None:
        self._metrics = trainer.callback_metrics
        super()._run_early_stopping_check(trainer)

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        return super()._evaluate_stopping_criteria(decisive(self._metrics, self.monitor))


class PrunedError(FistulaError):
    """A trial of a search was cut short."""


class Prune(Callback):
    """Tell Optuna each epoch's validation metric; stop where it is below the median of the other trials."""

    def __init__(self, *, storage: str, study: str, number: int) -> None:
        import optuna  # an extra

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
        loaded = optuna.load_study(study_name=study, storage=storage, pruner=pruner)
        (self.trial,) = [
            optuna.trial.Trial(loaded, trial._trial_id) for trial in loaded.trials if trial.number == number
        ]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        self.trial.report(float(trainer.callback_metrics["val/auroc"]), trainer.current_epoch)
        if self.trial.should_prune():
            epoch = trainer.current_epoch + 1
            raise PrunedError(f"trial {self.trial.number}", f"cut short after epoch {epoch}: worse than most others")


def pruning() -> list[Prune]:
    """What a trial of a search has more than any other run; nothing where this run is none."""
    return [Prune(**json.loads(os.environ[TRIAL]))] if TRIAL in os.environ else []


def progress() -> list[Callback]:
    """Show a bar where someone watches; in a file or a pipe the log's line per epoch has to do."""
    return [TQDMProgressBar(leave=False)] if sys.stderr.isatty() else []


def silence_lightning() -> None:
    """Drop what Lightning says of hardware at every run, and its warnings of what is so on purpose here."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # its import sets INFO
    for message in (
        ".*does not have many workers.*",  # a choice of the configuration
        ".*worker processes in total.*",  # which the data say in a line
        ".*Checkpoint directory .* exists and is not empty.*",  # the run's folder, with its record
        ".*is smaller than the logging interval.*",  # every epoch is logged as well
        ".*Experiment logs directory .* exists and is not empty.*",  # a run goes on; history.csv has every epoch
        ".*`srun` command is available.*",  # a machine with Slurm is not always used through it
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own use of PyTorch
    ):
        warnings.filterwarnings("ignore", message=message)
