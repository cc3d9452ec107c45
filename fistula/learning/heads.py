"""Heads: what a network says of a slice: its class alone, or where the finding is as well."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fistula.errors import ConfigError
from fistula.learning.backbone import Backbone
from fistula.learning.building.dry_run import check_pyramid, skeleton_of
from fistula.learning.places.heatmap import maps_loss, peaks, score_of_map
from fistula.learning.pooling import split

STRIDE = 4  # pixels of an image in one of its map
RARE = -4.6  # where a map starts: 0.01 everywhere, so that the many empty pixels do not swamp the first steps


class Classify(nn.Module):
    """The network's own classifier, which finds no kinds of points and draws no map."""

    kinds: tuple[str, ...] = ()

    def __init__(self, **given: Any) -> None:
        super().__init__()


class Locate(nn.Module):
    """Maps of where something is, and a score that is made of the first of them.

    The score of a slice is the log of the mean of the exponentials of its map, moved by a constant that is learned: it
    rises with every pixel of the map, so that score and place cannot contradict each other. What the network's own
    classifier says of a slice lifts or lowers the map as a whole, and so moves its score but not its place.

    Args:
        backbone: Whose stages it looks at.
        kinds: Of points, the finding first; one map each.
        pixel_mm: Distance of pixels in the network's input; None where slices state none.
        width: Channels of the decoder, a multiple of 4.
        sigma_mm: Standard deviation of the Gaussian that a map should show at a point.
        sigma_share: The same as a share of the side, where slices state no distance.
        weight: Of the maps' loss beside the score's.
        joint: Whether the network's own classifier lifts the map of the finding, so that what it knows of the slice
            counts in the score.

    Raises:
        ConfigError: If the network has no maps of its stages, or the width is no multiple of 4.

    Source:
        Maps: Zhou et al. (2019), Objects as Points, arXiv 1904.07850. Decoder: Lin et al. (2017), Feature pyramid
        networks, arXiv 1612.03144.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        kinds: Sequence[str],
        pixel_mm: float | None,
        width: int,
        sigma_mm: float,
        sigma_share: float,
        weight: float,
        joint: bool,
    ) -> None:
        super().__init__()
        if width % 4:
            raise ConfigError("head.width", "must be a multiple of 4", found=width, remedy="For example head.width=32")
        check_pyramid(backbone)
        self.kinds, self.weight, self.joint = tuple(kinds), weight, joint
        self.side = -(-backbone.input_size // STRIDE)
        # In pixels of the map.
        sigma = sigma_share * backbone.input_size if pixel_mm is None else sigma_mm / pixel_mm
        self.sigma = sigma * self.side / backbone.input_size
        shapes = _shapes(backbone)
        self.skipped = sum(side > self.side for _, side in shapes[:-1])  # stages finer than the map
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels, _ in shapes[self.skipped :])
        # One step from each stage to the next finer one, and as many more as it takes to the map.
        steps, side = len(self.lateral) - 1, shapes[self.skipped][1]
        while side < self.side:
            steps, side = steps + 1, side * 2
        self.smooth = nn.ModuleList(_smoothing(width) for _ in range(max(1, steps)))
        self.out = nn.Conv2d(width, len(self.kinds), 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.constant_(cast(Tensor, self.out.bias), RARE)
        self.shift = nn.Parameter(torch.tensor(-RARE))  # the first scores are near even

    def forward(self, backbone: Backbone, image: Tensor) -> tuple[Tensor, Tensor]:
        """Look at images.

        Returns:
            Features ``(N, F + 1)``: the network's, and what the map of the finding adds to the score; and the maps'
            logits before they are `lifted`, ``(N, M, h, w)``, an h-th of the side standing for a pixel. Only these can
            be taught where something is: a lifted map would have to be empty beside the finding however sure the
            classifier is, which keeps scores near even.
        """
        levels, features = backbone.pyramid(image)
        maps = self._decode(levels[self.skipped :])
        found = score_of_map(maps[:, 0]) + self.shift
        return torch.cat([features.float(), found[:, None]], dim=1), maps

    def lifted(self, backbone: Backbone, features: Tensor, maps: Tensor) -> Tensor:
        """Maps as `forward` gives them, that of the finding moved by what the classifier says of each slice."""
        if not self.joint:
            return maps
        whole = _difference(backbone.classify(features[:, :-1]))[:, None, None, None]
        return torch.cat([maps[:, :1] + whole, maps[:, 1:]], dim=1)

    def judged(self, logits: Tensor, found: Tensor, sizes: Sequence[int] | None) -> Tensor:
        """Add to the classifier's logits ``(B, 2)`` of bags what the maps of their slices ``(N,)`` say.

        Of several slices it is, as of a map, the log of the mean of the exponentials: it does not rise with their
        number.
        """
        if sizes is not None:
            found = torch.stack([score_of_map(one[None, :, None])[0] for one in split(found, sizes)])
        whole = _difference(logits)
        # Nothing is left unused: processes that train together wait for the gradient of every weight.
        score = (whole if self.joint else 0 * whole) + found
        return torch.stack([-score / 2, score / 2], dim=1)

    def loss(self, maps: Tensor, points: Tensor, labels: Tensor, *, size: int) -> Tensor:
        """Of maps as `forward` gives them against points ``(N, M, 2)`` in pixels of images of `size`.

        See `heatmap.maps_loss`.
        """
        on_map = (points + 0.5) * (maps.shape[-1] / size) - 0.5
        return maps_loss(maps, on_map, labels, sigma=self.sigma)

    def _decode(self, levels: Sequence[Tensor]) -> Tensor:
        lateral = [layer(level) for layer, level in zip(self.lateral, levels, strict=True)]
        found = lateral[-1]
        for number, smooth in enumerate(self.smooth, start=2):
            if number <= len(lateral):
                finer = lateral[-number]
                found = interpolate(found, size=finer.shape[-2:], mode="nearest") + finer
            elif found.shape[-1] < self.side:
                side = min(self.side, 2 * found.shape[-1])
                found = interpolate(found, size=(side, side), mode="bilinear", align_corners=False)
            found = smooth(found)
        return self.out(found).float()


Head = Classify | Locate


def marks_of(maps: Tensor, *, size: int) -> Tensor:
    """Row, column and height of each map's peak, ``(N, M, 3)``, in pixels of images of `size`; NaN, NaN, 0 for none."""
    number, kinds, side = maps.shape[0], maps.shape[1], maps.shape[-1]
    if kinds == 0:
        return maps.new_zeros((number, 0, 3))
    points, heights = peaks(maps.flatten(0, 1), most=1)
    in_image = (points[:, 0] + 0.5) * (size / side) - 0.5
    return torch.cat([in_image, heights], dim=1).reshape(number, kinds, 3)


def _difference(logits: Tensor) -> Tensor:
    return logits[:, 1].float() - logits[:, 0].float()


def _smoothing(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(4, width), nn.ReLU())


def _shapes(backbone: Backbone) -> list[tuple[int, int]]:
    """Channels and side of each stage's maps, from the finest."""
    size = backbone.input_size
    image = torch.empty((1, backbone.num_slices, size, size), dtype=torch.uint8, device="meta")
    levels, _ = skeleton_of(backbone).eval().pyramid(image)
    return [(int(level.shape[1]), int(level.shape[-1])) for level in levels]
