import numpy as np
import polars as pl
import pytest

from fistula.source.grid import Grid, crop_notes, grid_point, place, to_bytes


def _blob(shape, centre, sigma):
    rows, columns = np.indices(shape)
    return np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * sigma**2)).astype(np.float32)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (0.5, 1.0), (1.7, 0.6), None])
@pytest.mark.parametrize("shape", [(120, 90), (64, 128)])
def test_a_point_lands_where_the_picture_shows_it(shape, spacing):
    centre = shape[0] / 2 + 6, shape[1] / 2 - 4
    placed = place(_blob(shape, centre, 4), Grid(80, 0.8), spacing=spacing)
    rows, columns = np.indices(placed.values.shape)
    weight = placed.values / placed.values.sum()
    seen = (rows * weight).sum(), (columns * weight).sum()
    expected = grid_point(centre, scale=placed.scale, offset=placed.offset, size=80)
    np.testing.assert_allclose(seen, expected, atol=0.05)


def test_anatomy_is_never_stretched():
    # A square of 20 mm, seen with pixels of 0.5 x 1 mm, covers 25 x 25 pixels of 0.8 mm.
    values = np.zeros((120, 60), np.float32)
    values[40:80, 20:40] = 1
    placed = place(values, Grid(64, 0.8), spacing=(0.5, 1.0))
    assert placed.values.max(axis=1).sum() == pytest.approx(25, abs=0.6)
    assert placed.values.max(axis=0).sum() == pytest.approx(25, abs=0.6)
    assert placed.values.sum() == pytest.approx(625, rel=0.01)


@pytest.mark.parametrize(("fit", "side"), [("longer", 64 * 20 / 60), ("shorter", 64 * 20 / 30)])
def test_a_shape_of_pixels_that_alone_is_stated_stretches_nothing(fit, side):
    # A square of 20 x 20 heights of a pixel, which is twice as wide as it is high.
    values = np.zeros((60, 15), np.float32)
    values[20:40, 5:15] = 1
    placed = place(values, Grid(64, 1.0, fit), spacing=None, aspect=0.5)
    assert placed.scale[1] == pytest.approx(2 * placed.scale[0], rel=0.02)
    if fit == "longer":
        assert placed.values.max(axis=1).sum() == pytest.approx(side, abs=0.8)
        assert placed.values.max(axis=0).sum() == pytest.approx(side, abs=0.8)


def test_the_mean_survives_shrinking_without_aliasing():
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    placed = place(stripes, Grid(16, 4.0), spacing=(1.0, 1.0))
    np.testing.assert_allclose(placed.values[:, 2:-2], 0.5, atol=0.02)


def test_a_small_picture_is_padded_about_its_centre_and_a_large_one_cropped():
    small = place(np.ones((10, 10), np.float32), Grid(16, 1.0), spacing=(1.0, 1.0))
    assert small.inside.sum() == 100
    assert small.inside[3:13, 3:13].all()
    large = place(np.arange(400, dtype=np.float32).reshape(20, 20), Grid(10, 1.0), spacing=(1.0, 1.0))
    assert large.values[0, 0] == 5 * 20 + 5


def test_without_spacing_the_longer_side_fits_or_the_shorter_one_fills():
    picture = np.ones((40, 20), np.float32)
    assert place(picture, Grid(16, 1.0, "longer"), spacing=None).inside.sum() == 16 * 8
    assert place(picture, Grid(16, 1.0, "shorter"), spacing=None).inside.all()


def test_padding_does_not_bleed_into_the_picture():
    values = np.full((40, 40), 100, np.float32)
    values[:, :20] = -2000
    inside = values > 0
    placed = place(values, Grid(20, 2.0), spacing=(1.0, 1.0), inside=inside)
    np.testing.assert_allclose(placed.values[placed.inside], 100, rtol=1e-5)
    assert placed.inside.sum() == 200


def test_a_false_spacing_does_not_fill_the_memory():
    assert place(np.ones((100, 100), np.float32), Grid(8, 0.1), spacing=(900.0, 900.0)).values.shape == (8, 8)


def test_a_point_beyond_the_grid_is_none():
    assert grid_point((0, 0), scale=(1, 1), offset=(5, 5), size=10) is None
    assert grid_point((14, 14), scale=(1, 1), offset=(5, 5), size=10) == (9, 9)


def test_bytes_are_rounded_to_the_nearest_level():
    assert to_bytes(np.array([[0, 0.499 / 255, 0.501 / 255, 1, 2, -1]])).tolist() == [[0, 0, 1, 255, 255, 0]]


def test_what_is_cropped_is_counted_with_how_little_is_left():
    placed = pl.DataFrame({"offset_row": [64, -8, 0, 1], "offset_col": [64, 0, -3, 1]})
    # 128 of 256 pixels on both sides are a quarter; one pixel at each edge of 130 is no loss to speak of.
    said = "cropped about the center, to as little as 25% of the image (2 times the size= or spacing_mm= keeps all)"
    assert crop_notes(placed, 128) == {said: 1}
    assert crop_notes(placed[1:], 128) == {}


def test_a_slice_that_fills_hardly_any_of_the_image_is_counted():
    note = "smaller than a tenth of the stored image (is its pixel spacing in mm?)"
    placed = pl.DataFrame({"offset_row": [-60, -10, 0], "offset_col": [-10, -57, -57]})
    assert crop_notes(placed, 128) == {note: 1}
