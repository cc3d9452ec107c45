import numpy as np
import pytest

from fistula.evidence.estimate import Estimate, undefined, without_interval
from fistula.evidence.independent import independent_difference
from fistula.evidence.rates.counts import wilson


# Newcombe (1998), Stat Med 17, 873-890, Table II, method 10.
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        pytest.param((56, 70), (48, 80), 0.0524, 0.3339, id="a"),
        pytest.param((9, 10), (3, 10), 0.1705, 0.8090, id="b"),
        pytest.param((5, 56), (0, 29), -0.0381, 0.1926, id="d"),
        pytest.param((10, 10), (0, 10), 0.6075, 1.0, id="g"),
    ],
)
def test_of_proportions_it_is_newcombes_method(first, second, low, high):
    found = independent_difference(wilson(*first), wilson(*second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_exchanging_the_two_mirrors_the_interval():
    one, two = Estimate(0.9, 0.8, 0.95, "m"), Estimate(0.7, 0.6, 0.85, "m")
    there, back = independent_difference(one, two), independent_difference(two, one)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_what_is_missing_is_said():
    one = Estimate(0.9, 0.8, 0.95, "m")
    assert not independent_difference(one, undefined("m", "no positives")).is_defined
    found = independent_difference(without_interval(0.9, "m", "one patient"), one)
    assert (found.value, found.reason) == (0.0, "one patient")
    assert np.isnan(found.low)
