import numpy as np
import pytest

from fistula.dicom.pixels.geometry import (
    TURNS,
    found_point,
    normal,
    position_along,
    same_direction,
    spacing_notes,
    stance,
    turn,
    turned_point,
)


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
    ("row", "column", "expected"),
    [
        pytest.param([1, 0, 0], [0, 1, 0], ("axial", 0.0, ""), id="axial from the feet"),
        pytest.param([-1, 0, 0], [0, 1, 0], ("axial", 0.0, "flip"), id="axial from the head"),
        pytest.param([1, 0, 0], [0, -1, 0], ("axial", 0.0, "flip_vertical"), id="axial upside down"),
        pytest.param([-1, 0, 0], [0, -1, 0], ("axial", 0.0, "turn180"), id="axial, prone"),
        pytest.param([0, 1, 0], [1, 0, 0], ("axial", 0.0, "transpose"), id="rows run to the back"),
        pytest.param([1, 0, 0], [0, 0, -1], ("coronal", 0.0, ""), id="coronal from the front"),
        pytest.param([1, 0, 0], [0, 0, 1], ("coronal", 0.0, "flip_vertical"), id="coronal, feet up"),
        pytest.param([0, 1, 0], [0, 0, -1], ("sagittal", 0.0, ""), id="sagittal, front at the left"),
        pytest.param([0, -1, 0], [0, 0, -1], ("sagittal", 0.0, "flip"), id="sagittal, front at the right"),
        # Across a canal that leans forward by 40 degrees, and along it.
        pytest.param([1, 0, 0], [0, 0.766, -0.6428], ("axial", 40.0, ""), id="across the canal"),
        pytest.param([1, 0, 0], [0, -0.6428, -0.766], ("coronal", 40.0, ""), id="along the canal"),
        pytest.param([1, 0, 0], [0, 0.7071, -0.7071], ("axial", 45.0, ""), id="between two planes: axial"),
    ],
)
def test_a_slice_has_its_nearest_plane_its_tilt_and_what_brings_it_into_the_stored_orientation(row, column, expected):
    assert stance([*row, *column])[:3] == expected


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90])
def test_however_a_plane_is_written_it_is_stored_in_one_way(turned, angle):
    """The same picture and plane, laid in each of the eight ways, comes out as one, its points with it."""
    along, down = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0]), np.array([0, 0, 0.0])
    down = np.cross([0, -0.3420, 0.9397], along)
    image = np.arange(12).reshape(3, 4)
    here = stance([*along, *down])
    is_transposed, is_row_reversed, is_column_reversed = TURNS[turned]
    other_along, other_down = (down, along) if is_transposed else (along, down)
    other_along = -other_along if is_column_reversed else other_along
    other_down = -other_down if is_row_reversed else other_down
    there = stance([*other_along, *other_down])
    np.testing.assert_array_equal(turn(turn(image, turned), there.turned), turn(image, here.turned))
    np.testing.assert_allclose(there.cosines, here.cosines, atol=1e-5)
    assert (there.orientation, there.tilt_degrees) == (here.orientation, here.tilt_degrees)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("is_in_plane", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_slices_of_a_stack_at_45_degrees_lie_alike_whatever_their_last_digits(axes, is_in_plane, sign):
    random, half = np.random.default_rng(0), np.sqrt(0.5)
    ways = set()
    for _ in range(50):
        row, column = np.zeros(3), np.zeros(3)
        row[list(axes[:2])] = half, sign * half
        if is_in_plane:
            column[list(axes[:2])] = -sign * half, half
        else:
            column[axes[2]] = 1
        found = stance([*(row + random.normal(0, 2e-4, 3)), *(column + random.normal(0, 2e-4, 3))])
        ways.add((found.orientation, found.turned))
    assert len(ways) == 1


@pytest.mark.parametrize("turned", TURNS)
def test_points_move_with_their_pixel_and_back(turned):
    image = np.arange(12).reshape(3, 4)
    for row in range(3):
        for column in range(4):
            point = turned_point((row, column), image.shape, turned)
            assert turn(image, turned)[point] == image[row, column]
            assert found_point(point, image.shape, turned) == (row, column)
    between = turned_point((0.25, 2.5), image.shape, turned)
    assert found_point(between, image.shape, turned) == (0.25, 2.5)


def test_turns_are_those_of_numpy():
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(turn(image, "turn90"), np.rot90(image))
    np.testing.assert_array_equal(turn(image, "turn180"), np.rot90(image, 2))
    np.testing.assert_array_equal(turn(image, "turn270"), np.rot90(image, 3))


def test_directions_that_are_askew_or_nothing_are_no_plane():
    assert stance([1, 0, 0, 0.5, 0.5, 0]) is None
    assert stance([0, 0, 0, 0, 0, 0]) is None


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
