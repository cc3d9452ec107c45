"""Batch norms folded into convolutions: the same logits, and no fold where it would change them."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from fistula.learning.backbone import Backbone, create_backbone
from fistula.predict.runs.folding import folded, pack


def worn(backbone: Backbone) -> Backbone:
    """As after training: no norm is the identity any more."""
    draw = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.running_mean.shape
            module.running_mean.copy_(torch.randn(size, generator=draw) / 10)
            module.running_var.copy_(torch.rand(size, generator=draw) + 0.5)
            with torch.no_grad():
                module.weight.copy_(torch.rand(size, generator=draw) + 0.5)
                module.bias.copy_(torch.randn(size, generator=draw) / 10)
    return backbone.eval().requires_grad_(requires_grad=False)


def images(number: int, size: int = 64, channels: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (number, channels, size, size), generator=draw, dtype=torch.uint8)


def norms(backbone: Backbone) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("efficientnet_lite0", 0),
        ("mobilenetv4_conv_small", 0),
        ("regnety_002", 0),
        ("densenet121", 62),
    ],
)
def test_a_folded_network_gives_the_same_of_other_images(name: str, left: int) -> None:
    plain = worn(create_backbone(name, pretrained=False, download=False, num_classes=2, image_size=64))
    before = norms(plain)
    fast = folded(plain, images(1), as_maps=False)
    assert norms(plain) == before  # the one given stays as it is
    assert norms(fast) == left < before
    with torch.inference_mode():
        wanted, found = plain(images(8)), fast(images(8))
        seen = plain.features(images(8)), fast.features(images(8))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(*seen, rtol=0, atol=1e-5 * float(seen[0].abs().max()))


def test_maps_and_gradients_stay() -> None:
    plain = worn(create_backbone("resnet18", pretrained=False, download=False, num_classes=2, image_size=64))
    fast = folded(plain, images(1), as_maps=True)
    for one, other in zip(plain.pyramid(images(2))[0], fast.pyramid(images(2))[0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))
    image = images(1).float().requires_grad_()
    fast(image).sum().backward()
    assert image.grad is not None


def test_a_transformer_stays_as_it_is() -> None:
    plain = create_backbone("vit_tiny_patch16_224", pretrained=False, download=False, num_classes=2, image_size=64)
    assert folded(plain.eval(), images(1), as_maps=False) is plain


class Odd(nn.Module):
    """A convolution whose output goes through a norm and past it, or through one norm and then another, or twice."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.conv, self.other = way, nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm, self.second, self.fc = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.num_classes, self.pretrained_cfg = 2, {}

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, image: Tensor) -> Tensor:
        seen = self.conv(image)
        if self.way == "past":
            seen = self.norm(seen) + seen
        elif self.way == "two norms":
            seen = self.norm(seen) + self.second(seen)
        else:  # one norm of two convolutions
            seen = self.norm(self.other(self.norm(seen)))
        return self.fc(seen.mean(dim=(2, 3)))


@pytest.mark.parametrize("way", ["past", "two norms", "two convolutions"])
def test_a_norm_that_does_not_alone_follow_its_convolution_stays(way: str) -> None:
    torch.manual_seed(0)
    network = Backbone(Odd(way), mean=[0.5], std=[0.5], weights="none", input_size=64, interpolation="bilinear")
    plain = worn(network)
    assert folded(plain, images(1), as_maps=False) is plain


def test_packed_weights_give_the_same_and_leave_gradients_and_what_would_be_slower() -> None:
    plain = worn(create_backbone("resnet18", pretrained=False, download=False, num_classes=2, image_size=64))
    fast = deepcopy(plain)
    pack(fast, images(1))
    assert sum(type(module) is not type(fast.get_submodule(name)) for name, module in plain.named_modules()) == 19
    assert fast.state_dict().keys() == plain.state_dict().keys()
    with torch.inference_mode():
        torch.testing.assert_close(fast(images(3)), plain(images(3)), rtol=0, atol=1e-5)
    grads = []
    for network in (plain, fast):
        image = images(1).float().requires_grad_()
        network(image).sum().backward()
        grads.append(image.grad)
    assert torch.equal(*grads)
    layered = create_backbone("test_convnext", pretrained=False, download=False, num_classes=2, image_size=64).eval()
    pack(layered, images(1))
    assert {type(module) for module in layered.modules() if isinstance(module, nn.Conv2d)} == {nn.Conv2d}


def test_nothing_is_packed_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    network = worn(create_backbone("test_resnet", pretrained=False, download=False, num_classes=2, image_size=64))
    monkeypatch.delattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    pack(network, images(1))
    assert {type(module) for module in network.modules() if isinstance(module, nn.Conv2d)} == {nn.Conv2d}
