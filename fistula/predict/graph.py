"""A run's network with its preprocessing as one graph: slices as ingest writes them in, class probabilities out."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fistula.learning.backbone import Backbone


class Graph(nn.Module):
    """Maps slices ``(N, size, size)``, uint8 as in a cohort's pixels, to class probabilities ``(N, K)``, float32.

    A backbone of several slices takes ``(N, num_slices, size, size)``.

    Args:
        backbone: In evaluation mode.
        size: Side of the cohort's slices.
        image_size: Side of the network's input.
    """

    def __init__(self, backbone: Backbone, *, size: int, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        resize: nn.Module = nn.Identity()
        if image_size < size:
            resize = Shrink(size, image_size)
        elif image_size > size:
            resize = Grow(size, image_size)
        self.resize = resize

    def forward(self, slices: Tensor) -> Tensor:
        images = self.resize(slices)
        if self.backbone.num_slices == 1:
            images = images.unsqueeze(1)
        return self.backbone(images.float()).softmax(dim=1)


class Shrink(nn.Module):
    """OpenCV's INTER_AREA for uint8: the mean over each new pixel's area, rounded as OpenCV does."""

    weights: Tensor

    def __init__(self, size: int, image_size: int) -> None:
        super().__init__()
        # Halving has a path of its own in OpenCV, which rounds halves up; all others round them to even.
        self.rounds_up = size == 2 * image_size
        self.register_buffer("weights", torch.from_numpy(area_weights(size, image_size)))

    def forward(self, slices: Tensor) -> Tensor:
        means = self.weights @ slices.float() @ self.weights.T
        return torch.floor(means + 0.5) if self.rounds_up else torch.round(means)


class Grow(nn.Module):
    """OpenCV's INTER_LINEAR for uint8: bilinear, in its fixed-point arithmetic of 11 bits."""

    low: Tensor
    high: Tensor
    near: Tensor
    far: Tensor

    def __init__(self, size: int, image_size: int) -> None:
        super().__init__()
        place = ((np.arange(image_size) + 0.5) * (size / image_size) - 0.5).astype(np.float32)
        low = np.floor(place).astype(np.int64)
        share = place - low.astype(np.float32)
        share[(low < 0) | (low >= size - 1)] = 0
        low = low.clip(0, size - 1)
        self.register_buffer("low", torch.from_numpy(low))
        self.register_buffer("high", torch.from_numpy(np.minimum(low + 1, size - 1)))
        self.register_buffer("near", torch.from_numpy(np.rint((1 - share) * 2048).astype(np.int32)))
        self.register_buffer("far", torch.from_numpy(np.rint(share * 2048).astype(np.int32)))

    def forward(self, slices: Tensor) -> Tensor:
        values = slices.int()
        wide = values[..., self.low] * self.near + values[..., self.high] * self.far
        wide = torch.div(wide, 16, rounding_mode="floor")
        upper = torch.div(wide[..., self.low, :] * self.near[:, None], 65536, rounding_mode="floor")
        lower = torch.div(wide[..., self.high, :] * self.far[:, None], 65536, rounding_mode="floor")
        return torch.div(upper + lower + 2, 4, rounding_mode="floor")


def area_weights(size: int, image_size: int) -> NDArray[np.float32]:
    """Share of each old pixel in each new one along an axis, ``(image_size, size)``; rows sum to 1."""
    scale = size / image_size
    edges = np.arange(image_size) * scale
    pixels = np.arange(size)
    overlap = np.minimum(edges[:, None] + scale, pixels + 1) - np.maximum(edges[:, None], pixels)
    return (overlap.clip(0) / scale).astype(np.float32)
