"""Tables that a reader exports page by page are one table of labels; what contradicts itself is refused by line."""

import pytest

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.several import read_tables

PAGE = "slice_key,patient_key,label,unsure,reader,repeat"


@pytest.fixture
def write(tmp_path):
    def call(name, *lines, header=PAGE):
        (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")
        return tmp_path / name

    return call


def test_the_tables_of_two_pages_are_as_one(write):
    paths = [write("1.csv", "a,p,0,0,AB,0", "b,p,1,0,AB,0"), write("2.csv", "c,q,1,0,AB,0")]
    labels = read_tables(paths)
    assert [(row.name, row.label) for row in labels.rows] == [(("a",), 0), (("b",), 1), (("c",), 1)]
    assert len({row.line for row in labels.rows}) == 3
    assert [row.where for row in labels.rows] == [f"{paths[0]}, line 2", f"{paths[0]}, line 3", f"{paths[1]}, line 2"]
    assert read_tables(paths[:1]).rows[0].where == "line 2"


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        pytest.param(["c,q,1,0,CD,0"], "must hold the answers of one reader, found AB, CD.*fistula agree", id="reader"),
        pytest.param(["a,p,1,0,AB,0"], r"2\.csv, line 2: gives a two labels.*1\.csv, line 2 and .*2\.csv", id="twice"),
        pytest.param(["c,q,2,0,AB,0"], r"2\.csv: must have the same classes as .*1\.csv, found 0, 1, 2", id="classes"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(write, second, rule):
    with pytest.raises(DataError, match=rule):
        read_tables([write("1.csv", "a,p,0,0,AB,0", "b,p,1,0,AB,0"), write("2.csv", *second)])


def test_tables_that_name_images_in_two_ways_are_refused(write):
    paths = [
        write("1.csv", "a,0", "b,1", header="path,label"),
        write("2.csv", "1.2,1", header="sop_instance_uid,label"),
    ]
    with pytest.raises(DataError, match=r"the same columns for images as .*1\.csv, found sop_instance_uid"):
        read_tables(paths)


def test_no_table_is_refused():
    with pytest.raises(ConfigError, match="must name a table"):
        read_tables([])
