"""From features to logits: pooling, classifier, head and covariates; for training, for scoring and for export."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fistula.learning.heads import Classify


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
        sizes: As in `FistulaClassifier.pool`; None for slices that are no bags.
        positions: Likewise.
        known: Likewise.
    """
    own = features[:, : parts.backbone.num_features]
    weights = torch.ones_like(features[:, 0])
    if sizes is not None:
        own, weights = parts.pooling(own, sizes, positions)
    logits = parts.backbone.classify(own).float()
    if not isinstance(parts.head, Classify):
        logits = parts.head.judged(logits, features[:, -1], sizes)
    return joined(parts, logits, known), weights


def joined(parts: Any, logits: Tensor, known: Tensor | None) -> Tensor:
    """Logits ``(B, K)`` with what covariates ``(B, C)`` add to them, where there are any."""
    return logits if parts.covariates is None or known is None else logits + parts.covariates(known)
