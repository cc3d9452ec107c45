"""From the slices of a bag to one feature: means, maxima, attention. Bags of any length lie one after the other."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fistula.errors import ConfigError

Pooled = tuple[Tensor, Tensor]
"""Features of the bags ``(B, F)``, and the weight of each slice in its bag, float32 ``(N,)``, 1 in sum in each bag."""


class Mean(nn.Module):
    """The mean of a bag's features; a bag of one slice is that slice."""

    def __init__(self, num_features: int | None = None) -> None:
        super().__init__()

    def forward(self, features: Tensor, sizes: Sequence[int], positions: Tensor) -> Pooled:
        """Pool bags.

        Features are ``(N, F)``, bag after bag; `sizes` are the slices of each bag, at least 1, B numbers whose sum is
        N; positions lie along the slice normal in mm, ``(N,)``.
        """
        if len(sizes) > 1 and len(sizes) == len(features):  # a slice is a bag of one
            return features, torch.ones_like(features[:, 0]).float()
        parts = split(features, sizes)
        weights = [torch.zeros_like(part[:, 0]).float().softmax(dim=0) for part in parts]  # for exporters; 1 / size
        return torch.stack([part.mean(dim=0) for part in parts]), torch.cat(weights)


class Maximum(nn.Module):
    """The largest value of each feature over a bag; a slice's weight is the share of the features that are its own."""

    def __init__(self, num_features: int) -> None:
        super().__init__()

    def forward(self, features: Tensor, sizes: Sequence[int], positions: Tensor) -> Pooled:
        """Pool bags, as `Mean.forward`; where several slices have the largest value, one of them has the weight."""
        parts = split(features, sizes)
        largest = [part.max(dim=0) for part in parts]
        # Counted in single precision: in bfloat16 there is no 257.
        shares = [
            torch.zeros_like(part[:, 0]).float().index_add(0, one.indices, torch.ones_like(one.values).float())
            / part.shape[1]
            for part, one in zip(parts, largest, strict=True)
        ]
        return torch.stack([found.values for found in largest]), torch.cat(shares)


class Attention(nn.Module):
    """A weighted mean of a bag's features, the weights learned from the features: gated attention.

    Starts as the mean: the last layer of the weights is 0 at first.

    `num_features` is F, `hidden` the width of the gate, and `dropout` its own, in [0, 1).

    Source:
        Ilse, Tomczak & Welling (2018), Attention-based deep multiple instance learning, ICML, eq. 9.
    """

    def __init__(self, num_features: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(num_features, hidden), nn.Linear(num_features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Linear(hidden, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)

    def forward(self, features: Tensor, sizes: Sequence[int], positions: Tensor) -> Pooled:
        """Pool bags, as `Mean.forward`."""
        gated = self.dropout(self.value(features).tanh() * self.gate(features).sigmoid())
        weights = [part.softmax(dim=0) for part in split(self.weight(gated).squeeze(1).float(), sizes)]
        parts = split(features, sizes)
        pooled = [weight.to(part.dtype) @ part for weight, part in zip(weights, parts, strict=True)]
        return torch.stack(pooled), torch.cat(weights)


class Transformer(nn.Module):
    """The mean of a bag's features, and what a small transformer adds that knows where each slice lies.

    Starts as the mean: the last layer of what is added is 0 at first. What fills up shorter bags is masked, and no norm
    sees more than one slice.

    Args:
        num_features: F.
        width: Of the transformer, a multiple of twice `heads`.
        depth: Layers, at least 1; the last one asks the slices on behalf of the bag.
        heads: Of attention, at least 1.
        dropout: In [0, 1).

    Raises:
        ConfigError: If the width is no such multiple.

    Source:
        Vaswani et al. (2017), Attention is all you need, arXiv 1706.03762; here the sinusoids are of mm from the bag's
        middle.
    """

    def __init__(self, num_features: int, *, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ConfigError("pooling.width", f"must be a multiple of {2 * heads}, twice pooling.heads", found=width)
        self.width = width
        # A scale of its own the linear layer has; without one, features of a frozen network need no gradient here.
        self.enter = nn.Sequential(nn.LayerNorm(num_features, elementwise_affine=False), nn.Linear(num_features, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth - 1)
        )
        self.norm = nn.LayerNorm(width)
        self.question = nn.Parameter(torch.zeros(1, 1, width))
        self.ask = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.leave = nn.Linear(width, num_features)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Tensor, sizes: Sequence[int], positions: Tensor) -> Pooled:
        """Pool bags, as `Mean.forward`; the weights are those with which the bag looks at its slices."""
        mean = torch.stack([part.mean(dim=0) for part in split(features, sizes)])
        middle = [part - (part.max() + part.min()) / 2 for part in split(positions, sizes)]
        slices = self.enter(features) + sinusoids(torch.cat(middle), self.width).to(features.dtype)
        bags, is_filling = _filled(slices, sizes)
        found, weights = self._asked(bags, is_filling)
        own = weights.flatten()
        if is_filling is not None:
            own = torch.cat([row[:size] for row, size in zip(weights[:, 0], sizes, strict=True)])
        return mean + found, own.float()

    def alone(self, features: Tensor) -> Tensor:
        """What slices ``(N, F)`` that are bags of their own come to, as `forward` says it; each is its own middle."""
        here = sinusoids(features.new_zeros(1), self.width).to(features.dtype)
        return features + self._asked((self.enter(features) + here)[:, None], None)[0]

    def _asked(self, bags: Tensor, is_filling: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is added to the means of bags ``(B, longest, width)``, ``(B, F)``, and weights ``(B, 1, longest)``."""
        for layer in self.layers:
            bags = layer(bags, src_key_padding_mask=is_filling)
        bags = self.norm(bags)
        question = self.question.expand(bags.shape[0], -1, -1)  # not len: exporters would take it for a constant
        found, weights = self.ask(question, bags, bags, key_padding_mask=is_filling)
        return self.leave(found[:, 0]), weights


def alone(pooling: nn.Module, features: Tensor) -> Tensor:
    """Pool slices ``(N, F)`` that are bags of their own, however many: all but a transformer leave them as they are."""
    return pooling.alone(features) if isinstance(pooling, Transformer) else features


def _filled(slices: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Bags ``(B, longest, F)``, and where nothing but filling stands ``(B, longest)``; None where all are as long."""
    bags = nn.utils.rnn.pad_sequence(split(slices, sizes), batch_first=True) if len(sizes) > 1 else slices[None]
    if len(sizes) == 1 or len(set(sizes)) == 1:
        return bags, None
    length = torch.tensor(sizes).to(bags.device, non_blocking=True)
    return bags, torch.arange(bags.shape[1], device=bags.device) >= length[:, None]


def split(values: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Part ``(N, ...)`` into its bags."""
    return [values] if len(sizes) == 1 else list(values.split(list(sizes)))


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Positions in mm ``(N,)`` as sines and cosines of wavelengths from 2π to 2 000 π mm, float32 ``(N, width)``."""
    steps = torch.arange(width // 2, device=positions.device) / max(1, width // 2 - 1)
    angles = positions.float()[:, None] * torch.exp(-math.log(1000.0) * steps)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
