"""End a run of a search that is hopeless beside the others."""

import json
import os

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from fistula.errors import FistulaError

TRIAL = "FISTULA_TRIAL"  # variable of a run that is a trial of a search: the arguments of `Prune`, as JSON
STARTUP_TRIALS = 5  # that end before any is cut short
WARMUP_EPOCHS = 3


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
