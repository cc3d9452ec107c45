"""Points of 3D Slicer in every form that its versions and its users write: where they lie, or why not."""

import json

import pytest

from fistula.dicom.outcome import Refused
from fistula.labels.drawn.markups import UNPLACED, read_markups

FCSV = "# Markups fiducial file version = {version}\n# CoordinateSystem = {system}\n# columns = {columns}\n{rows}"
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def markup(*lists, **changes):
    """One list for each of the given: its changes, and its points as label, place and further keys."""
    said = []
    for of_list, points in lists:
        own = [{"label": label, "position": place} | more for label, place, more in points]
        said.append({"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": own} | of_list)
    return json.dumps({"@schema": "https://raw.githubusercontent.com/slicer#", "markups": said} | changes)


def fcsv(rows, *, version="4.11", system="LPS", columns=COLUMNS):
    return FCSV.format(version=version, system=system, columns=columns, rows=rows)


ONE = [("opening-1", [1.0, 2.0, 3.0], {})]
HERE, TURNED = (1.0, 2.0, 3.0), (-1.0, -2.0, 3.0)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (markup(({}, ONE)), [HERE]),
        (markup(({"coordinateSystem": "RAS"}, ONE)), [TURNED]),
        (markup(({"coordinateSystem": 0}, ONE)), [TURNED]),
        (markup(({"coordinateSystem": "1"}, ONE)), [HERE]),
        (markup(({}, ONE), ({"coordinateSystem": "RAS"}, ONE)), [HERE, TURNED]),
        (markup(({"locked": True, "display": {"visibility": False}}, [(*ONE[0][:2], {"locked": True})])), [HERE]),
        (markup(({"type": "PointList", "coordinateUnits": "mm"}, ONE)), [HERE]),
        (markup(({}, [(*ONE[0][:2], {"positionStatus": "defined", "orientation": [1] * 9})])), [HERE]),
        ("\ufeff" + markup(({}, ONE)), [HERE]),
        (markup(({}, [])), []),
        (markup(), []),
    ],
    ids=["LPS", "RAS", "0", "1", "several lists", "locked and hidden", "in mm", "defined", "BOM", "empty", "no list"],
)  # fmt: skip
def test_points_of_json_lie_where_their_axes_say(text, places):
    drawing = read_markups(text.encode(), "a.mrk.json")
    assert [point.place for point in drawing.points] == places
    assert drawing.notes == ()


@pytest.mark.parametrize("status", ["undefined", "missing", "preview"])
@pytest.mark.parametrize("place", [[0.0, 0.0, 0.0], None, []])
def test_a_point_that_was_never_placed_is_left_out_and_counted(status, place):
    text = markup(({}, [*ONE, ("canal-1", place, {"positionStatus": status})]))
    drawing = read_markups(text.encode(), "a.mrk.json")
    assert [point.label for point in drawing.points] == ["opening-1"]
    assert drawing.notes == (UNPLACED,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (markup(({"coordinateSystem": "IJK"}, ONE)), "cannot be read"),
        (markup(({"coordinateSystem": None}, ONE)), "cannot be read"),
        (markup(({}, [("a", [1, 2], {})])), "cannot be read"),
        (markup(({}, [("a", [1, 2, "x"], {})])), "cannot be read"),
        (markup(({}, [("a", [1, 2, None], {})])), "cannot be read"),
        (markup(({}, [("a", [1, 2, float("nan")], {})])), "cannot be read"),
        (markup(({}, [("a", [1, 2, 1e9], {})])), "cannot be read"),
        (markup(({"coordinateUnits": "um"}, ONE)), "not in mm"),
        (markup(({"type": "Line"}, ONE)), "lines or planes"),
        (markup(({}, ONE), ({"type": "ROI"}, ONE)), "lines or planes"),
        (markup(({}, ONE)).replace("]}]}", "],}]}"), "cannot be read"),
        ("// points\n" + markup(({}, ONE)), "cannot be read"),
        (markup(({}, ONE)).replace('"', "'"), "cannot be read"),
        (json.dumps([1, 2, 3]), "cannot be read"),
        (json.dumps({"markups": None}), "cannot be read"),
        (json.dumps({"controlPoints": []}), "cannot be read"),
        ("", "cannot be read"),
    ],
    ids=["IJK", "no axes", "two numbers", "a word", "null", "NaN", "far away", "micrometers", "a line", "a box as well",
         "a trailing comma", "a comment", "single quotes", "a list", "no lists", "no markups", "nothing"],
)  # fmt: skip
def test_json_that_cannot_be_meant_in_one_way_is_refused(text, reason):
    with pytest.raises(Refused, match=reason):
        read_markups(text.encode(), "a.mrk.json")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,opening-1,,\n"), [HERE]),
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,opening-1,,\n", system="0", version="4.6"), [TURNED]),
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,opening-1,,\n", system="RAS", version="4.13"), [TURNED]),
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,opening-1,,,2,0\n", version="5.2"), [HERE]),
        (fcsv('1,1,2,3,0,0,0,1,1,1,0,"opening-1","a, b",\n\n'), [HERE]),
        (fcsv("opening-1,1,2,3\n", columns="label,x,y,z"), [HERE]),
        (fcsv("3,2,1,opening-1\n", columns="z, y, x, label"), [HERE]),
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,opening-1,,\n").replace("\n", "\r\n"), [HERE]),
        ("# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1,1,1,0,opening-1,,\n", [HERE]),
        (fcsv(""), []),
    ],
    ids=["LPS", "0", "RAS", "5.2", "quotes", "four columns", "another order", "Windows", "no columns", "empty"],
)  # fmt: skip
def test_points_of_a_list_lie_where_its_axes_say(text, places):
    drawing = read_markups(text.encode(), "a.fcsv")
    assert [(point.label, point.place) for point in drawing.points] == [("opening-1", place) for place in places]
    assert drawing.notes == ()


def test_a_point_of_a_list_that_was_never_placed_is_left_out_and_counted():
    rows = "1,1,2,3,0,0,0,1,1,1,0,F-1,,,2,0\n2,0,0,0,0,0,0,1,1,1,0,F-2,,,0,0\n"
    drawing = read_markups(fcsv(rows, version="5.2").encode(), "a.fcsv")
    assert ([point.place for point in drawing.points], drawing.notes) == ([HERE], (UNPLACED,))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (fcsv("1,1,2,3,0,0,0,1,1,1,0,F-1,,\n", system="2"), "do not state their axes"),
        ("1,1,2,3,0,0,0,1,1,1,0,F-1,,\n", "do not state their axes"),
        (fcsv("1,1,5,2,5,3,5,0,0,0,1,1,1,0,F-1,,\n"), "cannot be read"),
        (fcsv("1;1;2;3\n"), "cannot be read"),
        (fcsv("1,1,2\n"), "cannot be read"),
        (fcsv("1,one,2,3,0,0,0,1,1,1,0,F-1,,\n"), "cannot be read"),
        (fcsv("F-1,1,2\n", columns="label,x,y"), "cannot be read"),
    ],
    ids=["IJK", "no axes", "decimal commas", "semicolons", "too short", "a word", "no z"],
)
def test_a_list_that_cannot_be_meant_in_one_way_is_refused(text, reason):
    with pytest.raises(Refused, match=reason):
        read_markups(text.encode(), "a.fcsv")


@pytest.mark.parametrize(("label", "names"), [("F-1", ("opening",)), ("1", ("opening",)), ("canal-1", ())])
def test_points_that_nobody_named_go_by_the_name_of_their_file(label, names):
    for name, text in (
        ("p1/opening.mrk.json", markup(({}, [(label, [1, 2, 3], {})]))),
        ("p1/opening.fcsv", fcsv(f"1,1,2,3,0,0,0,1,1,1,0,{label},,\n")),
    ):
        (point,) = read_markups(text.encode(), name).points
        assert (point.label, point.names) == (label, names)
