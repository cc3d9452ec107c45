"""A timm network that takes grey 8-bit slices as they lie in the cohort; the only module that knows timm's networks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import timm
import torch
from torch import Tensor, nn

from fistula.learning.building.dry_run import check_network
from fistula.learning.building.late import add_classifiers, are_there, fused
from fistula.learning.building.timm_network import (
    checked_options,
    colour_constants,
    located,
    made,
    resolved_from,
    start_near_even,
)
from fistula.learning.data.channels import GREY, Stem, stem_of, widen_stem
from fistula.learning.weights.finding import AUTO, check_source, find_weights

log = logging.getLogger(__name__)

PRETRAINED = "pretrained"  # as an image size: the one of the weights


class Backbone(nn.Module):
    """A timm network with its input normalisation inside, so that every user of it feeds the same numbers.

    With one input channel the first convolution is the sum over the pretrained kernel's three, which is the same as
    repeating the grey image three times but for the means of mean and standard deviation; with three, the grey image
    is repeated and each channel has its own. They are constants of the pretraining: nothing is fitted on any part of
    the cohort.

    Args:
        network: Maps ``(B, C, H, W)`` float images to logits ``(B, K)``.
        mean: Of the pixels in [0, 1] that the network was trained with, one for each of the C channels.
        input_size: Side of the images that it takes, pixels: the one asked for, or that of its weights.
        interpolation: That scaled the images its weights were trained with, by its name in timm.

    Attributes:
        num_slices: Channels of an image; as `fistula.learning.data.channels.image_rows` has it.
        sequences: Names of the sequences that an image is made of; empty for one.
        num_late: Of the sequences that are looked at by themselves; 0 where an image is looked at as a whole.
        resolved: Under ``network`` what a name on the hub or a folder stood for; empty where timm has the name itself.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module, *, mean: Sequence[float], std: Sequence[float], weights: str, input_size: int,
        interpolation: str, stem: Stem = GREY,
    ) -> None:  # fmt: skip
        super().__init__()
        # On a CPU 1.2 to 2.2 times as fast for convolutions (ResNets, DenseNet-121, EfficientNet-lite0 at 224 pixels),
        # as fast for ViT and ConvNeXt; the weights' values and their order in files stay as they are.
        self.network: Any = network.to(memory_format=torch.channels_last)
        self.weights, self.input_size, self.interpolation = weights, input_size, interpolation
        self.num_slices, self.sequences = stem.num_slices, stem.names
        self.num_late = len(stem.names) if stem.is_late else 0
        if self.num_late:
            add_classifiers(self.network, self.heads, self.num_late)
        self.resolved: dict[str, Any] = {}
        # One channel: scalars. More: shapes that repeat a grey image over the channels.
        shape = () if len(mean) == 1 else (1, len(mean), 1, 1)
        self.register_buffer("scale", torch.tensor([1 / (255 * value) for value in std]).reshape(shape))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).reshape(shape))

    @property
    def heads(self) -> list[nn.Module]:
        """The classifier: one module, or several whose logits are averaged (distilled and multi-scale networks)."""
        found = self.network.get_classifier()
        heads = list(found) if isinstance(found, list | tuple | nn.ModuleList) else [found]
        # Some give the pooling along with the classifier.
        heads = [head.fc if hasattr(head, "global_pool") and hasattr(head, "fc") else head for head in heads]
        return [*heads, *getattr(self.network, "of_sequences", ())]

    @property
    def num_features(self) -> int:
        """F: numbers that `features` gives of an image."""
        return sum(_layer_of(head).weight.shape[1] for head in self.heads) + self.num_late

    @property
    def num_pooled(self) -> int:
        """Those of them that one bag is pooled from."""
        return (self.num_features - self.num_late) // max(1, self.num_late)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, num_slices, H, W)``, values 0 to 255 of any dtype, to logits ``(B, K)``."""
        return self.classify(self.features(image)) if self.num_late else self.network(self._normalised(image))

    def features(self, image: Tensor) -> Tensor:
        """Map images to what the classifier is given, ``(B, F)``, one head's after another.

        Of sequences that are looked at by themselves one's after another's, and then 1 or 0 for each: is it there?
        """
        with self.noting_features() as noted:
            for part in image[:, : self.num_late].split(1, dim=1) if self.num_late else [image]:
                self.network(self._normalised(part))
        return torch.cat([*noted, are_there(image, self.num_late)] if self.num_late else noted, dim=1)

    @contextmanager
    def noting_features(self) -> Iterator[list[Tensor]]:
        """Note what the heads are given, each ``(B, F)`` at a forward pass, while the block runs the network."""
        noted: list[Tensor] = []
        here = get_ident()

        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if get_ident() == here:  # another thread may use the network for something else
                noted.append(inputs[0].flatten(1))

        hooks = [head.register_forward_pre_hook(note) for head in self.heads]
        try:
            yield noted
        finally:
            for hook in hooks:
                hook.remove()

    def classify(self, features: Tensor) -> Tensor:
        """Map features ``(B, F)`` to logits ``(B, K)``."""
        layers = list(map(_layer_of, self.heads))
        widths = [layer.weight.shape[1] for layer in layers]
        *parts, there = features.split([*widths, self.num_late], dim=1)
        # A convolution as a classifier sees an image of one pixel.
        shaped = [
            part[..., None, None] if isinstance(layer, nn.Conv2d) else part
            for part, layer in zip(parts, layers, strict=True)
        ]
        # Not through the heads' hooks, which note what the network itself gives them.
        logits = [head.forward(part).flatten(1) for head, part in zip(self.heads, shaped, strict=True)]
        if self.num_late:
            return fused(torch.stack(logits, dim=1), there)
        return torch.stack(logits).mean(dim=0) if len(logits) > 1 else logits[0]

    def pyramid(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Feature maps ``(B, C, h, w)`` of images, one a stride, from the finest, and the `features` of the same pass.

        Of a transformer, whose maps are all of one stride, it is the last. Not every network gives them:
        `dry_run.check_pyramid`.
        """
        final, found = self.network.forward_intermediates(self._normalised(image), output_fmt="NCHW")
        with self.noting_features() as noted:
            self.network.forward_head(final)
        by_side = {int(one.shape[-1]): one for one in found}  # of several of a stage the last
        return [by_side[side] for side in sorted(by_side, reverse=True)], torch.cat(noted, dim=1)

    def _normalised(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image.to(self.scale.dtype), self.scale)


def _layer_of(head: nn.Module) -> nn.Linear | nn.Conv2d:  # the one that is given the features
    return next(one for one in head.modules() if isinstance(one, nn.Linear | nn.Conv2d))


def create_backbone(
    architecture: str,
    *,
    pretrained: bool,
    download: bool,
    num_classes: int,
    image_size: int | str = PRETRAINED,
    weights: str = AUTO,
    channels: str = "sum",
    sequences: Sequence[str] | None = None,
    available: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> Backbone:
    """Build a network by timm's name, with pretrained weights or with random ones.

    Args:
        architecture: Any of timm's names, with or without a pretrained tag; ``hf-hub:OWNER/NAME``, a network of timm
            that somebody has put on the hub; or ``local-dir:PATH``, a copy of such a one.
        pretrained: Whether to load weights; set by the learning mode.
        download: Whether the network may be used to fetch them.
        num_classes: Number of logits.
        image_size: Side of the images, pixels, or ``pretrained``: that of its weights.
        weights: Where from: ``auto``, ``hub:OWNER/NAME``, ``run:DIR`` or ``file:PATH``; as `find_weights` has it.
        channels: How a grey image enters a network for colour ones: ``sum`` (one channel, the stem's kernels summed)
            ``replicate`` (three times the same) or ``adjacent`` (the slice before, itself, the slice after); or
            ``sequences``, as `fistula.learning.data.channels.stem_of` has it, like the next two.
        sequences: Of the cohort's, those that are looked at; None for all.
        available: The cohort's.
        options: For timm's constructor of this network, such as ``{drop_path_rate: 0.1}``.
        mean: Of the pixels in [0, 1] that the weights were trained with, one number or three; None: as timm says.
        std: Likewise.

    Raises:
        ConfigError: If timm has no such network or option, or one that takes no such images or `channels`.
        WeightsError: If weights are wanted and not to be had; within about 2 s.
    """
    stem = stem_of(channels, sequences, available)
    # Pretrained kernels are summed to one grey channel, and this one then shared out; fresh ones are drawn for each.
    is_shared = pretrained and len(stem.names) > 0 and not stem.is_late
    seen, settings = colour_constants(mean=mean, std=std), checked_options(options) | {"num_classes": num_classes}
    check_source(weights)  # for a network that starts from random ones too
    name = located(str(architecture), download=download)
    source, overlay = "random initialization", dict[str, Any]()
    if pretrained:
        with torch.device("meta"):
            network = made(name, architecture, settings, image_size=None)
        found = find_weights(architecture, network, download=download, source=weights)
        source, overlay = found.source, found.overlay | {"source": ""}  # else timm would look for them itself
    settings |= {"in_chans": 1 if is_shared else stem.width, "pretrained_cfg_overlay": overlay | seen}
    size = None if image_size == PRETRAINED else int(image_size)
    network = made(name, architecture, settings, image_size=size, pretrained=pretrained)
    log.info("%s: %s", architecture, source)
    constants = timm.data.resolve_data_config(model=network)
    means, stds = stem.constants(constants["mean"], constants["std"])
    if is_shared:
        widen_stem(network, stem)
    backbone = Backbone(
        network, mean=means, std=stds, weights=source, input_size=size or constants["input_size"][-1],
        interpolation=constants["interpolation"], stem=stem,
    )  # fmt: skip
    backbone.resolved = resolved_from(network, name)
    start_near_even(backbone.heads)
    check_network(backbone, options)
    return backbone
