"""From features to logits: pooling, classifier, head and covariates; for training, for scoring and for export."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fistula.learning.building.late import pooled
from fistula.learning.heads import Classify


def see(classifier: Any, image: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What `judge` takes of images, and the logits of their maps as `FistulaClassifier.find` gives them.

    That is the features that will be pooled ``(N, F)``; of a slice that is a bag of its own, its class probabilities.

    Args:
        classifier: A `FistulaClassifier`.
        image: ``(N, C, H, W)``.
        known: Covariates of the images' bags ``(N, C)``.
    """
    return classifier.find(image, known) if classifier.unit == "slice" else classifier.features(image)


def judge(
    classifier: Any, seen: Tensor, sizes: Sequence[int], positions: Tensor, known: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What bags come to, as `FistulaClassifier.pool` says it; a slice that is a bag of its own is what was seen.

    Args:
        classifier: A `FistulaClassifier`.
        seen: As `see` gives it, bag after bag.
        sizes: As in `FistulaClassifier.pool`, like the next two; of slices that are bags of their own, ones.
        positions: Likewise.
        known: Likewise.
    """
    if classifier.unit == "slice":
        return seen, torch.ones_like(seen[:, 0]), seen
    return classifier.pool(seen, sizes, positions, known)


def logits_alone(classifier: Any, image: Tensor) -> Tensor:
    """Logits ``(N, K)`` of images, each by itself and without covariates.

    What pools slices may see more in one than the network says of it.
    """
    if classifier.unit == "slice":
        return classifier.backbone(image)
    return judged(classifier, classifier.backbone.features(image))[0]


class Parts(nn.Module):
    """Those parts of a classifier that judge, without what trains them."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.backbone, self.head, self.pooling = classifier.backbone, classifier.head, classifier.pooling
        self.covariates = classifier.covariates


def judged(
    parts: Any,
    features: Tensor,
    sizes: Sequence[int] | None = None,
    positions: Tensor | None = None,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits ``(B, K)`` of bags, or of single slices as they are, and the slices' weights ``(N,)``.

    Args:
        parts: A `FistulaClassifier`, or its `Parts`.
        features: As `FistulaClassifier.features` gives them.
        sizes: As in `FistulaClassifier.pool`; None for slices that are bags of their own.
        positions: Likewise.
        known: Likewise.
    """
    own = features[:, : parts.backbone.num_features]
    own, weights = pooled(parts.pooling, own, sizes, positions, number=parts.backbone.num_late)
    logits = parts.backbone.classify(own).float()
    if not isinstance(parts.head, Classify):
        logits = parts.head.judged(logits, features[:, -1], sizes)
    return joined(parts, logits, known), weights


def joined(parts: Any, logits: Tensor, known: Tensor | None) -> Tensor:
    """Logits ``(B, K)`` with what covariates ``(B, C)`` add to them, where there are any."""
    return logits if parts.covariates is None or known is None else logits + parts.covariates(known)
