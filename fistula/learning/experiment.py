"""Assemble a run from its configuration. Once built, each part is tried."""

import logging
import platform
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytorch_lightning
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities.exceptions import SIGTERMException

from fistula.cohort.manifest import Cohort
from fistula.cohort.thinning import thinned
from fistula.errors import ConfigError, count
from fistula.folder import digest_of, without_folders
from fistula.learning import tracking
from fistula.learning.building.making import make, one_line, try_pipeline, try_training
from fistula.learning.building.timm_network import checkpoint_gradients
from fistula.learning.callbacks import EpochHistory, EpochSeed, WeightAverage, progress, pruning, silence_lightning
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.clinical import fit_clinical, is_clinical
from fistula.learning.data.covariates import Covariates
from fistula.learning.data.datamodule import FistulaDataModule
from fistula.learning.data.features import cache_features
from fistula.learning.data.slices import Resize
from fistula.learning.losses import are_grades
from fistula.learning.places.points import kinds_of, pixel_mm_of
from fistula.learning.training import hardware
from fistula.learning.training.checkpoints import AtomicCheckpointIO, BestWeights, LastCheckpoint, epoch_of, load_best
from fistula.learning.training.results import ChooseThreshold, flat_metrics, summarize
from fistula.learning.training.scoring import score_parts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, ready to use."""

    folder: Path  # the run's; receives `best.ckpt`, `history.csv` and `predictions.parquet`
    fold: int  # of the split; written beside each score
    data: FistulaDataModule
    classifier: FistulaClassifier
    trainer: pytorch_lightning.Trainer
    tracker: tracking.Trackers
    choose_threshold: ChooseThreshold  # called with labels and scores of val; gives the operating point
    aggregation: str  # how slice scores become a patient's; one of `aggregate.RULES`

    def facts(self) -> dict[str, Any]:
        """What to record of a run before it starts: where its weights came from, what it sees, on what it runs."""
        device = self.trainer.strategy.root_device
        trained = self.data.cohort.manifest["patient_key"][self.data.bags["train"].rows.tolist()]
        on_gpu = device.type == "cuda"
        processor = f"{platform.processor() or platform.machine()}, {count(torch.get_num_threads(), 'thread')}"
        return {
            "weights": self.classifier.backbone.weights,
            **self.classifier.backbone.resolved,
            **asdict(self.data.resize),
            "precision": self.trainer.precision,
            "train_patients": trained.n_unique(),
            "processes": self.trainer.world_size,
            "micro_batches": self.trainer.accumulate_grad_batches,
            "epochs_before": self.data.first_epoch,
            "hardware": torch.cuda.get_device_name(device) if on_gpu else processor,
        }

    def train(self, *, description: dict[str, Any]) -> dict[str, Any]:
        """Fit, score val and test with the best epoch's weights, store the scores, and summarise what is stored.

        Where the folder holds the `last.ckpt` of a training that was interrupted, it goes on from there, and ends
        with the same scores. The tracker is told the description: the whole configuration and the fingerprints.

        Returns:
            Operating point, metrics, warnings, and the SHA-256 of `best.ckpt`, for `run.json`.
        """
        checkpoint = self.folder / "best.ckpt"
        exit_code = 1
        try:
            self.tracker.log_hyperparams(without_folders(description))
            self.fit()
            best_epoch = load_best(self.classifier, checkpoint)
            stored = self.folder / "predictions.parquet"
            strategy = self.trainer.strategy
            with hardware.said_in_one_line(), strategy.precision_plugin.forward_context():
                self.classifier.to(strategy.root_device)  # Lightning has moved it to the processor
                scores, slices, places = score_parts(self.classifier, self.data, fold=self.fold)
            for name, table in (("slices", slices), ("places", places)):
                if table is not None:
                    table.write_parquet(self.folder / f"{name}.parquet")
            scores.write_parquet(stored)
            predictions, classes = pl.read_parquet(stored, glob=False), self.data.cohort.classes
            summary = summarize(
                predictions, classes=classes, choose_threshold=self.choose_threshold, aggregation=self.aggregation
            )
            tracking.record_results(
                self.tracker, flat_metrics(summary["metrics"]), predictions, summary["operating_point"]
            )
            exit_code = 0
        finally:
            self.tracker.finish(exit_code)
        (self.folder / "last.ckpt").unlink(missing_ok=True)
        return summary | {"best_epoch": best_epoch, "checkpoint_sha256": digest_of(checkpoint)}

    @hardware.said_in_one_line()
    def fit(self) -> None:
        """Train, from `last.ckpt` on where there is one; all that a process does that only takes part in a training."""
        if is_clinical(self.classifier):
            if self.trainer.is_global_zero:
                fit_clinical(self.classifier, self.data, self.folder / "best.ckpt")
            return
        start = self.folder / "last.ckpt" if self.data.first_epoch else None
        if start is not None:
            log.info("resuming after epoch %d/%d", self.data.first_epoch, self.trainer.max_epochs)
        strategy, own = self.trainer.strategy, self.classifier
        with strategy.precision_plugin.forward_context():
            if not self.data.kinds:  # a head that finds places looks at more than features
                cache_features(own.backbone, self.data, learning=own.learning, device=strategy.root_device)
        try:
            self.trainer.fit(self.classifier, self.data, ckpt_path=start, weights_only=True)
        except SystemExit as end:
            if isinstance(end.__context__, KeyboardInterrupt):
                # Lightning's answer to Ctrl-C says no more than "1".
                raise KeyboardInterrupt("interrupted") from end
            if isinstance(end, SIGTERMException):  # whose own code says that all is well
                end.code, end.args = 128 + signal.SIGTERM, ("ended by SIGTERM: the same command resumes it",)
            raise
        if torch.distributed.is_initialized():  # all at once: on cards one that leaves later may wait for the others
            torch.distributed.destroy_process_group()


def build(
    cfg: DictConfig,
    cohort: Cohort,
    split_table: pl.DataFrame,
    *,
    micro_batches: int | None = None,
    tracking_id: str | None = None,
) -> Experiment:
    """Seed, then create data, classifier and trainer in the order they depend on one another.

    The split's table has columns ``slice_key copy fold part``, every fold. Where a card has had too little memory for
    the parts of a batch that `cfg` says, there are others; a run that is resumed goes on under the same id at W&B.
    """
    folder, parts = Path(cfg.output_dir), micro_batches or cfg.micro_batches
    shares = parts * hardware.num_processes(cfg.trainer)
    size = -(-cfg.batch_size // shares)
    if cfg.unit == "slice" and size < 2:
        rule = f"must give each of {shares} parts 2 slices, of which batch norms need several"
        raise ConfigError("batch_size", rule, found=cfg.batch_size, remedy="Lower micro_batches or trainer.devices")
    silence_lightning()
    hardware.prepare_card(cfg.trainer)
    pytorch_lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    # Deterministic operations would fill what they are about to write; that costs 3 % and helps only to find a bug.
    deterministic: Any = torch.utils.deterministic  # a module in disguise, whose flag its types do not know
    deterministic.fill_uninitialized_memory = False
    backbone = make(cfg.model, num_classes=len(cohort.classes), image_size=cfg.image_size, available=cohort.sequences)
    if cfg.gradient_checkpointing:
        checkpoint_gradients(backbone.network)
    fold = split_table.filter(pl.col("fold") == cfg.split.fold)
    data = FistulaDataModule(
        make(cfg.labelling)(cohort, split_table),
        thinned(cohort.labelled, fold, cfg.split.train_fraction, seed=cfg.split.seed),
        augmentation=make(cfg.augmentation),
        sampler=make(cfg.sampler),
        resize=Resize(backbone.input_size, backbone.interpolation),
        num_slices=backbone.num_slices,
        sequences=backbone.sequences,
        batch_size=size,
        num_workers=cfg.num_workers,
        seed=cfg.seed,
        unit=cfg.unit,
        slices_per_step=cfg.slices_per_step,
        covariates=cfg.covariates,
        are_grades=are_grades(cfg.loss._target_),
        mixup=cfg.mixup,
        cutmix=cfg.cutmix,
        kinds=kinds_of(cohort.manifest) if cfg.head._target_.endswith(".Locate") else (),
    )
    classifier = FistulaClassifier(
        backbone,
        num_classes=data.num_classes,
        learning=make(cfg.learning),
        loss=make(cfg.loss, class_counts=data.class_counts),
        optimizer=make(cfg.optimizer),
        schedule=make(cfg.schedule),
        pooling=make(cfg.pooling, num_features=backbone.num_pooled),
        slice_weight=cfg.slice_weight,
        head=make(
            cfg.head, backbone=backbone, kinds=data.kinds, pixel_mm=pixel_mm_of(cohort, image_size=backbone.input_size)
        ),
        # After pooling and head, whose weights would else be others: all are drawn from the seed in turn.
        covariates=Covariates(cfg.covariates, num_classes=data.num_classes) if cfg.covariates else None,
        unit=cfg.unit,
    )
    if classifier.covariates:
        classifier.covariates.standardise(data.known["train"])
    if (last := folder / "last.ckpt").exists():
        data.first_epoch = epoch_of(last, classifier) + 1
    hardware.check_shares(
        {part: len(data.bags[part]) for part in ("train", "val")}, hardware.num_processes(cfg.trainer), unit=cfg.unit
    )
    choose = make(cfg.operating_point)
    try_pipeline(data.augmentation, backbone.input_size)
    try_training(classifier, choose, num_classes=data.num_classes)
    loader = one_line("sampler", data.train_dataloader)
    bar = progress()
    tracker = tracking.Trackers(make(cfg.logger, **({"wandb": {"id": tracking_id}} if "wandb" in cfg.logger else {})))
    trainer = make(
        cfg.trainer,
        **hardware.settings(cfg.trainer, steps=cfg.epochs * len(loader) if cfg.unit == "slice" else 0),
        default_root_dir=str(folder),
        accumulate_grad_batches=parts,
        use_distributed_sampler=False,  # Lightning's pads, so that slices count twice; see `FistulaDataModule`
        callbacks=[
            EpochSeed(cfg.seed),
            BestWeights(folder, **cfg.checkpoint),
            EpochHistory(folder),
            *([WeightAverage(cfg.ema)] if cfg.ema else []),
            make(cfg.stopping),
            *pruning(),
            LastCheckpoint(folder),
            *bar,
        ],
        logger=tracker,
        plugins=[AtomicCheckpointIO(), *hardware.plugins(cfg.trainer)],
        enable_progress_bar=bool(bar),
    )
    return Experiment(folder, cfg.split.fold, data, classifier, trainer, tracker, choose, cfg.aggregation)
