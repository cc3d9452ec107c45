import numpy as np
import pytest
import torch
from torch import nn

from fistula.explain.pointing import evaluate, peaks, point, random_point, randomised
from fistula.learning.backbone import Backbone
from fistula.learning.classifier import FistulaClassifier

from .test_cam import classifier_of

KIND = {"weights": "by hand", "input_size": 32, "interpolation": "bilinear"}


def test_the_peak_is_the_highest_place_and_of_equals_their_middle():
    maps = np.zeros((3, 5, 5), np.float32)
    maps[0, 1, 3] = 1
    maps[1, 2, 1] = maps[1, 2, 3] = 1
    np.testing.assert_array_equal(peaks(maps), [[1, 3], [2, 2], [np.nan, np.nan]])


def test_hits_and_distances_worked_by_hand():
    points = np.array([[0, 0], [3, 4], [np.nan, np.nan], [0, 10]])
    found = point(points, np.zeros((4, 2)), np.array(list("abcd")), pixel_mm=0.5, tolerance_mm=2.5)
    assert found["hits"] == 2 / 4
    assert found["without_map"] == 1
    assert found["distance_mm"] == pytest.approx((0 + 2.5 + 5) / 3)
    assert found["hits_low"] < 0.5 < found["hits_high"]


def test_without_any_map_there_is_no_distance():
    found = point(np.full((2, 2), np.nan), np.zeros((2, 2)), np.array(["a", "b"]), pixel_mm=1, tolerance_mm=1)
    assert (found["hits"], found["distance_mm"]) == (0, None)


def test_a_random_point_is_one_of_the_body_worked_by_hand():
    image = torch.zeros((1, 1, 4, 4), dtype=torch.uint8)
    image[0, 0, 0, 0] = image[0, 0, 0, 3] = 200
    found = random_point(image, np.array([[0.0, 0.0]]), pixel_mm=2, tolerance_mm=5)
    assert found == {"hits": 0.5, "distance_mm": 3.0}


def test_what_learning_did_is_not_said_of_a_network_without_maps():
    backbone = Backbone(SpotFinder(), mean=[0], std=[1], **KIND)
    torch.nn.init.zeros_(backbone.network.fc.weight)
    kwargs = dict.fromkeys(("learning", "loss", "optimizer", "schedule"))
    blind = FistulaClassifier(backbone, num_classes=2, **kwargs).eval()
    images, centre = torch.full((2, 1, 32, 32), 9, dtype=torch.uint8), np.zeros((2, 2))
    patients, limits = np.array(["a", "b"]), {"pixel_mm": 1, "tolerance_mm": 1}
    found = evaluate(blind, images, centre, patients, guess=centre[0], method="grad_cam", **limits)
    assert (found["learned"], found["similarity"]) == (None, None)


class SpotFinder(nn.Module):
    """Counts bright fields of 8 x 8 pixels: where its map has to be is known."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 8, stride=8)
        self.global_pool, self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 64)
            self.conv.bias.fill_(-0.5)
            self.fc.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 4))

    def forward(self, image):
        return self.fc(self.global_pool(self.conv(image).relu()))


def test_a_network_that_sees_a_spot_points_at_it_and_random_weights_do_not():
    random = np.random.default_rng(0)
    fields = random.integers(0, 12, (40, 2))
    images = random.integers(0, 60, (40, 1, 96, 96)).astype(np.uint8)
    for image, (row, column) in zip(images, fields, strict=True):
        image[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    backbone = Backbone(SpotFinder(), mean=[0], std=[1], **KIND)
    classifier = FistulaClassifier(
        backbone, num_classes=2, learning=None, loss=None, optimizer=None, schedule=None
    ).eval()
    spots = 8.0 * fields + 3.5
    found = evaluate(
        classifier,
        torch.from_numpy(images),
        spots,
        np.arange(40).astype(str),
        guess=spots.mean(axis=0),
        pixel_mm=0.5,
        tolerance_mm=2,
        method="grad_cam",
    )
    assert found["maps"]["hits"] == 1
    assert found["maps"]["distance_mm"] < 1
    assert found["mean_opening"]["hits"] < 0.3
    assert found["random_weights"]["hits"] < 0.5


def test_random_weights_follow_from_the_seed_and_leave_the_classifier_alone():
    classifier = classifier_of("test_resnet")
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (randomised(classifier, seed=3).backbone.network.conv1[0].weight for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not torch.equal(first, before["backbone.network.conv1.0.weight"])
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in classifier.state_dict().items():
        torch.testing.assert_close(value, before[name])
