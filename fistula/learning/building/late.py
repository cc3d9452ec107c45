"""Sequences fused late: one network looks at each by itself, each is a bag of its own, and has its own classifier."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fistula.errors import ConfigError
from fistula.learning.pooling import alone, split


def add_classifiers(network: nn.Module, heads: Sequence[nn.Module], number: int) -> None:
    """Give a network, which has one classifier, that of each further sequence as ``of_sequences``.

    Raises:
        ConfigError: If it has several already.
    """
    if len(heads) != 1:
        rule, remedy = "must be of a network with one classifier", "Use model.channels=sequences, or another network"
        raise ConfigError("model.channels=late", rule, found=f"{len(heads)} of them", remedy=remedy)
    network.of_sequences = nn.ModuleList(copy.deepcopy(heads[0]) for _ in range(number - 1))


def are_there(image: Tensor, number: int) -> Tensor:
    """Which of its sequences an image ``(B, C, H, W)`` has, 1 or 0, ``(B, number)``; the last channels say it."""
    lacking = image[:, number:, 0, 0].float() >= 255
    always = torch.ones_like(image[:, : 2 * number - image.shape[1], 0, 0]).float()
    return torch.cat([always, 1 - lacking.float()], dim=1)


def pooled(
    pooling: nn.Module, features: Tensor, sizes: Sequence[int] | None, positions: Tensor | None, *, number: int
) -> tuple[Tensor, Tensor]:
    """Pool bags, and each sequence of a bag as a bag of its own where there are several.

    A slice of which a sequence lacks has no part in that bag: in its place stands the mean of the slices that are
    there, which changes neither a mean nor a maximum. Gives the same of the bags, and the weight of each slice in its
    bag ``(N,)``, the mean over the sequences.

    Args:
        pooling: As in `fistula.learning.pooling`.
        features: ``(N, F)``; with several sequences F numbers of each, and then 1 or 0 for each, whether it is there.
        sizes: Slices of each bag; None for slices that are bags of their own.
        positions: In mm, ``(N,)``.
        number: Of sequences that are bags of their own; 0 where an image is looked at as a whole.
    """
    if not number:
        whole = (alone(pooling, features), torch.ones_like(features[:, 0])) if sizes is None else None
        return whole or pooling(features, sizes, positions)
    width = features.shape[1] // number - 1
    *blocks, there = features.split([width] * number + [number], dim=1)
    if sizes is None:
        return torch.cat([*(alone(pooling, block) for block in blocks), there], dim=1), torch.ones_like(there[:, 0])
    known = split(there, sizes)
    present = torch.stack([part.amax(dim=0) for part in known])
    found, weights = [], []
    for block, is_there in zip(blocks, there.split(1, dim=1), strict=True):
        shown = zip(split(block, sizes), split(is_there, sizes), strict=True)
        bags, own = pooling(torch.cat([_filled(*one) for one in shown]), sizes, positions)
        found.append(bags)
        weights.append(own)
    # Of each slice whether its bag has the sequence, as `there` says it of the slice.
    of_bags = torch.cat([0 * part + row for part, row in zip(known, present, strict=True)])
    mean = (torch.stack(weights, dim=1) * of_bags).sum(dim=1) / of_bags.sum(dim=1).clamp(min=1)
    return torch.cat([*found, present], dim=1), mean


def fused(logits: Tensor, there: Tensor) -> Tensor:
    """The mean logits ``(B, K)`` of the sequences that are there, of each one's ``(B, S, K)`` and ``(B, S)``; or 0."""
    return (logits * there[:, :, None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)


def _filled(features: Tensor, there: Tensor) -> Tensor:
    """Features ``(n, F)`` with the mean of those that are there, ``(n, 1)``, in the place of the others."""
    mean = (features * there).sum(dim=0) / there.sum().clamp(min=1)
    return features * there + mean * (1 - there)
