"""Batch norms become part of the convolutions before them, and weights lie as they are read: the same scores sooner."""

from collections import defaultdict
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fistula.learning.backbone import Backbone

CLOSE = 1e-4  # of the largest number that comes out; float32 rounds to about 1e-6


@torch.no_grad()  # not inference mode, whose weights no heat map could be made with
def folded(backbone: Backbone, image: Tensor, *, as_maps: bool) -> Backbone:
    """A network in evaluation mode, with each batch norm folded into the convolution that alone feeds it.

    Scoring on one thread of a CPU takes 0.6 (EfficientNet-lite0) to 0.9 times (ResNet-34, DenseNet-121) as
    long, 32 images of 224 pixels at a time; transformers have nothing to fold.

    Args:
        backbone: In float32; it stays as it is.
        image: One that it takes, ``(1, num_slices, H, W)``: which layer feeds which is seen in it.
        as_maps: Whether its feature maps are used besides its logits.

    Returns:
        A copy that gives the same, or `backbone` itself where there is nothing to fold, or a convolution feeds
        something besides its norm.
    """
    found = deepcopy(backbone)
    pairs = _pairs(found, image)
    if not pairs:
        return backbone
    wanted = _results(found, image, as_maps=as_maps)
    names = {module: name for name, module in found.named_modules()}
    for norm, convolution in pairs.items():
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        parent, _, name = names[norm].rpartition(".")
        setattr(found.get_submodule(parent), name, nn.Sequential(*norm.children()))  # timm's has an activation in it
    agree = all(
        torch.allclose(one, other, rtol=0, atol=CLOSE * float(other.abs().max()))
        for one, other in zip(_results(found, image, as_maps=as_maps), wanted, strict=True)
    )
    return found if agree else backbone


def pack(backbone: Backbone, image: Tensor) -> None:
    """Lay out the convolutions' weights once as oneDNN reads them, which it else does at every pass.

    That takes a quarter of the time of one image through a ResNet-34, and is lost in a batch of many. Networks that
    normalise layers, such as ConvNeXt, stay as they are: they took twice as long.

    Args:
        backbone: On a processor, in evaluation mode. It stays as it is where its kind of processor has no such layout,
            or its logits would change.
        image: As for `folded`.
    """
    convolutions = [layer for layer in backbone.modules() if type(layer) is nn.Conv2d and layer.padding_mode == "zeros"]
    # Not the first one, which tells the others in what order channels lie.
    layers = [layer for layer in convolutions if layer.in_channels > 4 and isinstance(layer.padding, tuple)]
    if any(isinstance(layer, nn.LayerNorm) for layer in backbone.modules()):
        return
    with torch.inference_mode():
        wanted = backbone(image)
        try:
            for layer in layers:
                settings: Any = layer.padding, layer.stride, layer.dilation, layer.groups
                packed = torch._C._nn.mkldnn_reorder_conv2d_weight(layer.weight.to_mkldnn(), *settings)
                layer.__class__, layer.packed = _Packed, packed
            agrees = torch.allclose(backbone(image), wanted, rtol=0, atol=CLOSE * float(wanted.abs().max()))
        except (AttributeError, RuntimeError):  # of another processor, or another release of PyTorch
            agrees = False
    for layer in [] if agrees else layers:
        layer.__class__ = nn.Conv2d


class _Packed(nn.Conv2d):
    """A convolution with a second copy of its weights for passes that no gradient is taken of."""

    packed: Tensor

    def forward(self, image: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(image)
        settings = self.padding, self.stride, self.dilation, self.groups
        return torch.ops.mkldnn._convolution_pointwise(image, self.packed, self.bias, *settings, "none", [], "")


def _pairs(backbone: Backbone, image: Tensor) -> dict[nn.BatchNorm2d, nn.Conv2d]:
    """Norms, and the convolutions whose output they are given, each of one alone, as a pass of the image shows them."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # with the tensor, lest another is given its place in memory
    fed: dict[nn.Module, set[nn.Module]] = defaultdict(set)
    feeding: dict[nn.BatchNorm2d, set[nn.Conv2d]] = defaultdict(set)

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            convolution, _ = made[id(inputs[0])]
            fed[convolution].add(module)
            feeding[module].add(convolution)

    kinds = nn.Conv2d, nn.BatchNorm2d
    hooks = [module.register_forward_hook(note) for module in backbone.modules() if isinstance(module, kinds)]
    backbone(image)
    for hook in hooks:
        hook.remove()
    alone = {norm: next(iter(convolutions)) for norm, convolutions in feeding.items() if len(convolutions) == 1}
    return {
        norm: convolution
        for norm, convolution in alone.items()
        if len(fed[convolution]) == 1 and norm.running_mean is not None
    }


def _results(backbone: Backbone, image: Tensor, *, as_maps: bool) -> list[Tensor]:
    return [backbone(image), *(backbone.pyramid(image)[0] if as_maps else [])]
