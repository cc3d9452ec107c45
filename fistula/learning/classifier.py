"""The system that Lightning trains: a backbone, its loss, its metrics, its optimiser."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryRecall,
    BinarySpecificity,
    MulticlassAUROC,
    MulticlassRecall,
    MulticlassSpecificity,
)

from fistula.errors import TrainingError
from fistula.learning.backbone import Backbone
from fistula.learning.building.judging import found, joined, judged
from fistula.learning.data.covariates import Covariates, spread
from fistula.learning.data.slices import Batch
from fistula.learning.heads import Classify, Head
from fistula.learning.modes import LearningMode, freeze, parameter_groups
from fistula.learning.pooling import Mean

FINITE_EVERY = 50  # steps on a card between two looks at whether the loss is finite


class FistulaClassifier(pl.LightningModule):
    """Train a backbone to tell the classes of slices.

    Args:
        backbone: Maps images ``(B, C, H, W)``, 0 to 255, to logits ``(B, K)``.
        num_classes: K, at least 2.
        learning: Which parameters train, when, at which rate.
        loss: Maps logits ``(B, K)`` and labels ``(B,)`` to what training minimises.
        optimizer: Called with the parameter groups.
        schedule: Called with the optimiser and ``num_steps``; stepped once a batch.
        pooling: From the features of a bag's slices to the bag's, as in `fistula.learning.pooling`; a slice that is a
            bag of its own does not pass through it. The mean where left out.
        slice_weight: Of the loss of slices that have a label in bags that have one of their own, at least 0.
        head: What is said of a slice beside its class; nothing where left out.
        unit: What it scores, one of `fistula.learning.data.bags.KEYS`.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        learning: LearningMode,
        loss: nn.Module,
        optimizer: Callable[[list], Optimizer],
        schedule: Callable[..., LRScheduler],
        pooling: nn.Module | None = None,
        slice_weight: float = 0.0,
        head: Head | None = None,
        covariates: Covariates | None = None,
        unit: str = "slice",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head or Classify()
        self.pooling = pooling or Mean()
        self.covariates = covariates
        self.slice_weight, self.unit = slice_weight, unit
        self.learning = learning
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.unseen: list[tuple[int, Tensor]] = []  # steps and their losses
        # Lightning takes half a millisecond to log a number: it is given each of these once an epoch.
        self.train_loss, self.val_loss = MeanLoss(), MeanLoss()
        self.val_metrics = training_metrics(num_classes).clone(prefix="val/")

    def forward(self, image: Tensor) -> Tensor:
        """Return class probabilities ``(B, K)``, float32, of images ``(B, C, H, W)``, 0 to 255."""
        return found(self, image)[0]

    def on_train_epoch_start(self) -> None:
        freeze(self.learning, self.backbone, epoch=self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits, features, maps = self._logits(batch)
        loss = self._loss(logits.float(), batch)  # whatever the network computes in
        if self.slice_weight and features is not None:
            alone, _ = judged(self, features, known=spread(batch.get("covariates"), batch["sizes"]))
            own = batch["slice_label"]
            of_slices = cross_entropy(alone, own, ignore_index=-1, reduction="sum") / (own >= 0).sum().clamp(min=1)
            loss = loss + self.slice_weight * of_slices
        if maps is not None and not isinstance(self.head, Classify):
            of_maps = self.head.loss(maps, batch["points"], _known_labels(batch), size=batch["image"].shape[-1])
            loss = loss + self.head.weight * of_maps
        self._note(loss.detach())
        self.train_loss.update(loss.detach(), len(batch["label"]))
        if batch_idx == 0:
            self.log("train/loss", self.train_loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self._refuse_what_is_not_finite()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self._logits(batch)[0].float()
        # Probabilities, not logits: torchmetrics would decide batch by batch whether a sigmoid is missing.
        probabilities = logits.softmax(dim=1)
        binary = probabilities.shape[1] == 2
        self.val_metrics.update(probabilities[:, 1] if binary else probabilities, batch["label"])
        # Not the loss that trains: this one can be compared between runs, whatever each of them minimises.
        self.val_loss.update(cross_entropy(logits, batch["label"]), len(logits))
        if batch_idx == 0:
            self.log("val/loss", self.val_loss)
            self.log_dict(self.val_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = parameter_groups(self.learning, self.backbone)
        joined = self.covariates.parameters() if self.covariates else ()
        if own := [*self.pooling.parameters(), *self.head.parameters(), *joined]:
            groups.append({"params": own, "rate": 1.0, "starts": 0.0})
        optimizer = self.make_optimizer(groups)
        # One kernel a step for all weights; others with such a setting have to be made with it.
        may_fuse = self.device.type == "cuda" and isinstance(optimizer, Adam | AdamW | SGD)
        for group in optimizer.param_groups:
            group["lr"] *= group["rate"]
            if may_fuse and group["fused"] is None and not group["foreach"]:
                group["fused"] = True
        schedule = self.make_schedule(optimizer, num_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _note(self, loss: Tensor) -> None:
        """Keep a step's loss until it is looked at: which waits for all that a card has been given to do."""
        step = self.global_step
        self.unseen.append((step, loss))
        if loss.device.type == "cpu" or step % FINITE_EVERY == 0:
            self._refuse_what_is_not_finite()

    def _refuse_what_is_not_finite(self) -> None:
        """Name the first step whose loss is not finite: later ones only spread the damage."""
        if not self.unseen:
            return
        values = torch.stack([loss for _, loss in self.unseen]).tolist()
        for (step, _), value in zip(self.unseen, values, strict=True):
            if not math.isfinite(value):
                remedy = "Lower optimizer.lr, or look for a damaged slice in the cohort's contact sheet"
                raise TrainingError(f"step {step}", "the loss must be finite", found=value, remedy=remedy)
        self.unseen.clear()

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Against the labels; of mixed images against those of both, each weighted as its image."""
        own = self.loss(logits, batch["label"])
        share = batch.get("share")
        return own if share is None else share * own + (1 - share) * self.loss(logits, batch["other"])

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Of the bags ``(B, K)``; the features of their slices, where a bag has several; and maps, where there are."""
        features, maps, known = batch.get("features"), None, batch.get("covariates")
        if features is None and not isinstance(self.head, Classify):
            features, maps = self.head(self.backbone, batch["image"])
        if "sizes" not in batch:
            if features is None:
                return joined(self, self.backbone(batch["image"]), known), None, maps
            return judged(self, features, known=known)[0], None, maps
        features = self.backbone.features(batch["image"]) if features is None else features
        return judged(self, features, batch["sizes"], batch["position"], known)[0], features, maps


def _known_labels(batch: Batch) -> Tensor:
    """Of the slices ``(N,)``, -1 where nothing is known; in a negative bag there is nothing to be found."""
    if "sizes" not in batch:
        return batch["label"]
    own = batch["slice_label"]
    return torch.where((own < 0) & (spread(batch["label"], batch["sizes"]) == 0), 0, own)


class MeanLoss(Metric):
    """Of all images of an epoch; torchmetrics' own looks at every number, which waits for a card, or drops weights."""

    total: Tensor
    number: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "number"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, number: int) -> None:
        """Take in the mean loss of so many images."""
        self.total += loss * number
        self.number += number

    def compute(self) -> Tensor:
        return self.total / self.number


def training_metrics(num_classes: int) -> MetricCollection:
    """Metrics to watch while training: of the positive class with two, averaged over classes with more.

    Reported numbers are computed afterwards from stored scores; these are not. They are gathered on the device:
    torchmetrics would check every batch, which waits for a card, and what it is given here is of the right kind.
    """
    if num_classes == 2:
        kinds: dict[str, Any] = {"sensitivity": BinaryRecall, "specificity": BinarySpecificity, "auroc": BinaryAUROC}
    else:
        many = {"sensitivity": MulticlassRecall, "specificity": MulticlassSpecificity, "auroc": MulticlassAUROC}
        kinds = {name: partial(kind, num_classes) for name, kind in many.items()}
    # Which share their counts is said, because the collection would find out by looking at them.
    groups = [["sensitivity", "specificity"], ["auroc"]]
    return MetricCollection({name: kind(validate_args=False) for name, kind in kinds.items()}, compute_groups=groups)
