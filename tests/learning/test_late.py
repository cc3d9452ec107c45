"""Sequences fused late: each a bag of its own, and what lacks has no say."""

import pytest
import torch

from fistula.errors import ConfigError
from fistula.learning.backbone import create_backbone
from fistula.learning.building.dry_run import check_pyramid
from fistula.learning.building.late import add_classifiers, are_there, pooled
from fistula.learning.building.timm_network import stages_of
from fistula.learning.modes import AllLayers, parameter_groups
from fistula.learning.pooling import Attention, Maximum, Mean

TWO = ("t1c", "t2")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    made = create_backbone(
        "test_resnet", pretrained=False, download=False, num_classes=2, image_size=32, channels="late", available=TWO
    )
    for head in made.heads:
        torch.nn.init.normal_(head.weight)
    return made.eval()


def image_of(first, second, lacks):
    return torch.cat([first, second, torch.full_like(first, 255.0 * lacks)], dim=1)


def pictures(number):
    return torch.rand(number, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 255


# Of two bags, of three slices and of two: one number of each sequence, and whether it is there.
FEATURES = torch.tensor(
    [[1.0, 10.0, 1, 1], [2.0, 99.0, 1, 0], [6.0, 20.0, 1, 1], [4.0, 7.0, 1, 0], [8.0, 9.0, 1, 0]]
)  # fmt: skip


def test_each_sequence_is_pooled_by_itself_over_the_slices_that_have_it():
    bags, weights = pooled(Mean(), FEATURES, [3, 2], torch.zeros(5), number=2)
    assert bags.tolist() == [[3.0, 15.0, 1.0, 1.0], [6.0, 0.0, 1.0, 0.0]]
    assert weights.tolist() == pytest.approx([1 / 3] * 3 + [1 / 2] * 2)
    bags, weights = pooled(Maximum(1), FEATURES, [3, 2], torch.zeros(5), number=2)
    assert bags[:, :2].tolist() == [[6.0, 20.0], [8.0, 0.0]]
    assert weights.tolist() == pytest.approx([0, 0, 1, 0, 1])  # of the second bag the first sequence alone says it


def test_what_stands_in_the_place_of_what_lacks_changes_nothing():
    torch.manual_seed(0)
    pooling = Attention(1, hidden=4, dropout=0.0)
    torch.nn.init.normal_(pooling.weight.weight)
    other = FEATURES.clone()
    other[FEATURES[:, 3] == 0, 1] = -1e3
    found = [pooled(pooling, features, [3, 2], torch.zeros(5), number=2) for features in (FEATURES, other)]
    for one, same in zip(*found, strict=True):
        torch.testing.assert_close(one, same)


def test_the_networks_answer_is_the_mean_of_its_answers_to_each(backbone):
    first, second = pictures(8).split(4)
    seen = [backbone.network.forward_features(backbone._normalised(one)) for one in (first, second)]
    alone = [
        head(backbone.network.forward_head(features, pre_logits=True))
        for head, features in zip(backbone.heads, seen, strict=True)
    ]
    torch.testing.assert_close(backbone(image_of(first, second, 0)), (alone[0] + alone[1]) / 2)
    torch.testing.assert_close(backbone(image_of(first, second, 1)), alone[0])


def test_a_black_picture_has_a_say_and_one_that_lacks_has_none(backbone):
    first, second = pictures(8).split(4)
    black = backbone(image_of(first, 0 * second, 0))
    lacking = backbone(image_of(first, 0 * second, 1))
    assert not torch.allclose(black, lacking)
    torch.testing.assert_close(lacking, backbone(image_of(first, second, 1)))


def test_the_sequence_of_a_channel_says_which_classifier_hears_it(backbone):
    first, second = pictures(8).split(4)
    assert not torch.allclose(backbone(image_of(first, second, 0)), backbone(image_of(second, first, 0)))


def test_which_are_there_is_read_from_the_last_channels():
    image = torch.zeros(3, 5, 4, 4, dtype=torch.uint8)
    image[1, 3] = 255
    image[2, 4] = 254  # one pixel in 255 of it is there
    assert are_there(image, 3).tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert are_there(image[:, :2], 1).tolist() == [[1]] * 3


def test_classifiers_of_the_further_sequences_train_with_that_of_the_first(backbone):
    assert len(backbone.heads) == 2
    assert backbone.num_features == 2 * backbone.num_pooled + 2
    *_, classifier = stages_of(backbone.network, backbone.heads)
    assert {"of_sequences.0.weight", "of_sequences.0.bias"} < set(classifier)
    grouped = {
        id(one)
        for group in parameter_groups(AllLayers(pretrained=False, layer_decay=0.75), backbone)
        for one in group["params"]
    }
    assert grouped == {id(one) for one in backbone.parameters()}


def test_places_are_not_looked_for_in_several_images(backbone):
    with pytest.raises(ConfigError, match=r"head=locate: looks at one image, .* Use model\.channels=sequences"):
        check_pyramid(backbone)


def test_a_network_of_several_classifiers_is_refused():
    with pytest.raises(ConfigError, match=r"model\.channels=late: must be of a network with one classifier, found 2"):
        add_classifiers(torch.nn.Identity(), [torch.nn.Linear(2, 2)] * 2, 2)
