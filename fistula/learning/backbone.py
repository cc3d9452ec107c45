"""A timm network that takes grey 8-bit slices as they lie in the cohort; the only module that knows timm's networks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from fistula.errors import ConfigError
from fistula.learning.adjacent import ADJACENT
from fistula.learning.building.dry_run import check_network
from fistula.learning.building.timm_network import (
    RESERVED,
    checked_options,
    colour_constants,
    located,
    made,
    start_near_even,
)
from fistula.learning.weights.finding import AUTO, find_weights

log = logging.getLogger(__name__)

PRETRAINED = "pretrained"  # as an image size: the one of the weights
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
        input_size: Side of the images that it takes, pixels: the one asked for, or that of its weights.
        interpolation: That scaled the images its weights were trained with, by its name in timm.
        num_slices: Slices that an image is made of; as `fistula.learning.adjacent.channel_rows` has it.

    Attributes:
        resolved: Under ``network`` what a name on the hub or a folder stood for; empty where timm has the name itself.
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
        self.network: Any = network.to(memory_format=torch.channels_last)
        self.weights = weights
        self.input_size, self.interpolation = input_size, interpolation
        self.num_slices = num_slices
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
        return [head.fc if hasattr(head, "global_pool") and hasattr(head, "fc") else head for head in heads]

    @property
    def num_features(self) -> int:
        """F: numbers that `features` gives of an image."""
        return sum(_layer_of(head).weight.shape[1] for head in self.heads)

    def forward(self, image: Tensor) -> Tensor:
        """Map images ``(B, num_slices, H, W)``, values 0 to 255 of any dtype, to logits ``(B, K)``."""
        return self.network(self._normalised(image))

    def features(self, image: Tensor) -> Tensor:
        """Map images to what the classifier is given, ``(B, F)``, one head's after another."""
        with self.noting_features() as noted:
            self(image)
        return torch.cat(noted, dim=1)

    @contextmanager
    def noting_features(self) -> Iterator[list[Tensor]]:
        """Note what the heads are given, each ``(B, F)`` at a forward pass, while the block runs the network."""
        noted: list[Tensor] = []
        hooks = [
            head.register_forward_pre_hook(lambda module, inputs: noted.append(inputs[0].flatten(1)))
            for head in self.heads
        ]
        try:
            yield noted
        finally:
            for hook in hooks:
                hook.remove()

    def classify(self, features: Tensor) -> Tensor:
        """Map features ``(B, F)`` to logits ``(B, K)``."""
        layers = list(map(_layer_of, self.heads))
        parts = features.split([layer.weight.shape[1] for layer in layers], dim=1)
        # A convolution as a classifier sees an image of one pixel.
        shaped = [
            part[..., None, None] if isinstance(layer, nn.Conv2d) else part
            for part, layer in zip(parts, layers, strict=True)
        ]
        # Not through the heads' hooks, which note what the network itself gives them.
        logits = [head.forward(part).flatten(1) for head, part in zip(self.heads, shaped, strict=True)]
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

    def stages(self) -> list[list[str]]:
        """Names of the network's parameters by stage, from the stem to the classifier, which is alone in the last."""
        heads = {id(parameter) for head in self.heads for parameter in head.parameters()}
        by_stage: dict[Any, list[str]] = {}
        classifier: list[str] = []
        stage_of: dict[str, int] = {}
        try:
            stage_of = group_parameters(self.network, self.network.group_matcher(coarse=True), reverse=True)
        except (AttributeError, AssertionError):  # not every network groups its stages: then as the layers are written
            for name, _ in self.network.named_parameters():
                stage_of[name] = len({tuple(one.split(".")[:2]) for one in [*stage_of, name]})
        # The last group has what follows the blocks: the classifier, and where it is there, the norm before it.
        for name, parameter in self.network.named_parameters():
            (classifier if id(parameter) in heads else by_stage.setdefault(stage_of[name], [])).append(name)
        return [*(by_stage[stage] for stage in sorted(by_stage)), classifier]

    def parameter_groups(self, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """Every parameter, by its factor of the rate, and by whether it decays, as timm groups them.

        Norms and biases do not decay, known by their rank, nor what timm says must not (position embeddings).

        Args:
            layer_decay: Factor of the rate from one layer to the one below it, in timm's grouping.

        Returns:
            Groups with ``params``, ``lr_scale``, and ``weight_decay``, 1 or 0.

        Source:
            Decay by layer: Bao et al. 2021, BEiT, arXiv 2106.08254.
        """
        exempt = self.network.no_weight_decay() if hasattr(self.network, "no_weight_decay") else ()
        return param_groups_layer_decay(
            self.network, weight_decay=1.0, no_weight_decay_list=exempt, layer_decay=layer_decay
        )

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
            ``replicate`` (three times the same) or ``adjacent`` (the slice before, itself, the slice after).
        options: For timm's constructor of this network, such as ``{drop_path_rate: 0.1}``.
        mean: Of the pixels in [0, 1] that the weights were trained with, one number or three; None: as timm says.
        std: Likewise.

    Raises:
        ConfigError: If timm has no such network or option, or one that takes no such images or `channels`.
        WeightsError: If weights are wanted and not to be had; within about 2 s.
    """
    if channels not in CHANNELS:
        raise ConfigError("model.channels", f"must be one of {', '.join(CHANNELS)}", found=channels)
    seen, settings = colour_constants(mean=mean, std=std), checked_options(options) | {"num_classes": num_classes}
    name = located(str(architecture), download=download)
    overlay: dict[str, Any] = {}
    source = "random initialization"
    if pretrained:
        with torch.device("meta"):
            network = made(name, architecture, settings, image_size=None)
        found = find_weights(architecture, network, download=download, source=weights)
        source, overlay = found.source, found.overlay | {"source": ""}  # else timm would look for them itself
    settings |= {"in_chans": CHANNELS[channels], "pretrained_cfg_overlay": overlay | seen}
    size = None if image_size == PRETRAINED else int(image_size)
    network = made(name, architecture, settings, image_size=size, pretrained=pretrained)
    log.info("%s: %s", architecture, source)
    constants = timm.data.resolve_data_config(model=network)
    means, stds = list(constants["mean"]), list(constants["std"])
    if CHANNELS[channels] == 1:
        means, stds = [sum(means) / len(means)], [sum(stds) / len(stds)]
    backbone = Backbone(
        network, mean=means, std=stds, weights=source, input_size=size or constants["input_size"][-1],
        interpolation=constants["interpolation"], num_slices=3 if channels == ADJACENT else 1,
    )  # fmt: skip
    if name.startswith("local-dir:"):
        own = {key: value for key, value in backbone.network._model_args.items() if key not in (*RESERVED, "source")}
        backbone.resolved = {
            "network": {"architecture": backbone.network.pretrained_cfg["architecture"], "options": own}
        }
    start_near_even(backbone.heads)
    check_network(backbone)
    return backbone
