import numpy as np
import pytest

from fistula.dicom.geometry import normal, orientation, position_along, same_direction, spacing_notes


def test_position_grows_along_the_normal_of_an_oblique_plane():
    cosines = [1, 0, 0, 0, np.cos(0.3), np.sin(0.3)]
    direction = normal(cosines)
    # By hand: x × (0, cos, sin) = (0, -sin, cos).
    np.testing.assert_allclose(direction, [0, -np.sin(0.3), np.cos(0.3)], atol=1e-12)
    corners = [np.array([4.0, -7.0, 11.0]) + step * direction for step in (0, 2.5, 5)]
    steps = np.diff([position_along(direction, corner) for corner in corners])
    np.testing.assert_allclose(steps, 2.5, atol=1e-3)


def test_parallel_directions_span_no_plane():
    assert normal([1, 0, 0, 1, 0, 0]) is None
    assert normal([1, 0, 0]) is None


@pytest.mark.parametrize(
    ("direction", "name"),
    [([1, 0, 0], "sagittal"), ([0, -1, 0.2], "coronal"), ([0, 0.4, -1], "axial"), ([0.7, 0.7, 0], "oblique")],
)
def test_planes_are_named_by_the_nearest_axis(direction, name):
    assert orientation(np.array(direction, float)) == name


@pytest.mark.parametrize(
    ("positions", "notes"),
    [
        ([0, 3, 6, 9], []),
        ([9, 0, 6, 3], []),
        ([0, 3, 6, 12], ["missing positions"]),
        ([0, 3, 3, 6, 9], ["duplicate positions"]),
        ([0, 3, 6.4, 9.4], ["uneven spacing"]),
        ([0, None, 3], ["no position"]),
        ([5], []),
    ],
)
def test_odd_spacing_is_noted(positions, notes):
    assert spacing_notes(positions) == notes


def test_directions_within_two_degrees_are_the_same():
    tilt = np.radians([1.5, 2.5])
    near, far = ([1, 0, 0, 0, np.cos(angle), np.sin(angle)] for angle in tilt)
    assert same_direction([1, 0, 0, 0, 1, 0], near)
    assert not same_direction([1, 0, 0, 0, 1, 0], far)
