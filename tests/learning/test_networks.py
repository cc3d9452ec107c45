"""The guide's table of networks is what the script that writes it finds; a dozen networks train for real."""

import runpy
from pathlib import Path

import pytest
import timm
import torch

from fistula.errors import ConfigError
from fistula.learning.backbone import create_backbone
from fistula.learning.building.dry_run import check_pyramid
from fistula.learning.building.timm_network import stages_of
from fistula.learning.modes import AllLayers, parameter_groups

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "networks.py"), run_name="imported")
ROWS = SCRIPT["listed"]()
FAST = ("test_byobnet", "test_efficientnet", "test_convnext")
# The script tries them all, in a quarter of an hour; every eighth is enough to see that the page is old.
HELD = [row for number, row in enumerate(ROWS) if number % 8 == 0 or row[1] in FAST]
DOZEN = (
    "test_resnet", "densenet121", "test_efficientnet", "test_convnext", "test_vit", "vit_small_patch14_dinov2",
    "vit_tiny_patch16_dinov3_qkvb", "swin_tiny_patch4_window7_224", "test_maxvit", "eva02_tiny_patch14_224",
    "regnetx_002", "mobilenetv4_conv_small_035",
)  # fmt: skip


def create(name, **options):
    given = {"pretrained": False, "download": False, "num_classes": 2} | options
    return create_backbone(name, **given)


@pytest.mark.parametrize(
    ("family", "name", "line"),
    [pytest.param(*one, id=one[1], marks=() if one[1] in FAST else pytest.mark.slow) for one in HELD],
)
def test_the_table_says_what_a_network_does(family, name, line):
    assert SCRIPT["family_of"](name) == family
    assert f"| {family} {SCRIPT['row'](name)}" == line


@pytest.mark.slow
@pytest.mark.parametrize("name", DOZEN)
def test_networks_of_every_kind_train_for_two_steps_on_small_images(name):
    torch.manual_seed(0)
    backbone = create(name, image_size=56 if "patch14" in name else 64, channels="adjacent").train()
    optimizer = torch.optim.AdamW(parameter_groups(AllLayers(pretrained=False), backbone), lr=1e-3)
    size = backbone.input_size
    image = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    before = [value.clone() for value in backbone.network.parameters()]
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(backbone(image), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    moved = [not torch.equal(old, new) for old, new in zip(before, backbone.network.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)


def test_options_reach_timm_and_unknown_ones_are_refused():
    rates = [
        one.drop_prob
        for one in create("test_vit", options={"drop_path_rate": 0.4}).modules()
        if hasattr(one, "drop_prob")
    ]
    assert max(rates) == pytest.approx(0.4)
    with pytest.raises(ConfigError, match=r"model\.options\.drop_rat: is not an option of test_vit"):
        create("test_vit", options={"drop_rat": 0.1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("efficientformer_l1", {"image_size": 96}, "does not take images of 96 pixels, found .* Try image_size=224"),
        ("crossvit_tiny_240", {"image_size": 128}, "does not take images of 128 pixels"),
        (
            "test_vit",
            {"options": {"global_pool": ""}},
            "with model.options={'global_pool': ''}: must give logits .* Leave out",
        ),
        ("test_resnet", {"options": {"act_layer": "none"}}, "with model.options={'act_layer': 'none'}, .* Leave out"),
        ("local-dir:nowhere", {}, r"local-dir:nowhere: must have a config\.json that names one of timm's networks"),
        ("gemma4_vit_167m_enc", {}, "has no classifier"),
        ("hf_hub:timm/resnet18.a1_in1k", {}, "One of the hub is model.architecture=hf-hub:timm/resnet18.a1_in1k"),
        ("https://huggingface.co/timm/resnet18", {}, "One of the hub is model.architecture=hf-hub:timm/resnet18"),
        ("", {}, "must be the name of a timm network, found nothing"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(name, options, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message) as caught:
        create(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s", "dla46x_c"])
def test_features_and_classifier_together_are_the_network(name):
    backbone = create(name, image_size=64).eval()
    image = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.classify(backbone.features(image)), backbone(image), rtol=1e-4, atol=1e-5)


def test_a_pyramid_has_a_map_a_stage_and_a_network_without_one_says_so():
    backbone = create("test_resnet", image_size=64).eval()
    image = torch.zeros(1, 1, 64, 64)
    levels, features = backbone.pyramid(image)
    assert [64 // one.shape[-1] for one in levels] == [2, 4, 8, 16, 32]
    torch.testing.assert_close(features, backbone.features(image))
    check_pyramid(backbone)
    backbone.network.forward_intermediates = None
    with pytest.raises(ConfigError, match=r"test_resnet: gives no maps of its stages"):
        check_pyramid(backbone)


def test_a_network_that_does_not_group_its_stages_has_them_as_they_are_written():
    with torch.device("meta"):
        backbone = create("rdnet_tiny", image_size=64)
    stages = stages_of(backbone.network, backbone.heads)
    assert len(stages) > 5
    assert stages[0][0].startswith("stem.")
    assert sorted(stages[-1]) == ["head.fc.bias", "head.fc.weight"]
    assert sorted(name for stage in stages for name in stage) == sorted(dict(backbone.network.named_parameters()))


def test_the_table_has_every_family_of_timm():
    assert {family for family, _, _ in ROWS} == set(timm.list_modules())
    assert all(line.startswith(f"| {SCRIPT['family_of'](name)} | {name} |") for _, name, line in ROWS)
