"""The networks of runs with their preprocessing as one graph: slices as ingest writes them in, what they say out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fistula.learning.building.judging import Parts, judge, see
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.data.slices import Resize
from fistula.learning.heads import marks_of


class Graph(nn.Module):
    """Maps slices ``(N, size, size)``, uint8 as in a cohort's pixels, to class probabilities, float32.

    Of classifiers of slices those are ``(N, K)``; of classifiers of patients, to whom the slices of one patient are
    given with their positions in mm ``(N,)``, the patient's ``(1, K)``, and then the weight of each slice ``(N,)`` and
    its probabilities when it is seen alone ``(N, K)``. Covariates ``(N, C)``, or the patient's ``(1, C)``, come last,
    NaN where one is not known. Those of several classifiers are averaged. Where they find places, the marks
    ``(N, M, 3)`` of their mean maps come last: row and column in pixels of the slices, centre of the first at 0, and
    the height of the peak. Backbones of several slices take ``(N, num_slices, size, size)``.

    The classifiers are in evaluation mode, and agree in all but their weights; `unit` is ``slice`` or ``patient``.
    """

    def __init__(
        self, classifiers: Sequence[FistulaClassifier], *, size: int, resize: Resize, unit: str = "slice"
    ) -> None:
        super().__init__()
        # The parts of a classifier alone: exporters stumble over the rest of a LightningModule.
        self.parts = nn.ModuleList(Parts(one) for one in classifiers)
        self.kinds, self.has_bags = classifiers[0].head.kinds, unit == "patient"
        self.num_slices, self.size = classifiers[0].backbone.num_slices, size
        self.takes = ["slices", *(["positions"] if self.has_bags else [])]
        self.takes += ["covariates"] if classifiers[0].covariates else []
        self.gives = ["probabilities", *["weights", "alone"] * self.has_bags, *["places"] * bool(self.kinds)]
        self.resize: nn.Module = nn.Identity()
        if resize.image_size < size:
            self.resize = Shrink(size, resize.image_size)
        elif resize.image_size > size:
            self.resize = Grow(size, resize)

    def forward(self, slices: Tensor, *further: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = dict(zip(self.takes[1:], further, strict=True))
        images = self.resize(slices)
        if self.num_slices == 1:
            images = images.unsqueeze(1)
        images = images.float()
        said = [self._of(parts, images, given.get("positions"), given.get("covariates")) for parts in self.parts]
        means = [torch.stack(values).mean(dim=0) for values in zip(*said, strict=True)]
        if self.kinds:
            means[-1] = marks_of(means[-1], size=self.size)
        return means[0] if len(means) == 1 else tuple(means)

    def _of(self, parts: Any, images: Tensor, positions: Tensor | None, known: Tensor | None) -> list[Tensor]:
        """What one classifier says, in the order of `gives`, its maps for places."""
        seen, maps = see(parts, images, known)
        said = list(judge(parts, seen, [images.shape[0]], positions, known)) if self.has_bags else [seen]
        return [*said, maps] if self.kinds else said


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
    """Pillow's interpolation of uint8, bit for bit: columns, then rows, each rounded, with weights of 22 bits."""

    weights: Tensor

    def __init__(self, size: int, resize: Resize) -> None:
        super().__init__()
        # What Pillow makes of a single bright pixel, one for each, is its own table of weights.
        bright = Image.fromarray(np.eye(size, dtype=np.int32) << 22)
        method = Image.Resampling[resize.interpolation.upper()]
        table = np.asarray(bright.resize((resize.image_size, size), method))
        self.register_buffer("weights", torch.from_numpy(table.T / (1 << 22)))

    def forward(self, slices: Tensor) -> Tensor:
        wide = torch.floor(slices.double() @ self.weights.T + 0.5).clamp(0, 255)
        return torch.floor(self.weights @ wide + 0.5).clamp(0, 255)


def area_weights(size: int, image_size: int) -> NDArray[np.float32]:
    """Share of each old pixel in each new one along an axis, ``(image_size, size)``; rows sum to 1."""
    scale = size / image_size
    edges = np.arange(image_size) * scale
    pixels = np.arange(size)
    overlap = np.minimum(edges[:, None] + scale, pixels + 1) - np.maximum(edges[:, None], pixels)
    return (overlap.clip(0) / scale).astype(np.float32)
