"""Assemble a run from its configuration. The only module that knows Hydra's `instantiate`."""

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pytorch_lightning
from hydra.utils import instantiate
from omegaconf import DictConfig

from fistula.cohort.manifest import Cohort
from fistula.learning.callbacks import EpochHistory, best_checkpoint, progress
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.datamodule import FistulaDataModule

# `all`: constructors receive plain lists and dicts, so nothing below this module knows OmegaConf.
make = partial(instantiate, _convert_="all")


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, ready to use."""

    data: FistulaDataModule
    classifier: FistulaClassifier
    trainer: pytorch_lightning.Trainer


def build(cfg: DictConfig, cohort: Cohort, split_table: pl.DataFrame) -> Experiment:
    """Seed, then create data, classifier and trainer in the order they depend on one another.

    Args:
        cfg: As `conf/train.yaml` composes it.
        cohort: The one to learn from.
        split_table: Columns ``slice_key fold part``, every fold.
    """
    folder = Path(cfg.output_dir)
    _silence_lightning()
    pytorch_lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    data = FistulaDataModule(
        cohort,
        split_table.filter(pl.col("fold") == cfg.split.fold),
        augmentation=make(cfg.augmentation),
        image_size=cfg.image_size,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
    )
    classifier = FistulaClassifier(
        make(cfg.model, num_classes=data.num_classes),
        num_classes=data.num_classes,
        learning=make(cfg.learning),
        optimizer=make(cfg.optimizer),
        schedule=make(cfg.schedule),
    )
    checkpoint = best_checkpoint(folder, **cfg.checkpoint)
    bar = progress()
    trainer = make(
        cfg.trainer,
        default_root_dir=str(folder),
        callbacks=[checkpoint, EpochHistory(folder), *bar],
        logger=make(cfg.logger),
        enable_progress_bar=bool(bar),
    )
    return Experiment(data, classifier, trainer)


def _silence_lightning() -> None:
    """Drop Lightning's warnings of what is so on purpose here, in every run."""
    for message in (
        ".*does not have many workers.*",  # a choice of the configuration
        ".*Checkpoint directory .* exists and is not empty.*",  # the run's folder, with its record
        ".*is smaller than the logging interval.*",  # every epoch is logged as well
        ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's own use of PyTorch
    ):
        warnings.filterwarnings("ignore", message=message)
