import multiprocessing
from itertools import chain

import numpy as np
import polars as pl
import pytest

from fistula.errors import ConfigError
from fistula.learning.sampling import REPEAT, AheadLoader, Balanced, EpochShuffle, chances

SLICES = pl.DataFrame(
    {"label": [0, 0, 0, 0, 0, 0, 1, 1], "patient_key": ["a", "a", "a", "a", "b", "b", "c", "d"]},
)


def test_the_order_is_a_new_permutation_each_epoch_and_the_same_for_the_same_seed():
    fifty = pl.DataFrame({"label": [0] * 50})
    sampler = EpochShuffle(fifty, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == list(range(50))
    assert sorted(second) == list(range(50, 100))
    assert [draw - 50 for draw in second] != first
    assert list(EpochShuffle(fifty, seed=3)) == first
    assert list(EpochShuffle(fifty, seed=4)) != first


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (["label"], [1 / 12] * 6 + [1 / 4] * 2),
        (["patient_key"], [1 / 16] * 4 + [1 / 8] * 2 + [1 / 4] * 2),
        (["label", "patient_key"], [1 / 16] * 4 + [1 / 8] * 2 + [1 / 4] * 2),
    ],
    ids=["classes", "patients", "patients within classes"],
)
def test_chances_are_those_worked_by_hand(by, expected):
    np.testing.assert_allclose(chances(SLICES, by), expected)


def test_classes_come_evenly_in_the_long_run():
    sampler = Balanced(SLICES, by=["label"], seed=0)
    drawn = []
    for epoch in range(500):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == 8
        drawn += [draw % 8 for draw in sampler]
    counts = np.bincount(drawn, minlength=8) / len(drawn)
    np.testing.assert_allclose(counts, chances(SLICES, ["label"]), atol=0.025)  # 5 standard errors


def test_draws_follow_from_seed_and_epoch_alone():
    def draws(*, seed, epoch):
        sampler = Balanced(SLICES, by=["label"], seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draws(seed=0, epoch=1) == draws(seed=0, epoch=1)
    assert draws(seed=0, epoch=1) != draws(seed=1, epoch=1)
    assert [draw % 8 for draw in draws(seed=0, epoch=1)] != [draw % 8 for draw in draws(seed=0, epoch=2)]


def test_a_slice_drawn_twice_in_an_epoch_is_two_draws():
    sampler = Balanced(SLICES, by=["label"], seed=0)
    sampler.set_epoch(3)
    draws = list(sampler)
    assert len(set(draws)) == 8 > len({draw % 8 for draw in draws})
    assert {draw // 8 % REPEAT for draw in draws} == {3}


@pytest.mark.parametrize("by", [[], ["hospital"]])
def test_a_column_that_is_not_there_is_refused(by):
    with pytest.raises(ConfigError, match=r"sampler\.by: must name columns, found .*For example \[label\]"):
        Balanced(SLICES, by=by, seed=0)


def at(*, epoch):
    sampler = EpochShuffle(SLICES, seed=0)
    sampler.set_epoch(epoch)
    return sampler


class Told:
    """Serves the numbers of its draws, and tells of each fetch at once."""

    def __init__(self):
        self.told = multiprocessing.get_context("fork").SimpleQueue()

    def __len__(self):
        return 8

    def __getitems__(self, draws):
        self.told.put(min(draws) // len(self))
        return draws


@pytest.fixture
def ahead():
    loader = AheadLoader(
        Told(),
        batch_size=3,
        sampler=EpochShuffle(SLICES, seed=0),
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
        collate_fn=list,
    )
    yield loader
    loader._iterator._shutdown_workers()


def test_a_loader_begins_with_the_next_epoch_before_it_is_asked_for_and_serves_the_same(ahead):
    for epoch in (0, 1, 2, 7, 8, 3):  # training that goes on may tell any
        ahead.sampler.set_epoch(epoch)
        batches = list(ahead)
        assert [len(batch) for batch in batches] == [3, 3, 2]
        assert [*chain(*batches)] == list(at(epoch=epoch))
        told = None
        while told != epoch + 1:
            told = ahead.dataset.told.get()  # waits until a process fetches what nobody has asked for yet


def test_a_loader_begins_with_no_epoch_behind_the_last(ahead):
    ahead.epochs = 5
    for epoch in (3, 4):
        ahead.sampler.set_epoch(epoch)
        assert [*chain(*ahead)] == list(at(epoch=epoch))
        assert (ahead._begun is None) == (epoch == 4)


def test_a_loader_that_is_left_in_the_middle_begins_anew(ahead):
    ahead.sampler.set_epoch(4)
    left = iter(ahead)
    next(left)
    assert [*chain(*ahead)] == list(at(epoch=4))
