"""`model=clinical`: what is known without any image; logistic regression on the covariates alone."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from fistula.errors import ConfigError, DataError
from fistula.learning.backbone import Backbone
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.data.datamodule import FistulaDataModule

log = logging.getLogger(__name__)
CLINICAL = "clinical"
SIDE = 16  # pixels, of images that nobody looks at


class NoImage(nn.Module):
    """A network that is blind: its feature and its logits ``(B, K)`` are 0, whatever the image."""

    def __init__(self, num_classes: int, *, inverse_penalty: float) -> None:
        super().__init__()
        self.inverse_penalty = inverse_penalty
        self.num_classes, self.pretrained_cfg = num_classes, {"architecture": CLINICAL}
        self.fc = nn.Linear(1, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def get_classifier(self) -> nn.Module:
        """What gives the logits."""
        return self.fc

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to logits ``(B, K)``."""
        return self.fc(image.float().mean(dim=(1, 2, 3))[:, None] * 0)


def create_clinical(
    architecture: str, *, inverse_penalty: float, num_classes: int, image_size: int | str = SIDE,
    pretrained: bool = False, download: bool = False, available: Sequence[str] = (),
) -> Backbone:  # fmt: skip
    """Build what stands in a network's place; all that concerns images is nothing to it.

    The inverse penalty is scikit-learn's C.

    Raises:
        ConfigError: If the name is another.
    """
    if architecture != CLINICAL:
        rule = f"must be {CLINICAL}: no other network uses covariates alone"
        raise ConfigError("model.architecture", rule, found=architecture, remedy=f"Leave it out, with model={CLINICAL}")
    network = NoImage(num_classes, inverse_penalty=inverse_penalty)
    return Backbone(
        network, mean=[0.0], std=[1.0], weights="none: logistic regression", input_size=SIDE, interpolation="bilinear"
    )


def is_clinical(classifier: FistulaClassifier) -> bool:
    """Whether it looks at no image."""
    return isinstance(classifier.backbone.network, NoImage)


def fit_clinical(classifier: FistulaClassifier, data: FistulaDataModule, checkpoint: Path) -> None:
    """Fit the regression on the training set, and write its coefficients as the best weights of a run.

    Ridge-penalised maximum likelihood on standardised values; the intercept is not penalised. Each bag counts once.

    Raises:
        DataError: If the training set lacks a class.
    """
    covariates, network = classifier.covariates, classifier.backbone.network
    assert covariates is not None  # else no run is planned
    labels = data.bags["train"].labels
    if len(set(labels.tolist())) < data.num_classes:
        held = ", ".join(data.cohort.classes[label] for label in sorted(set(labels.tolist())))
        remedy = "Take fewer folds, another split.seed, or more patients"
        raise DataError("model=clinical", "must have every class in the training set", found=held, remedy=remedy)
    values = covariates.standard(data.known["train"]).double().numpy()
    regression = LogisticRegression(C=network.inverse_penalty, max_iter=10_000, tol=1e-8)
    regression.fit(values, labels)
    weights, intercepts = regression.coef_, regression.intercept_
    if len(weights) == 1:  # of two classes scikit-learn gives the difference
        weights, intercepts = (np.concatenate([np.zeros_like(one), one]) for one in (weights, intercepts))
    with torch.no_grad():
        covariates.layer.weight.copy_(torch.from_numpy(weights))
        network.fc.bias.copy_(torch.from_numpy(intercepts))
    torch.save({"state_dict": classifier.state_dict(), "epoch": 0}, checkpoint)
    log.info("logistic regression on %s", ", ".join(covariates.names))
