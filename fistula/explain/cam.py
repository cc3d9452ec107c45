"""Where a classifier looked: class activation maps of timm's networks, and the map of a head that finds places."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fistula.errors import ConfigError, refuse_other
from fistula.explain.verdict import MADE_OF
from fistula.learning.building.judging import found, logits_alone
from fistula.learning.classifier import FistulaClassifier

METHODS = tuple(MADE_OF)
BATCH = 64  # images whose own maps are drawn at once


def saliency(
    classifier: FistulaClassifier, images: Tensor, *, target: int, method: str | None = None
) -> NDArray[np.float32]:
    """Where each image speaks for a class.

    With the method ``map`` it is the map that a head draws of the finding and makes its score of; it speaks for the
    second class alone. The other maps are those of the last features before pooling, brought to the image's size
    (bilinear); a transformer's are the tokens before its last block, less the class token.

    Images are as the classifier, in evaluation mode, takes them: ``(N, C, H, W)``, 0 to 255; `target` is the index of
    the class, `method` one of `METHODS`, or None for `method_of`. Gives ``(N, H, W)`` in [0, 1]: 1 at each image's
    peak, 0 throughout where nothing speaks for the class.

    Raises:
        ConfigError: If the method is unknown, the head draws no map, or the network has neither feature maps nor
            tokens.

    Source:
        Grad-CAM: Selvaraju et al., ICCV 2017. Grad-CAM++: Chattopadhay et al., WACV 2018, eq. 19.
    """
    method = method_of(classifier) if method is None else method
    refuse_other("method", method, METHODS)
    if method == "map" and not classifier.head.kinds:
        raise ConfigError("method", "must be another than map for a run that draws none", remedy="Use method=grad_cam")
    device, empty = classifier.device, np.zeros((0, *images.shape[-2:]), np.float32)
    if method == "map":
        return np.concatenate(
            [_own_maps(classifier, part.to(device), target) for part in images.split(BATCH)] or [empty]
        )
    found = [_map_of(classifier, image[None].to(device), target=target, method=method) for image in images]
    if not found:
        return empty
    return _unit(torch.cat(found)).cpu().numpy()


def method_of(classifier: FistulaClassifier) -> str:
    """What shows best where a classifier looked: the map that its score is made of, else Grad-CAM."""
    return "map" if classifier.head.kinds else "grad_cam"


@torch.inference_mode()
def _own_maps(classifier: FistulaClassifier, images: Tensor, target: int) -> NDArray[np.float32]:
    maps = found(classifier, images)[1][:, :1].double().sigmoid().float() * (target == 1)
    wide = interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)
    return _unit(wide[:, 0]).cpu().numpy()


def _map_of(classifier: FistulaClassifier, image: Tensor, *, target: int, method: str) -> Tensor:
    """The map of one image ``(1, C, H, W)``, unscaled, ``(1, H, W)``; one at a time bounds the memory of gradients."""
    features, gradients = _features(classifier, image, target=target)
    weights = gradients.mean(dim=(2, 3)) if method == "grad_cam" else _plus_plus_weights(features, gradients)
    coarse = (weights[:, :, None, None] * features).sum(dim=1, keepdim=True).relu()
    return interpolate(coarse, size=image.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _features(classifier: FistulaClassifier, image: Tensor, *, target: int) -> tuple[Tensor, Tensor]:
    """Feature maps ``(1, C, h, w)`` and the gradient of the class's logit with respect to them."""
    network, passes = classifier.backbone.network, max(1, classifier.backbone.num_late)
    with torch.inference_mode(mode=False), torch.enable_grad():
        layer = _after_features(network)
        if layer is None:
            return _last_maps(classifier, image.clone(), target=target)
        caught: list[Tensor] = []

        def catch(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            # A leaf of its own: a frozen network has gradients from here on too, and none before cost time.
            caught.append(inputs[0].detach().requires_grad_())
            return caught[-1], *inputs[1:]

        hook = layer.register_forward_pre_hook(catch)
        try:
            logit = logits_alone(classifier, image.clone())[0, target]
            # One pass, or one of each sequence that is looked at by itself: then their maps are one's after another's.
            last = caught[-passes:]
            gradients = torch.autograd.grad(logit, last)
        finally:
            hook.remove()
        if last[0].shape[-2:] == (1, 1):  # pooled already
            return _last_maps(classifier, image.clone(), target=target)
    maps, slopes = (torch.cat([_as_maps(one.detach(), network) for one in many], dim=1) for many in (last, gradients))
    return maps, slopes


def _after_features(network: nn.Module) -> nn.Module | None:
    """The module whose input is explained: the last block's attention, else the pooling; None where it has neither."""
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(network, "patch_embed"):
        attention = getattr(blocks[-1], "attn", None)
        if isinstance(attention, nn.Module) and not hasattr(network, "blocks_token_only"):
            return attention
    owners = network, getattr(network, "head", None)
    pools = (getattr(owner, "global_pool", None) for owner in owners)
    return next((pool for pool in pools if isinstance(pool, nn.Module)), None)


def _last_maps(classifier: FistulaClassifier, image: Tensor, *, target: int) -> tuple[Tensor, Tensor]:
    """The last maps or tokens that any module of a network gives and its logit depends on, and their gradient."""
    network, given = classifier.backbone.network, []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and output.requires_grad:
            given.append(output)

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        logit = logits_alone(classifier, image.float().requires_grad_())[0, target]
    finally:
        for hook in hooks:
            hook.remove()
    found = torch.autograd.grad(logit, given, allow_unused=True) if given else ()
    for maps, gradient in zip(reversed(given), reversed(found), strict=True):
        if gradient is None or (slopes := _as_maps(gradient, network)).shape[-1] < 2 or not slopes.any():
            continue
        return _as_maps(maps.detach(), network), slopes
    remedy = "Name another network's run: docs/networks.md says which have maps"
    raise ConfigError(type(network).__name__, "has neither feature maps nor tokens to explain", remedy=remedy)


def _as_maps(values: Tensor, network: nn.Module) -> Tensor:
    """Maps or tokens, in whatever order of axes, as ``(1, C, h, w)``; of one place where they are neither."""
    values = values.float()
    if values.ndim == 3:  # the square that the last tokens fill; before it stand those of the class and registers
        number = values.shape[1]
        side = math.isqrt(number - int(getattr(network, "num_prefix_tokens", 0)))
        return values[:, number - side * side :].transpose(1, 2).unflatten(2, (side, side))
    if values.ndim != 4:
        return values.flatten(1)[..., None, None]
    first = values.shape[2] == values.shape[3] and getattr(network, "output_fmt", "NCHW") != "NHWC"
    return values if first or values.shape[1] != values.shape[2] else values.permute(0, 3, 1, 2)


def _plus_plus_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++'s channel weights; the class's score is taken as the exponential of its logit, as in the paper."""
    square = gradients.square()
    total = features.sum(dim=(2, 3), keepdim=True)
    share = square / (2 * square + total * square * gradients + 1e-6)
    return (share.where(gradients != 0, 0) * gradients.relu()).sum(dim=(2, 3))


def _unit(maps: Tensor) -> Tensor:
    peak = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, maps / peak.clamp_min(torch.finfo(maps.dtype).tiny), 0)
