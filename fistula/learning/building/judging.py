"""From images to features, and from these to what a bag comes to; for training, for scoring and for export.

What is called `parts` is a `FistulaClassifier` or its `Parts`.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn, ones_like

from fistula.learning.building.late import pooled
from fistula.learning.data.covariates import spread
from fistula.learning.heads import Classify


class Parts(nn.Module):
    """Those parts of a classifier that judge, without what trains them."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.backbone, self.head, self.pooling = classifier.backbone, classifier.head, classifier.pooling
        self.covariates, self.unit = classifier.covariates, classifier.unit


def see(parts: Any, image: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What `judge` takes of images ``(N, C, H, W)``, and the logits of their maps ``(N, M, h, w)``; M is 0 for none.

    That is the features that will be pooled ``(N, F)``; of a slice that is a bag of its own, its class probabilities
    ``(N, K)``, with what its covariates ``(N, C)`` add where they are `known`.
    """
    return found(parts, image, known) if parts.unit == "slice" else features_of(parts, image)


def judge(
    parts: Any, seen: Tensor, sizes: Sequence[int], positions: Tensor | None, known: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """What bags come to, as `pool` says it; a slice that is a bag of its own is what was seen."""
    return (seen, ones_like(seen[:, 0]), seen) if parts.unit == "slice" else pool(parts, seen, sizes, positions, known)


def found(parts: Any, image: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Class probabilities ``(N, K)`` of images by themselves, float32, and the logits of their maps, as `see`."""
    if isinstance(parts.head, Classify):
        return joined(parts, parts.backbone(image).float(), known).softmax(dim=1), _no_maps(image)
    features, maps = features_of(parts, image)
    return judged(parts, features, known=known)[0].softmax(dim=1), maps


def features_of(parts: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    """What `pool` takes of images, and the logits of their maps, as `see`."""
    if isinstance(parts.head, Classify):
        return parts.backbone.features(image), _no_maps(image)
    features, maps = parts.head(parts.backbone, image)
    return features, parts.head.lifted(parts.backbone, features, maps)


def pool(
    parts: Any, features: Tensor, sizes: Sequence[int], positions: Tensor | None, known: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Judge bags by the features of their slices, and each slice as if it were a bag of its own.

    Features are as `features_of` gives them, bag after bag; `sizes` are the slices of each bag, B numbers, positions in
    mm, ``(N,)``, and `known` covariates of the bags ``(B, C)``, where the classifier has any.

    Returns:
        Class probabilities of the bags ``(B, K)``, the weight of each slice in its bag ``(N,)``, and class
        probabilities of the slices alone ``(N, K)``; float32.
    """
    bags, weights = judged(parts, features, sizes, positions, known)
    alone, _ = judged(parts, features, known=known if len(sizes) == 1 else spread(known, sizes))
    return bags.softmax(dim=1), weights, alone.softmax(dim=1)


def judged(
    parts: Any,
    features: Tensor,
    sizes: Sequence[int] | None = None,
    positions: Tensor | None = None,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits ``(B, K)`` of bags, or without sizes of single slices as they are, and the slices' weights ``(N,)``."""
    own = features[:, : parts.backbone.num_features]
    own, weights = pooled(parts.pooling, own, sizes, positions, number=parts.backbone.num_late)
    logits = parts.backbone.classify(own).float()
    if not isinstance(parts.head, Classify):
        logits = parts.head.judged(logits, features[:, -1], sizes)
    return joined(parts, logits, known), weights


def joined(parts: Any, logits: Tensor, known: Tensor | None) -> Tensor:
    """Logits ``(B, K)`` with what covariates ``(B, C)`` add to them, where there are any."""
    return logits if parts.covariates is None or known is None else logits + parts.covariates(known)


def logits_alone(parts: Any, image: Tensor) -> Tensor:
    """Logits ``(N, K)`` of images, each by itself and without covariates.

    What pools slices may see more in one than the network says of it.
    """
    if parts.unit == "slice":
        return parts.backbone(image)
    return judged(parts, parts.backbone.features(image))[0]


def _no_maps(image: Tensor) -> Tensor:
    return image.new_zeros((image.shape[0], 0, 1, 1)).float()  # not len: exporters would take it for a constant
