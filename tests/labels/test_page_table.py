"""A label page's table is taken as it is; what a reader left open never becomes a label."""

import pytest

from fistula.errors import DataError
from fistula.labels.tables.read import read_labels

HEADER = "slice_key,patient_key,label,unsure,note,reader,date,repeat"


def write(tmp_path, *lines, header=HEADER):
    path = tmp_path / "labels.csv"
    path.write_text("\r\n".join([header, *lines]) + "\r\n")
    return path


def test_only_the_first_decided_answers_are_labels(tmp_path):
    path = write(tmp_path, "a,p,1,0,x,AB,2026-01-01,0", "b,p,,1,,AB,2026-01-01,0", "a,p,0,0,,AB,2026-01-02,1")
    labels = read_labels(path)
    assert [(row.name, row.label) for row in labels.rows] == [(("a",), 1)]


def test_an_unsure_answer_is_never_made_negative(tmp_path):
    path = write(tmp_path, "a,p,1,0,,AB,2026-01-01,0", "b,p,,1,,AB,2026-01-01,0")
    with pytest.raises(DataError, match="line 3: holds answers that are unsure, which negatives=rest would make"):
        read_labels(path, negatives="rest")


def test_a_number_with_a_point_is_the_number(tmp_path):
    path = write(tmp_path, "a,p,1,0.0,,AB,2026-01-01,0.0", "b,p,0,1.0,,AB,2026-01-01,0", "a,p,0,0,,AB,2026-01-02,1.0")
    assert [row.label for row in read_labels(path).rows] == [1, 0]
    with pytest.raises(DataError, match="line 3: holds answers that are unsure"):
        read_labels(path, negatives="rest")


def test_two_readers_in_one_table_are_named(tmp_path):
    path = write(tmp_path, "a,p,1,0,,AB,2026-01-01,0", "a,p,0,0,,CD,2026-01-01,0")
    with pytest.raises(
        DataError, match=r"must hold the answers of one reader, found AB, CD\. Make one .* fistula agree"
    ):
        read_labels(path)


def test_a_table_without_a_decided_answer_is_refused(tmp_path):
    with pytest.raises(DataError, match="must have at least one answer that is a label"):
        read_labels(write(tmp_path, "b,p,,1,,AB,2026-01-01,0"))


def test_another_table_may_not_have_these_columns(tmp_path):
    path = write(tmp_path, "1.2,1,x", header="sop_instance_uid,label,note")
    with pytest.raises(DataError, match="unknown column 'note'"):
        read_labels(path)
