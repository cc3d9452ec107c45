"""The two checkpoints of a run: its best weights, and all that training needs to go on."""

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from fistula.errors import TrainingError, refuse_other
from fistula.learning.training.watched import WATCHED, better, decisive

WRITING_SHARE = 50  # so many times as long as writing `last.ckpt` takes is trained before it is written again


class BestWeights(ModelCheckpoint):
    """Keep the weights of the best epoch, alone, as `best.ckpt`.

    Where the metric is as good as the best, a lower loss on validation is better.

    Where `monitor` is ``epoch``, it keeps the last epoch's weights, and writes no others.

    Raises:
        ConfigError: If no such metric is there to watch.
    """

    def __init__(self, folder: Path | None, *, monitor: str) -> None:
        refuse_other("checkpoint.monitor", monitor, ("epoch", *WATCHED))
        super().__init__(
            folder,
            filename="best",
            monitor=monitor,
            mode=better(monitor),
            save_weights_only=True,
            save_on_train_epoch_end=monitor == "epoch" or None,  # whether or not it was validated
            enable_version_counter=False,
        )

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        goes_on = trainer.current_epoch + 1 < (trainer.max_epochs or 0) and not trainer.should_stop
        if self.monitor == "epoch" and goes_on and trainer.max_steps == -1:
            return False  # another one will be kept; until then `last.ckpt` has the weights
        return super().check_monitor_top_k(trainer, current)

    def _monitor_candidates(self, trainer: Trainer) -> dict[str, Tensor]:
        found, monitor = super()._monitor_candidates(trainer), str(self.monitor)
        return found | ({monitor: decisive(found, monitor)} if monitor in found else {})


class LastCheckpoint(Checkpoint):
    """Write everything that training needs to go on as `last.ckpt`, whole or not at all, at the end of an epoch.

    Of every epoch, unless epochs are so short that writing would take more than a fiftieth of the time: then one that
    is killed trains again for at most fifty times as long as writing takes.

    A kind of `Checkpoint`, because Lightning calls those after all other callbacks: the best epoch so far and the
    history are in it.
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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, then rename it: Lightning's own way copies it twice, once over to /tmp."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write what `torch.save` can. Raises TrainingError if the disk is full, or cannot be written to."""
        partial = Path(path).with_name(f".{Path(path).name}.partial")
        try:
            torch.save(checkpoint, partial)
            partial.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's own writer knows no more than that it failed
            free = f"{shutil.disk_usage(partial.parent).free / 1e6:.0f} MB free"  # beside what was written of it
            partial.write_bytes(b"")  # PyTorch still has it open: unlinked alone it would go on taking its space
            partial.unlink()
            remedy = "Free some space; the same command then resumes from the last checkpoint"
            raise TrainingError(path, "cannot be written", found=free, remedy=remedy) from error


def load_best(classifier: LightningModule, checkpoint: Path) -> int:
    """Give a classifier the weights that `BestWeights` kept, and return their epoch.

    Raises:
        TrainingError: If there are none, or they cannot be read, or are another network's.
    """
    if not checkpoint.exists():
        remedy = "Leave out what limits its batches, steps or epochs"
        raise TrainingError("trainer", "must train an epoch whose metrics say which is best", remedy=remedy)
    try:
        best = torch.load(checkpoint, map_location="cpu", weights_only=True)
        classifier.load_state_dict(best["state_dict"])
        return int(best["epoch"])
    except Exception as error:  # torch raises many kinds for what is no checkpoint
        remedy = "Remove it and last.ckpt: the run then starts again and ends with the same scores"
        raise TrainingError(
            checkpoint, "does not hold this run's weights (damaged or replaced)", remedy=remedy
        ) from error


def epoch_of(checkpoint: Path, classifier: LightningModule) -> int:
    """The last epoch that a training of this classifier has behind it.

    Raises:
        TrainingError: If the checkpoint cannot be read, or is another network's, or holds weights alone.
    """
    try:
        held = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        there, own = (
            {name: one.shape for name, one in state.items()} for state in (held["state_dict"], classifier.state_dict())
        )
        if there == own and held.get("optimizer_states"):
            return int(held["epoch"])
        rule, cause = "is not of this run (another network's, or weights alone)", None
    except Exception as error:
        rule, cause = "cannot be read (damaged or half written)", error
    remedy = "Remove it: the run then starts again and ends with the same scores"
    raise TrainingError(checkpoint, rule, remedy=remedy) from cause
