import pytest
import torch

from fistula.learning.schedule import constant, cosine


def rates(schedule, steps, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, num_steps=steps, **settings)
    taken = []
    for _ in range(steps):
        taken.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return taken


def test_cosine_rises_to_the_full_rate_then_falls_towards_zero():
    # Worked by hand: 2 steps of rise (1/3, 2/3 of 2.0), then half a cosine over 8.
    taken = rates(cosine, 10, warmup=0.2)
    assert taken[:3] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert taken[6] == pytest.approx(1.0)
    assert taken[3:] == sorted(taken[3:], reverse=True)
    assert 0 < taken[-1] < 0.2


def test_cosine_of_a_single_step_uses_the_full_rate():
    assert rates(cosine, 1, warmup=0.1) == [2.0]


def test_constant_stays():
    assert rates(constant, 5) == [2.0] * 5
