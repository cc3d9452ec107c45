import polars as pl

from fistula.cohort.stacks import volume_notes, with_volumes

AXIAL, CORONAL = [1.0, 0, 0, 0, 1, 0], [1.0, 0, 0, 0, 0, -1]


def _facts(*rows):
    columns = ("component", "cosines", "position_mm", "series_key")
    table = [
        dict(zip(columns, row, strict=True)) | {"slice_key": f"{index}", "rows": 4, "columns": 4}
        for index, row in enumerate(rows)
    ]
    return pl.DataFrame(table)


def test_localizers_components_and_orientations_inside_a_series_are_volumes_of_their_own():
    facts = _facts(
        ("water", AXIAL, 0.0, "s"), ("water", AXIAL, 3.0, "s"), ("water", CORONAL, 0.0, "s"), ("fat", AXIAL, 0.0, "s")
    )
    volumes = with_volumes(facts)["volume"].to_list()
    assert volumes[0] == volumes[1]
    assert len(set(volumes)) == 3


def test_rounding_of_the_direction_does_not_tear_a_volume_apart():
    facts = _facts(("water", AXIAL, 0.0, "s"), ("water", [1.0, 0.0004, 0, 0, 1, 0.0004], 3.0, "s"))
    assert with_volumes(facts)["volume"].to_list() == [0, 0]


def test_directions_that_are_not_of_length_one_are_those_of_one_volume():
    short = [0.9, 0.1, 0, -0.1, 0.9, 0]
    facts = _facts(("water", short, 0.0, "s"), ("water", short, 3.0, "s"), ("water", AXIAL, 6.0, "s"))
    volumes = with_volumes(facts)["volume"].to_list()
    assert volumes[0] == volumes[1] != volumes[2]


def test_frames_without_a_plane_stay_together():
    assert with_volumes(_facts(("", None, None, "s"), ("", None, None, "s")))["volume"].to_list() == [0, 0]


def test_oddities_are_counted_by_volume():
    rows = [("water", AXIAL, position, "s") for position in (0.0, 3.0, 6.0, 12.0)]
    rows += [("water", AXIAL, position, "t") for position in (0.0, 3.0, 3.0, 6.0)]
    assert volume_notes(with_volumes(_facts(*rows))) == {"duplicate positions": 1, "missing positions": 1}
