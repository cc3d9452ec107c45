import math

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from fistula.errors import ConfigError
from fistula.learning.backbone import Backbone
from fistula.learning.building.timm_network import stages_of
from fistula.learning.modes import AllLayers, FromTheTop, LinearProbe, freeze, parameter_groups
from fistula.learning.schedule import cosine

SHIPPED = ("resnet18", "resnet34", "densenet121", "tf_efficientnet_lite0", "test_resnet")


def network(name="test_resnet", **options):
    torch.manual_seed(0)
    body = timm.create_model(name, num_classes=2, **options)
    return Backbone(body, mean=[0.5] * 3, std=[0.5] * 3, weights="", input_size=32, interpolation="bicubic")


def names_of(parameters, of):
    wanted = {id(parameter) for parameter in parameters}
    return {name for name, value in of.network.named_parameters() if id(value) in wanted}


def classifier_of(backbone):
    (head,) = backbone.heads
    return names_of(head.parameters(), backbone)


def test_every_parameter_trains_once_and_only_matrices_decay():
    body = network()
    decaying, others = parameter_groups(AllLayers(pretrained=False), body)
    assert len(decaying["params"]) + len(others["params"]) == len(list(body.network.parameters()))
    optimizer = torch.optim.AdamW([decaying, others], lr=0.1, weight_decay=0.5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    undecayed = names_of(others["params"], body)
    norms_and_biases = {name for name, _ in body.network.named_parameters() if "bn" in name or name.endswith("bias")}
    assert undecayed >= norms_and_biases
    assert "conv1.weight" not in {name for name in undecayed if body.network.get_parameter(name).ndim > 1}


def test_a_transformers_position_embedding_does_not_decay():
    body = network("test_vit", img_size=32)
    _, others = parameter_groups(AllLayers(pretrained=False), body)
    assert {"pos_embed", "cls_token"} <= names_of(others["params"], body)


@pytest.mark.parametrize("name", SHIPPED)
def test_rates_decay_towards_the_stem_as_timms_do(name):
    body = network(name)
    ours = {
        parameter: (group["rate"], group.get("weight_decay", 0.5))
        for group in parameter_groups(AllLayers(pretrained=False, layer_decay=0.75), body)
        for parameter in names_of(group["params"], body)
    }
    theirs = {
        parameter: (group["lr_scale"], group["weight_decay"])
        for group in param_groups_layer_decay(body.network, weight_decay=0.5, layer_decay=0.75)
        for parameter in names_of(group["params"], body)
    }
    assert ours == theirs
    assert len({rate for rate, _ in ours.values()}) > 5


@pytest.mark.parametrize("name", SHIPPED)
def test_the_last_stage_is_the_classifier_alone(name):
    body = network(name)
    classifier = classifier_of(body)
    assert set(stages_of(body.network, body.heads)[-1]) == classifier
    names = [name for stage in stages_of(body.network, body.heads) for name in stage]
    assert sorted(names) == sorted(dict(body.network.named_parameters()))


def trained(mode, body, *, epochs=1, size=32):
    """Train by hand for two steps an epoch, as the loop does; give the state before and after."""
    groups = parameter_groups(mode, body)
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5)
    before = {name: value.clone() for name, value in body.network.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for epoch in range(epochs):
        freeze(mode, body, epoch=epoch)
        for _ in range(2):
            loss = body.network(torch.randn(4, 3, size, size, generator=generator)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return before, body.network.state_dict()


@pytest.mark.parametrize("name", SHIPPED)
def test_frozen_means_frozen_to_the_last_bit_and_batch_norm_statistics_too(name):
    body = network(name)
    classifier = classifier_of(body)
    before, after = trained(LinearProbe(pretrained=False), body)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == classifier


def test_stages_thaw_from_the_top_and_stay():
    mode = FromTheTop(pretrained=False, epochs=10, alone=0.1, all_by=0.5)
    thawed = [[mode.trains(stage, num_stages=6, epoch=epoch) for stage in range(6)] for epoch in range(10)]
    # By hand: the classifier at 0; the others at 10 %, 20 %, 30 %, 40 %, 50 % of ten epochs.
    assert [sum(stage) for stage in thawed] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6]
    assert all(stage == sorted(stage) for stage in thawed)


@pytest.mark.parametrize("num_stages", [2, 3, 6])
def test_a_warm_head_is_followed_by_all_at_once(num_stages):
    mode = FromTheTop(pretrained=False, epochs=20, alone=0.1, all_by=0.1)
    counts = [
        sum(mode.trains(stage, num_stages=num_stages, epoch=epoch) for stage in range(num_stages)) for epoch in range(4)
    ]
    assert counts == [1, 1, num_stages, num_stages]


def test_what_has_not_thawed_yet_is_untouched_and_what_has_trains():
    body = network()
    mode = FromTheTop(pretrained=False, epochs=4, alone=0.25, all_by=0.75)
    before, after = trained(mode, body, epochs=2)  # the classifier and, from epoch 1 on, the stage under it
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key.partition(".")[0] for key in changed} == {"layer4", "fc"}
    assert math.isfinite(after["fc.weight"].sum())
    assert any("running_mean" in key for key in changed)


@pytest.mark.parametrize(("alone", "all_by"), [(-0.1, 0.5), (0.5, 0.4), (0.5, 1.0)])
def test_an_impossible_schedule_is_refused(alone, all_by):
    with pytest.raises(ConfigError, match=r"learning: must have 0 <= alone <= all_by < 1, found alone="):
        FromTheTop(pretrained=False, epochs=4, alone=alone, all_by=all_by)


def test_what_thaws_late_rises_from_where_it_thaws():
    """The peak of the rate is at 10 %, and so is the thaw: pretrained layers must not begin with the highest rate."""
    body = network()
    groups = parameter_groups(FromTheTop(pretrained=False, epochs=10, alone=0.1, all_by=0.1), body)
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    schedule = cosine(optimizer, num_steps=100, warmup=0.1)
    rates = []
    for _ in range(100):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    heads = [group["starts"] == 0 for group in optimizer.param_groups]
    (head,), (below,) = (
        {rate[i] for i, is_head in enumerate(heads) if is_head is kind}
        for kind in (True, False)
        for rate in [rates[10]]
    )
    # By hand: ten steps rise; at the eleventh the classifier is at its peak, and the layers below take their first.
    assert head == pytest.approx(1)
    assert below == pytest.approx(1 / 11)
    assert rates[30][heads.index(True)] == pytest.approx(rates[30][heads.index(False)])
    assert {tuple(names_of(group["params"], body)) for group in optimizer.param_groups if group["starts"] == 0} >= {
        ("fc.weight",),
        ("fc.bias",),
    }
