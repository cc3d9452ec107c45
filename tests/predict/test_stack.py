import numpy as np

from fistula.predict.out.overlay import ringed
from fistula.predict.out.page import stacks_of


def slice_of(key, series, position, *, patient="p"):
    return {
        "slice_key": key, "patient_key": patient, "series_key": series, "volume": 0, "orientation": "axial",
        "image_number": int(position), "position_mm": position,
    }  # fmt: skip


def test_the_stack_of_the_most_suspicious_slice_is_shown_first_and_at_that_slice():
    slices = {"p": [slice_of("a", "first", 1.0), slice_of("b", "second", 1.0), slice_of("c", "second", 2.0)]}
    place = {
        "slice_key": "c",
        "score": 0.4,
        "grid_row": 223.5,
        "grid_col": 0.0,
        "grid_canal_row": None,
        "grid_canal_col": None,
    }
    shown, other = stacks_of(slices, {"p": [place | {"remarks": ""}]}, size=448)["p"]
    assert [one["key"] for one in shown["slices"]] == ["b", "c"]
    assert shown["start"] == 1
    assert "start" not in other
    # The page's pictures are half as wide as the slices: the border between rows 223 and 224 is that of 111 and 112.
    assert shown["slices"][1]["marks"] == [{"kind": "opening", "row": 111.5, "col": -0.25}]
    assert shown["slices"][0]["marks"] == []
    assert shown["edges"] == ["R", "L", "A", "P"]
    doubtful, _ = stacks_of(slices, {"p": [place | {"remarks": "the patient's answer is abstain"}]}, size=448)["p"]
    assert [mark["kind"] for mark in doubtful["slices"][1]["marks"]] == ["doubtful opening"]


def test_the_ring_of_what_is_no_finding_is_broken():
    image = np.zeros((64, 64), np.uint8)
    place = {"grid_row": 40.2, "grid_col": 20.7}
    whole, broken = (ringed(image, place | {"remarks": words}).any(axis=2) for words in ("", "below the threshold"))
    assert 0.3 * whole.sum() < broken.sum() < 0.7 * whole.sum()
    assert not (broken & ~whole).any()
    assert not broken[40].any()
    assert not broken[:, 21].any()
    rows, columns = np.nonzero(whole)
    assert (rows.mean(), columns.mean()) == (40, 21)
    assert np.abs(np.hypot(rows - 40, columns - 21) - 4).max() < 1.5


def test_the_most_suspicious_patient_is_shown_first():
    slices = {name: [slice_of(name, "one", 1.0, patient=name)] for name in "xyz"}
    none = {"grid_row": None, "grid_col": None, "grid_canal_row": None, "grid_canal_col": None, "remarks": ""}
    places = {
        name: [none | {"slice_key": name, "score": score}] for name, score in zip("xyz", (0.2, 0.9, 0.5), strict=True)
    }
    assert list(stacks_of(slices, places, size=64)) == ["y", "z", "x"]
    assert list(stacks_of(slices, {}, size=64)) == ["x", "y", "z"]


def test_without_places_every_stack_is_there_without_marks():
    (only,) = stacks_of({"p": [slice_of("a", "first", 1.0)]}, {}, size=64)["p"]
    assert (only["rows"], only["cols"]) == (64, 64)
    assert only["slices"][0]["marks"] == []


def test_each_further_sequence_has_a_pane_of_the_slices_that_have_it():
    own = [slice_of("a", "first", 1.0) | {"beside": {}}, slice_of("b", "first", 2.0) | {"beside": {"t2": "data:b"}}]
    lacking = slice_of("c", "second", 1.0) | {"beside": {}}
    first, second, beside = stacks_of({"p": [*own, lacking]}, {}, size=64)["p"]
    assert [(one["pane"], one["key"], one["title"]) for one in (first, second, beside)] == [
        (0, "0", "series 1"), (0, "1", "series 2"), (1, "0", "t2"),
    ]  # fmt: skip
    assert [(one["key"], one["position"], one["image"]) for one in beside["slices"]] == [("b", 2.0, "data:b")]
    assert [one["key"] for one in first["slices"]] == ["a", "b"]
