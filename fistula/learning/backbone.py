"""A timm network that takes grey 8-bit slices as they lie in the cohort."""

import difflib
import logging
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from fistula.errors import ConfigError
from fistula.learning.adjacent import ADJACENT
from fistula.learning.weights import AUTO, find_weights

log = logging.getLogger(__name__)

CHANNELS = {"sum": 1, "replicate": 3, ADJACENT: 3}


class Backbone(nn.Module):
    """A timm network with its input normalisation inside, so that every user of it feeds the same numbers.

    With one input channel the first convolution is the sum over the pretrained kernel's three, which is the same as
    repeating the grey image three times but for the means of mean and standard deviation; with three, the grey image
    is repeated and each channel has its own. They are constants of the pretraining: nothing is fitted on any part of
    the cohort.

    Args:
        network: Maps ``(B, C, H, W)`` float images to logits ``(B, K)``.
        mean: Of the pixels in [0, 1] that the network was trained with, one for each of the C channels.
        std: Likewise.
        weights: Where the network's weights came from.
        input_size: Side of the images that those weights were trained with, pixels.
        interpolation: That scaled them, by its name in timm.
        num_slices: Slices that an image is made of; as `fistula.learning.adjacent.channel_rows` has it.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        weights: str,
        input_size: int,
        interpolation: str,
        num_slices: int = 1,
    ) -> None:
        super().__init__()
        # On a CPU 1.2 to 2.2 times as fast for convolutions (ResNets, DenseNet-121, EfficientNet-lite0 at 224 pixels),
        # as fast for ViT and ConvNeXt; the weights' values and their order in files stay as they are.
        self.network = network.to(memory_format=torch.channels_last)
        self.weights = weights
        self.input_size, self.interpolation = input_size, interpolation
        self.num_slices = num_slices
        # One channel: scalars. More: shapes that repeat a grey image over the channels.
        shape = () if len(mean) == 1 else (1, len(mean), 1, 1)
        self.register_buffer("scale", torch.tensor([1 / (255 * value) for value in std]).reshape(shape))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).reshape(shape))

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, num_slices, H, W)``, values 0 to 255 of any dtype, to logits ``(B, K)``."""
        return self.network(self._normalised(image))

    def features(self, image: Tensor) -> Tensor:
        """Map images to what the classifier is given, ``(B, F)``; `classify` does the rest."""
        network: Any = self.network
        return network.forward_head(network.forward_features(self._normalised(image)), pre_logits=True)

    def classify(self, features: Tensor) -> Tensor:
        """Map features ``(B, F)`` to logits ``(B, K)``."""
        network: Any = self.network
        return network.get_classifier()(features)

    def _normalised(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image.to(self.scale.dtype), self.scale)


def create_backbone(
    architecture: str,
    *,
    pretrained: bool,
    download: bool,
    num_classes: int,
    weights: str = AUTO,
    channels: str = "sum",
) -> Backbone:
    """Build a network by timm's name, with pretrained weights or with random ones.

    Args:
        architecture: Any of timm's names, with or without a pretrained tag.
        pretrained: Whether to load weights; set by the learning mode.
        download: Whether the network may be used to fetch them.
        num_classes: Number of logits.
        weights: Where from: ``auto``, ``run:DIR`` or ``file:PATH``; as `find_weights` has it.
        channels: How a grey image enters a network for colour ones: ``sum`` (one channel, the stem's kernels summed)
            ``replicate`` (three times the same) or ``adjacent`` (the slice before, itself, the slice after).

    Raises:
        ConfigError: If timm has no such network, or `channels` is none of these.
        WeightsError: If weights are wanted and not to be had; within about 2 s.
    """
    name = architecture.partition(".")[0]
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() lists what there is"
        raise ConfigError("model.architecture", "must be the name of a timm network", found=architecture, remedy=remedy)
    if channels not in CHANNELS:
        raise ConfigError("model.channels", f"must be one of {', '.join(CHANNELS)}", found=channels)
    if pretrained:
        found = find_weights(architecture, download=download, source=weights)
        source, overlay = found.source, found.overlay
    else:
        source, overlay = "random initialisation", None
    network = timm.create_model(
        architecture,
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=CHANNELS[channels],
        pretrained_cfg_overlay=overlay,
    )
    _start_near_even(network)
    log.info("%s: %s", architecture, source)
    constants = timm.data.resolve_data_config(model=network)
    mean, std = (list(constants[key]) for key in ("mean", "std"))
    if CHANNELS[channels] == 1:
        mean, std = [sum(mean) / 3], [sum(std) / 3]
    return Backbone(
        network,
        mean=mean,
        std=std,
        weights=source,
        input_size=constants["input_size"][-1],
        interpolation=constants["interpolation"],
        num_slices=3 if channels == ADJACENT else 1,
    )


def _start_near_even(network: nn.Module) -> None:
    """Give the fresh classifier small weights, so that training starts from nearly even probabilities.

    timm draws the classifier of its EfficientNets from a range that grows as the classes get fewer: with two, the
    first losses are near 10 instead of 0.7, and what they do to pretrained layers takes epochs to mend.
    """
    classifier: nn.Module = network.get_classifier()  # type: ignore[operator]
    for layer in classifier.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
