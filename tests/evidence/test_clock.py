import numpy as np
import pytest
from scipy.stats import circmean, circstd

from fistula.evidence.places.clock import clock_errors, clock_hours, hours_off


@pytest.mark.parametrize(
    ("opening", "hour"),
    [
        pytest.param((0, 10), 12.0, id="anterior is 12"),
        pytest.param((10, 20), 3.0, id="the patient's left, on the right of the picture, is 3"),
        pytest.param((20, 10), 6.0, id="posterior is 6"),
        pytest.param((10, 0), 9.0, id="the patient's right is 9"),
        pytest.param((10 - 10 * np.cos(np.pi / 6), 15), 1.0, id="30 degrees are an hour"),
        pytest.param((17, 3), 7.5, id="between 6 and 9"),
    ],
)
def test_the_clock_is_that_of_the_surgeon(opening, hour):
    assert clock_hours([opening], [(10, 10)])[0] == pytest.approx(hour)


def test_an_opening_in_the_middle_of_the_canal_has_no_hour():
    assert np.isnan(clock_hours([(10, 10)], [(10, 10)])[0])


def test_a_mirrored_slice_turns_the_hours_round():
    random = np.random.default_rng(0)
    openings, canals = random.uniform(0, 100, (50, 2)), random.uniform(40, 60, (50, 2))
    mirrored = [points * [1, -1] + [0, 99] for points in (openings, canals)]
    assert clock_hours(*mirrored) == pytest.approx(12 - clock_hours(openings, canals))


def test_errors_go_the_short_way_round():
    assert hours_off([0.5, 11.5, 3.0], [11.5, 0.5, 3.0]).tolist() == [1.0, -1.0, 0.0]


def test_circular_statistics_match_scipys():
    random = np.random.default_rng(1)
    truth, said = random.uniform(0, 12, 80), random.uniform(0, 12, 80)
    found = clock_errors(said, truth, np.arange(80) // 2)
    errors = hours_off(said, truth)
    assert found.mean == pytest.approx(circmean(errors, high=6, low=-6))
    assert found.deviation == pytest.approx(circstd(errors, high=6, low=-6))


def test_all_hours_may_be_turned_together():
    random = np.random.default_rng(2)
    truth, patients = random.uniform(0, 12, 60), np.arange(60) // 3
    said = truth + random.normal(0, 1, 60)
    one, other = clock_errors(said, truth, patients), clock_errors(said + 5, truth + 5, patients)
    assert one.within_one == other.within_one
    assert one.resultant == pytest.approx(other.resultant)


def test_a_position_that_was_not_said_is_not_within_an_hour():
    found = clock_errors([3.0, np.nan], [3.0, 3.0], ["a", "b"])
    assert (found.within_one.value, found.count, found.missing) == (0.5, 1, 1)
    assert found.mean_absolute.value == 0


def test_nothing_said_is_not_a_number_with_its_reason():
    found = clock_errors([np.nan, np.nan], [3.0, 4.0], ["a", "b"])
    assert str(found.mean_absolute) == "n/a: no position was given"


def test_a_true_position_must_be_known():
    with pytest.raises(ValueError, match="must be finite"):
        clock_errors([3.0], [np.nan], ["a"])
