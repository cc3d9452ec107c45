import cv2  # noqa: F401 (before the judge, which imports it too)
import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from fistula.errors import ConfigError
from fistula.explain.cam import saliency
from fistula.learning.backbone import create_backbone
from fistula.learning.building.judging import features_of, pool
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.pooling import Transformer

JUDGES = {"grad_cam": GradCAM, "grad_cam_plus_plus": GradCAMPlusPlus}


def classifier_of(architecture):
    torch.manual_seed(0)
    backbone = create_backbone(architecture, pretrained=False, download=False, num_classes=2)
    # timm starts a classifier near 0: larger weights make the classes differ.
    with torch.no_grad():
        for weight in backbone.network.get_classifier().parameters():
            torch.nn.init.normal_(weight)
    return FistulaClassifier(backbone, num_classes=2, learning=None, loss=None, optimizer=None, schedule=None).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (2, 1, 96, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def stretched(maps):
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / (high - low + 1e-12)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("method", JUDGES)
def test_the_map_is_that_of_the_judge(images, method, target):
    classifier = classifier_of("test_resnet")
    layer = classifier.backbone.network.layer4
    with JUDGES[method](model=classifier.backbone, target_layers=[layer]) as judge:
        expected = judge(input_tensor=images.float(), targets=[ClassifierOutputTarget(target)] * len(images))
    ours = saliency(classifier, images, target=target, method=method)
    # The judge stretches each map from 0 to 1.
    np.testing.assert_allclose(stretched(ours), stretched(expected), atol=1e-4)


def test_of_a_network_of_patients_the_map_is_of_what_a_slice_comes_to_by_itself(images):
    classifier = classifier_of("test_resnet")
    features = classifier.backbone.num_features
    classifier.unit, classifier.pooling = (
        "patient",
        Transformer(features, width=8, depth=2, heads=2, dropout=0.0).eval(),
    )
    torch.nn.init.normal_(classifier.pooling.leave.weight)  # as if it had learned; it starts as the mean

    class Alone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = classifier

        def forward(self, image):
            return pool(classifier, features_of(classifier, image)[0], [1] * len(image), torch.zeros(len(image)))[
                0
            ].log()

    model, layer = Alone(), classifier.backbone.network.layer4
    of_network = saliency(classifier_of("test_resnet"), images, target=1)
    assert not np.allclose(saliency(classifier, images, target=1), of_network, atol=0.05)
    with torch.no_grad():
        head = classifier.backbone.network.get_classifier()
        head.weight[0], head.bias[0] = 0, 0  # so that the logit of the second class is that difference
    with GradCAM(model=model, target_layers=[layer]) as judge:
        expected = judge(input_tensor=images.float(), targets=[lambda scores: scores[1] - scores[0]] * len(images))
    np.testing.assert_allclose(stretched(saliency(classifier, images, target=1)), stretched(expected), atol=1e-4)


@pytest.mark.parametrize("architecture", ["test_vit", "test_efficientnet", "test_convnext"])
def test_other_families_have_maps_too(images, architecture):
    classifier = classifier_of(architecture)
    size = classifier.backbone.network.pretrained_cfg["input_size"][-1] if "vit" in architecture else 96
    sized = torch.nn.functional.interpolate(images.float(), size=(size, size))
    maps = np.concatenate([saliency(classifier, sized, target=target) for target in (0, 1)])
    assert maps.shape == (4, size, size)
    assert maps.min() >= 0
    assert maps.max() == pytest.approx(1)


def test_a_transformers_map_is_that_of_the_judge(images):
    classifier = classifier_of("test_vit")
    network = classifier.backbone.network
    size = network.pretrained_cfg["input_size"][-1]
    sized = torch.nn.functional.interpolate(images.float(), size=(size, size))
    grid = network.patch_embed.grid_size

    def to_maps(tokens):
        return tokens[:, network.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid)

    layer = network.blocks[-1].norm1
    with GradCAM(model=classifier.backbone, target_layers=[layer], reshape_transform=to_maps) as judge:
        expected = judge(input_tensor=sized, targets=[ClassifierOutputTarget(1)] * 2)
    np.testing.assert_allclose(stretched(saliency(classifier, sized, target=1)), stretched(expected), atol=1e-4)


def test_a_frozen_network_and_inference_mode_change_nothing(images):
    classifier = classifier_of("test_resnet")
    expected = saliency(classifier, images, target=1)
    classifier.requires_grad_(requires_grad=False)
    with torch.inference_mode():
        np.testing.assert_array_equal(saliency(classifier, images, target=1), expected)
    assert not classifier.backbone.network.global_pool._forward_pre_hooks


def test_no_images_give_no_maps_and_an_unknown_method_is_refused(images):
    classifier = classifier_of("test_resnet")
    assert saliency(classifier, images[:0], target=1).shape == (0, 96, 96)
    with pytest.raises(ConfigError, match=r"method: must be one of map, grad_cam, .* found lime"):
        saliency(classifier, images, target=1, method="lime")
