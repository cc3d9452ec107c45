import pytest
import torch
from torch import nn

from fistula.errors import ConfigError
from fistula.learning.pooling import Attention, Maximum, Mean, Transformer, alone, sinusoids

FEATURES = 6
POOLINGS = [
    pytest.param(lambda: Mean(FEATURES), id="mean"),
    pytest.param(lambda: Maximum(FEATURES), id="maximum"),
    pytest.param(lambda: Attention(FEATURES, hidden=4, dropout=0.0), id="attention"),
    pytest.param(lambda: Transformer(FEATURES, width=8, depth=2, heads=2, dropout=0.0), id="transformer"),
]


@pytest.fixture
def bags():
    generator = torch.Generator().manual_seed(0)
    sizes = [3, 1, 5, 2]
    return torch.randn(sum(sizes), FEATURES, generator=generator), sizes, torch.arange(11.0) * 4


def trained(make):
    """A pooling whose zeros are drawn, as if it had learned."""
    torch.manual_seed(1)
    pooling = make().eval()
    for parameter in pooling.parameters():
        nn.init.normal_(parameter, std=0.5)
    return pooling


@pytest.mark.parametrize("make", POOLINGS)
def test_a_bag_is_pooled_alike_whatever_stands_beside_it(make, bags):
    features, sizes, positions = bags
    pooling = trained(make)
    together, weights = pooling(features, sizes, positions)
    alone = [
        pooling(part, [len(part)], place)
        for part, place in zip(features.split(sizes), positions.split(sizes), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat([pooled for pooled, _ in alone]))
    torch.testing.assert_close(weights, torch.cat([weight for _, weight in alone]))


@pytest.mark.parametrize("make", POOLINGS)
def test_slices_in_another_order_come_to_the_same(make, bags):
    features, _, positions = bags
    pooling, order = trained(make), torch.randperm(11, generator=torch.Generator().manual_seed(2))
    pooled, weights = pooling(features, [11], positions)
    shuffled, other = pooling(features[order], [11], positions[order])
    torch.testing.assert_close(shuffled, pooled)
    torch.testing.assert_close(other, weights[order])


@pytest.mark.parametrize("make", POOLINGS)
def test_weights_of_a_bag_sum_to_one(make, bags):
    features, sizes, positions = bags
    _, weights = trained(make)(features, sizes, positions)
    assert [part.sum().item() for part in weights.detach().split(sizes)] == pytest.approx([1.0] * 4)
    assert (weights >= 0).all()


@pytest.mark.parametrize("kind", [Mean, Maximum])
def test_weights_of_features_in_half_precision_are_whole(kind):
    """Of one slice that has the largest value of each of 512 features, and of bags of three."""
    features = torch.rand(7, 512).bfloat16()
    features[0] = 2
    _, weights = kind(512)(features, [1, 3, 3], torch.zeros(7))
    assert [part.sum().item() for part in weights.split([1, 3, 3])] == pytest.approx([1.0] * 3, abs=1e-6)
    _, alone = kind(512)(features, [1] * 7, torch.zeros(7))
    assert (weights.dtype, alone.tolist()) == (torch.float32, [1.0] * 7)


@pytest.mark.parametrize("make", [POOLINGS[0], POOLINGS[2], POOLINGS[3]])
def test_what_learns_its_weights_starts_as_the_mean(make, bags):
    features, sizes, positions = bags
    pooled, _ = make().eval()(features, sizes, positions)
    torch.testing.assert_close(pooled, torch.stack([part.mean(dim=0) for part in features.split(sizes)]))


@pytest.mark.parametrize("make", POOLINGS)
def test_a_slice_that_is_a_bag_of_its_own_weighs_one(make, bags):
    features, _, positions = bags
    pooled, weights = make().eval()(features, [1] * 11, positions)
    torch.testing.assert_close(pooled, features)
    torch.testing.assert_close(weights, torch.ones(11))


@pytest.mark.parametrize("make", POOLINGS)
def test_slices_by_themselves_are_bags_of_one(make, bags):
    features, _, positions = bags
    pooling = trained(make)
    torch.testing.assert_close(alone(pooling, features), pooling(features, [1] * 11, positions)[0])


def test_the_maximum_is_each_features_own():
    pooled, weights = Maximum(2)(torch.tensor([[1.0, 5.0], [3.0, 2.0]]), [2], torch.zeros(2))
    assert (pooled.tolist(), weights.tolist()) == ([[3.0, 5.0]], [0.5, 0.5])


def test_attention_is_the_formula_of_its_source(bags):
    features, _, positions = bags
    pooling = trained(POOLINGS[2].values[0])
    pooled, weights = pooling(features, [11], positions)
    scores = [pooling.weight(torch.tanh(pooling.value(h)) * torch.sigmoid(pooling.gate(h))).item() for h in features]
    expected = torch.tensor(scores).exp() / torch.tensor(scores).exp().sum()
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(pooled[0], sum(a * h for a, h in zip(expected, features, strict=True)))


def test_a_transformer_hears_where_slices_lie_but_not_where_the_stack_begins(bags):
    features, sizes, positions = bags
    pooling = trained(POOLINGS[3].values[0])
    pooled, _ = pooling(features, sizes, positions)
    torch.testing.assert_close(pooling(features, sizes, positions + 700)[0], pooled, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(pooling(features, sizes, positions.flip(0) * 2)[0], pooled, atol=1e-3)


@pytest.mark.parametrize("make", POOLINGS[1:])
def test_gradients_reach_every_slice_that_weighs(make, bags):
    features, sizes, positions = bags
    features.requires_grad_()
    pooled, weights = trained(make)(features, sizes, positions)
    pooled.square().sum().backward()
    assert (features.grad.abs().sum(dim=1)[weights > 0] > 0).all()


def test_positions_far_apart_are_told_apart():
    code = sinusoids(torch.tensor([0.0, 3.0, 300.0]), 16)
    assert (torch.cdist(code, code) + 9 * torch.eye(3)).min() > 0.5


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="must be a multiple of 4"):
        Transformer(6, width=10, depth=1, heads=2, dropout=0.0)
