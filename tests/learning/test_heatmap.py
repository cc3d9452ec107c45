import numpy as np
import pytest
import torch

from fistula.learning.places.heatmap import focal, gaussians, maps_loss, peaks, score_of_map

NOWHERE = [float("nan")] * 2


def test_a_gaussian_has_its_height_and_width():
    (values,) = gaussians(torch.tensor([[[4.0, 6.0]]]), sigma=2.0, size=(12, 14))[0]
    assert values[4, 6] == 1
    assert values[4, 8].item() == pytest.approx(np.exp(-0.5))
    assert values[6, 8].item() == pytest.approx(np.exp(-1.0))


def test_a_slice_without_a_point_has_an_empty_map():
    assert not gaussians(torch.tensor([[NOWHERE]]), sigma=2.0, size=(8, 8)).any()


def test_the_loss_is_the_formula_of_its_source():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 6, 7, generator=generator)
    point = torch.tensor([[[2.3, 4.8]]])
    wanted = gaussians(point, sigma=1.5, size=(6, 7))[0, 0]
    total = 0.0
    for row in range(6):
        for column in range(7):
            p = logits[0, 0, row, column].sigmoid()
            if (row, column) == (2, 5):
                total -= (1 - p) ** 2 * p.log()
            else:
                total -= (1 - wanted[row, column]) ** 4 * p**2 * (1 - p).log()
    torch.testing.assert_close(focal(logits, point, sigma=1.5)[0, 0], total)


def test_the_best_map_is_the_one_that_peaks_at_the_point():
    point = torch.tensor([[[5.0, 5.0]]])

    def loss(row):
        peak = gaussians(torch.tensor([[[row, 5.0]]]), sigma=1.0, size=(11, 11))
        return focal(20 * peak - 10, point, sigma=1.0).item()

    assert loss(5.0) < loss(6.0) < loss(8.0)


def test_of_the_maps_only_those_teach_of_which_something_is_known():
    logits = torch.zeros(4, 1, 8, 8, requires_grad=True)
    points = torch.tensor([[[2.0, 2.0]], [NOWHERE], [NOWHERE], [NOWHERE]])
    maps_loss(logits, points, torch.tensor([1, 1, 0, -1]), sigma=1.0).backward()
    assert [bool(part.any()) for part in logits.grad] == [True, False, True, False]


def test_an_unmarked_canal_teaches_nothing_whatever_the_label():
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    maps_loss(logits, torch.tensor([[NOWHERE, NOWHERE]]), torch.tensor([0]), sigma=1.0).backward()
    assert logits.grad[0, 0].any()
    assert not logits.grad[0, 1].any()


@pytest.mark.parametrize("place", [(3.0, 4.0), (3.3, 4.4), (6.75, 2.5), (0.0, 0.0)], ids=str)
def test_a_peak_is_found_to_a_fraction_of_a_pixel(place):
    heights = gaussians(torch.tensor([[place]])[:, None][0], sigma=1.5, size=(10, 9))[0]
    points, found = peaks(torch.logit(0.9 * heights + 0.01), most=1)
    assert points[0, 0].tolist() == pytest.approx(place, abs=0.1)
    assert 0.7 < found[0, 0] <= 0.95


def test_peaks_come_highest_first_and_end_where_there_are_no_more():
    wanted = torch.tensor([[[2.0, 2.0]], [[8.0, 9.0]]])
    one, other = gaussians(wanted, sigma=1.0, size=(12, 12))[:, 0]
    points, found = peaks(torch.logit(0.05 + 0.4 * one + 0.8 * other)[None], most=3)
    torch.testing.assert_close(points[0, :2], torch.tensor([[8.0, 9.0], [2.0, 2.0]]), atol=0.1, rtol=0)
    assert found[0, 0] > found[0, 1] > 0.3


def test_an_even_map_names_no_place():
    points, found = peaks(torch.full((2, 5, 5), -3.0), most=2)
    assert points.isnan().all()
    assert not found.any()


def test_moving_the_map_moves_the_peak_along():
    heights = gaussians(torch.tensor([[[3.0, 3.0]]]), sigma=1.0, size=(12, 12))[0]
    moved = heights.roll((4, 2), dims=(1, 2))
    first, second = (peaks(torch.logit(0.9 * values + 0.01), most=1)[0][0, 0] for values in (heights, moved))
    torch.testing.assert_close(second - first, torch.tensor([4.0, 2.0]))


def test_a_score_rises_with_its_map_and_lies_between_mean_and_maximum():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 9, 9, generator=generator)
    one = score_of_map(logits)
    higher = logits.clone()
    higher[0, 4, 4] += 3
    assert score_of_map(higher) > one
    torch.testing.assert_close(score_of_map(logits + 2), one + 2)
