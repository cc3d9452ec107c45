import numpy as np
import pytest

from fistula.phantom.texture import EXTENT_MM, draw_field

LINE = np.linspace(-100, 100, 101)


def test_a_field_has_unit_variance_and_changes_slowly_with_the_level():
    field = draw_field(np.random.default_rng(0), length=5.0, turn=0.1)
    here, near, far = (field.at(LINE, LINE, level) for level in (0.0, 1.0, np.pi / 2 / 0.1))
    assert here.shape == (101, 101)
    assert np.std(here) == pytest.approx(1, abs=0.15)
    assert np.corrcoef(here.ravel(), near.ravel())[0, 1] == pytest.approx(np.cos(0.1), abs=0.02)
    assert abs(np.corrcoef(here.ravel(), far.ravel())[0, 1]) < 0.15


def test_values_between_points_of_the_grid_are_linear():
    field = draw_field(np.random.default_rng(1), length=20.0, size=11)
    step = EXTENT_MM / 10
    left, middle, right = field.at(np.array([0.0]), np.array([0, step / 2, step]), 0.0)[0]
    assert middle == pytest.approx((left + right) / 2, abs=1e-5)


def test_without_turn_every_level_is_the_same():
    field = draw_field(np.random.default_rng(2), length=9.0)
    np.testing.assert_array_equal(field.at(LINE, LINE, 3.0), field.at(LINE, LINE, 30.0))
