import polars as pl
import pytest

from fistula.errors import DataError
from fistula.learning.data.channels import channel_rows


def table(*rows):
    return pl.DataFrame(rows, schema=["slice_key", "series_key", "volume", "position_mm"], orient="row")


def test_neighbours_are_those_along_the_normal_in_the_same_volume_and_the_edge_stands_twice():
    slices = table(
        ("a", "s1", 0, 6.0),
        ("b", "s2", 0, 3.0),
        ("c", "s1", 0, -3.0),
        ("d", "s1", 1, 3.0),
        ("e", "s1", 0, 3.0),
    )
    assert channel_rows(slices, 3).tolist() == [[4, 0, 0], [1, 1, 1], [2, 2, 4], [3, 3, 3], [2, 4, 0]]
    assert channel_rows(slices.drop("volume"), 3)[0].tolist() == [4, 0, 0]
    assert channel_rows(slices, 1).tolist() == [[0], [1], [2], [3], [4]]


def test_slices_beside_a_missing_one_are_no_neighbours():
    places = (0.0, 3.0, 6.0, 12.0, 15.0)
    slices = table(*((str(place), "s", 0, place) for place in places))
    assert channel_rows(slices, 3).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 4]]
    assert channel_rows(slices[[0, 3]], 3).tolist() == [[0, 0, 1], [0, 1, 1]]  # two tell of no distance between slices


def test_slices_at_one_place_follow_one_another_by_their_keys():
    slices = table(("b", "s", 0, 0.0), ("a", "s", 0, 0.0))
    assert channel_rows(slices, 3).tolist() == [[1, 0, 0], [1, 1, 0]]


def test_slices_without_a_position_have_no_neighbours():
    slices = table(("a", "s", 0, None), ("b", "s", 0, 1.0))
    with pytest.raises(DataError, match=r"model\.channels=adjacent: needs the position of every slice, found 1 of 2"):
        channel_rows(slices, 3)
    assert channel_rows(slices, 1).tolist() == [[0], [1]]
