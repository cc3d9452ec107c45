"""A network tried without computing anything: whether it takes the images that a run would give it."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fistula.errors import ConfigError

if TYPE_CHECKING:
    from fistula.learning.backbone import Backbone

ANOTHER = "Choose another network: docs/networks.md"
_passed: set[tuple[Any, ...]] = set()


def skeleton_of(backbone: "Backbone") -> "Backbone":
    """A copy without numbers, on PyTorch's meta device; what it is asked costs no memory and hardly any time."""
    memo: dict[int, Any] = {id(one): one.to("meta") for one in backbone.buffers()}
    for one in backbone.parameters():
        memo[id(one)] = nn.Parameter(one.detach().to("meta"), requires_grad=one.requires_grad)
    return copy.deepcopy(backbone, memo)


def check_network(backbone: "Backbone", options: Mapping[str, Any] | None = None) -> None:
    """Pass images of `input_size` through the network, in training and in use, and features through its classifier.

    Its `options` are those that timm was given.

    The networks of an ensemble are alike, and one like another that this process has tried is not tried again.

    Raises:
        ConfigError: If it does not take them, or gives something else than logits.
    """
    config, size = backbone.network.pretrained_cfg, backbone.input_size
    where = f"model.architecture={config['architecture']}" + (f" with model.options={dict(options)}" if options else "")
    shape, mend = (2, backbone.network.num_classes), "Leave out or correct model.options" if options else None
    alike = (where, repr(backbone), backbone.num_slices, size, *(one.shape for one in backbone.state_dict().values()))
    if alike in _passed:
        return
    skeleton = skeleton_of(backbone)
    image = torch.empty((2, backbone.num_slices, size, size), dtype=torch.uint8, device="meta")
    for training in (True, False):
        skeleton.train(training)
        try:
            logits = skeleton(image)
        except Exception as error:  # timm's networks have no error of their own
            found = " ".join(str(error).split("\n")[0].split())[:200] or type(error).__name__
            remedy = mend or f"Try image_size={config['input_size'][-1]}, which it was made for"
            raise ConfigError(where, f"does not take images of {size} pixels", found=found, remedy=remedy) from error
        if not isinstance(logits, Tensor) or logits.shape != shape:
            found = str(tuple(logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__
            mode = "in training" if training else "in use"
            raise ConfigError(where, f"must give logits {shape} {mode}", found=found, remedy=mend or ANOTHER)
    try:
        logits = skeleton.classify(skeleton.features(image))
    except Exception as error:
        rule = "has a classifier that cannot be separated from the rest of the network"
        raise ConfigError(where, rule, remedy=mend or ANOTHER) from error
    _passed.add(alike)


@torch.no_grad()
def check_pyramid(backbone: "Backbone") -> None:
    """Pass two images through the network's stages.

    Raises:
        ConfigError: If it gives no maps of them, or if what follows them is not all that follows in the network.
    """
    where, size = f"model.architecture={backbone.network.pretrained_cfg['architecture']}", backbone.input_size
    image = torch.rand((2, backbone.num_slices, size, size), generator=torch.Generator().manual_seed(0)) * 255
    if backbone.num_late:
        rule, remedy = "looks at one image, and model.channels=late at several", "Use model.channels=sequences"
        raise ConfigError("head=locate", rule, remedy=remedy)
    was, rule = backbone.training, "gives no maps of its stages, which head=locate looks at"
    backbone.eval()
    try:
        levels, features = backbone.pyramid(image)
        is_whole = torch.allclose(features, backbone.features(image), rtol=1e-3, atol=1e-4)
    except Exception as error:  # timm's networks have no error of their own
        raise ConfigError(where, rule, remedy="Use head=classify, or another network: docs/networks.md") from error
    finally:
        backbone.train(was)
    if not is_whole or not all(level.ndim == 4 for level in levels):
        raise ConfigError(where, rule, remedy="Use head=classify, or another network: docs/networks.md")
