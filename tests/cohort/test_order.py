import hashlib

import polars as pl
from numpy.random import default_rng

from fistula.cohort.order import in_order


def _facts(names):
    """Three patients with two series of two slices each; `names` renames patients and series."""
    rows = []
    for patient in range(3):
        for series in range(2):
            for position in range(2):
                digest = hashlib.sha256(f"{patient}{series}{position}".encode()).hexdigest()
                rows.append(
                    {
                        "patient_key": names[patient],
                        "series_key": f"{names[patient]}-{names[series]}",
                        "volume": 0,
                        "position_mm": 3.0 * position,
                        "pixel_hash": digest,
                        "label": patient % 2,
                        "frame": 0,
                    }
                )
    return pl.DataFrame(rows)


def test_names_and_the_order_of_files_have_no_say():
    expected = in_order(_facts(["a", "b", "c"]))["pixel_hash"].to_list()
    shuffled = _facts(["z", "q", "b"]).sample(fraction=1, shuffle=True, seed=3)
    assert in_order(shuffled)["pixel_hash"].to_list() == expected


def test_patients_stay_together_and_positions_ascend():
    facts = in_order(_facts(["a", "b", "c"]).sample(fraction=1, shuffle=True, seed=1))
    assert facts["patient_key"].rle().struct.field("len").to_list() == [4, 4, 4]
    assert facts["position_mm"].to_list() == [0.0, 3.0] * 6


def test_a_picture_that_two_patients_share_does_not_make_the_order_depend_on_their_names():
    def shared(names):
        facts = _facts(names).with_columns(label=pl.col("label").fill_null(0))
        return facts.with_columns(
            pixel_hash=pl.when(pl.col("position_mm") == 0).then(pl.lit("0")).otherwise("pixel_hash")
        )

    first = in_order(shared(["a", "b", "c"]))
    second = in_order(shared(["c", "a", "b"]).sample(fraction=1, shuffle=True, seed=int(default_rng(0).integers(9))))
    assert first.select("pixel_hash", "label").equals(second.select("pixel_hash", "label"))
