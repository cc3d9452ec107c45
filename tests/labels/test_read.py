import pytest

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.read import read_labels


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def test_whole_numbers_are_class_indices(table):
    labels = read_labels(table("sop_instance_uid,label\n1.2,0\n1.3,2\n"))
    assert labels.classes == ["0", "1", "2"]
    assert [row.label for row in labels.rows] == [0, 2]


def test_words_take_the_order_of_classes(table):
    labels = read_labels(table("path,label\na,normal\nb,fistula\n"), classes=["normal", "fistula"])
    assert [row.label for row in labels.rows] == [0, 1]


@pytest.mark.parametrize(
    "words", [("normal", "fistula"), ("Control", "Crohn"), ("no", "yes"), ("negative", "benign"), ("nein", "ja")]
)
def test_of_two_words_the_one_that_says_nothing_is_there_comes_first(table, words):
    labels = read_labels(table(f"path,label\na,{words[1]}\nb,{words[0]}\n"))
    assert labels.classes == list(words)
    assert [row.label for row in labels.rows] == [1, 0]


def test_a_class_is_spelt_as_most_of_its_cells_are(table):
    labels = read_labels(table("path,label\na,Ja\nb,ja\nc,JA\nd,ja\ne,nein\n"))
    assert labels.classes == ["nein", "ja"]
    assert [row.label for row in labels.rows] == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("words", ["benign malignant", "normal negative", "normal benign malignant"])
def test_words_whose_order_is_anybodys_guess_need_classes(table, words):
    lines = "".join(f"{number},{word}\n" for number, word in enumerate(words.split()))
    with pytest.raises(ConfigError, match=r"must be given, because the labels of .* are words") as raised:
        read_labels(table(f"path,label\n{lines}"))
    said, given = str(raised.value), words.split()
    if len(given) == 2:  # neither order is proposed before the other one
        assert all(f'"classes=[{",".join(order)}]"' in said for order in (given, given[::-1])), said
    else:
        assert said.endswith(", or another order"), said


def test_patient_numbers_stay_text(table):
    labels = read_labels(table("patient_id,label\n02,0\n2,1\n"), level="patient")
    assert [row.name for row in labels.rows] == [("02",), ("2",)]


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("sop_instance_uid,patient_id,label", ("sop_instance_uid",)),
        ("path,patient_id,label", ("path",)),
        ("series_instance_uid,instance_number,label", ("series_instance_uid", "instance_number")),
        ("patient_id,label", ("patient_id",)),
    ],
)
def test_the_columns_say_how_images_are_named(table, header, key):
    cells = ",".join("1" for _ in header.split(","))
    level = "patient" if key == ("patient_id",) else "slice"
    assert read_labels(table(f"{header}\n{cells}\n"), level=level).key == key


def test_a_byte_order_mark_and_spaces_are_no_part_of_a_name(table):
    labels = read_labels(table("sop_instance_uid , label\n 1.2 , 1 \n", encoding="utf-8-sig"))
    assert labels.rows[0].name == ("1.2",)


def test_instance_numbers_are_numbers(table):
    labels = read_labels(table("series_instance_uid,instance_number,label\n1.2,007,1\n"))
    assert labels.rows[0].name == ("1.2", "7")


def test_a_point_may_have_decimal_commas(table):
    labels = read_labels(table("path;label;opening_row;opening_col\na;1;12,5;0,125\n"))
    assert labels.rows[0].points[0] == (12.5, 0.125)


def test_the_opening_is_optional_per_line(table):
    labels = read_labels(table("path,label,opening_row,opening_col\na,1,3.5,4\nb,0,,\n"))
    assert [row.points for row in labels.rows] == [((3.5, 4.0), None), (None, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("sop_instance_uid,label\n", "must have at least one line"),
        (
            "sop_instance_uid,label,age,name\n1,1,2,3\n",
            "line 1: has the unknown columns 'age', 'name'.*other_columns=ignore",
        ),
        ("sop_instance_uid,label,label\n1,1,1\n", "has the column 'label' twice"),
        ("label\n1\n", "must name the images by one of"),
        ("sop_instance_uid\n1\n", "must have the column 'label'"),
        ("sop_instance_uid,label\n1\n", "line 2: must have 2 cells as the header has, found 1"),
        ("sop_instance_uid,label\n,1\n", "line 2: must have a sop_instance_uid"),
        ("sop_instance_uid,label\n1,0\n\n1,1\n", "line 4: gives 1 two labels"),
        ("sop_instance_uid,label\n1,0\n1,0\n", "line 3: gives 1 the same label twice"),
        ("path,label\na,1\n./a,1\n", "line 3: gives a the same label twice"),
        ("path,label\n../a,1\n", "path must be relative"),
        ("path,label\n/a,1\n", "path must be relative"),
        ("path,label,split\na,1,testing\n", "split must be one of train, val, test, or empty, found 'testing'"),
        ("path,label,opening_row\na,1,3\n", "both of opening_row and opening_col"),
        ("path,label,opening_row,opening_col\na,1,3,\n", "must both be numbers, or both empty"),
        ("path,label,opening_row,opening_col\na,1,nan,1\n", "line 2: opening_row must be a number, or empty"),
        ("path;label;opening_row;opening_col\na;1;1,250;1\n", "line 2: opening_row may be two numbers, found 1,250"),
        ("path,label,patient_id\na.png,1,1\nb.dcm,1,1\n", "names images of two kinds in one table"),
        ("series_instance_uid,instance_number,label\n1,x,1\n", "instance_number must be a whole number"),
        ('path,label\n"a,1\n', "is not CSV"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(table, text, message):
    with pytest.raises(DataError, match=message):
        read_labels(table(text))


def test_a_table_in_another_encoding_is_refused(table):
    with pytest.raises(DataError, match="must be UTF-8"):
        read_labels(table("path,label,site\na,1,Köln\n", encoding="latin-1"))


@pytest.mark.parametrize("word", ["-1", "1.5", "yes", "20190413"])
def test_a_label_that_is_no_index_needs_classes(table, word):
    with pytest.raises(ConfigError, match=r"classes: must be given.*classes=\[normal,fistula\]"):
        read_labels(table(f"path,label\na,0\nb,{word}\n"))


def test_whole_numbers_that_a_program_wrote_with_a_point_are_whole(table):
    """As pandas writes a column with gaps."""
    labels = read_labels(table("series_instance_uid,instance_number,label\n1.2,7.0,1.0\n1.2,8.0,\n1.2,9.0,0.0\n"))
    assert [(row.name[1], row.label) for row in labels.rows] == [("7", 1), ("8", None), ("9", 0)]


@pytest.mark.parametrize("word", ["NA", "?", "unknown"])
def test_a_word_for_not_known_is_no_class(table, word):
    with pytest.raises(DataError, match=rf"line 4: label must be a class, or empty, found [{word}]+\. Empty the cells"):
        read_labels(table(f"path,label\na,0\nb,1\nc,{word}\n"))
    assert read_labels(table(f"path,label\na,0\nb,{word}\n"), classes=["0", word]).classes == ["0", word]


def test_false_is_negative_and_true_positive(table):
    assert [row.label for row in read_labels(table("path,label\na,TRUE\nb,FALSE\n")).rows] == [1, 0]


def test_a_word_outside_the_classes_is_refused(table):
    with pytest.raises(DataError, match="label must be one of normal, fistula"):
        read_labels(table("path,label\na,abscess\n"), classes=["normal", "fistula"])


def test_a_table_of_positives_needs_no_label_where_the_negatives_are_named(table):
    assert [row.label for row in read_labels(table("path\na\nb\n"), negatives="rest").rows] == [1, 1]
    with pytest.raises(DataError, match=r"must have the column 'label'.*negatives=rest"):
        read_labels(table("path\na\nb\n"))


def test_an_empty_label_is_none(table):
    assert [row.label for row in read_labels(table("path,label\na,1\nb,\n")).rows] == [1, None]


@pytest.mark.parametrize(
    ("classes", "cells"),
    [
        (["normal", "fistula"], ["Normal", "FISTULA"]),
        (["FALSE", "TRUE"], ["False", "TRUE"]),
        (["ne\u0301gatif", "présent"], ["n\u00e9gatif", "pre\u0301sent"]),
        (["1", "2"], ["1.0", "2"]),
    ],
    ids=["case", "a spreadsheet's case", "composed and not", "of numbers"],
)
def test_a_class_is_the_same_in_any_case_and_however_its_letters_are_composed(table, classes, cells):
    labels = read_labels(table(f"path,label\na,{cells[0]}\nb,{cells[1]}\n"), classes=classes)
    assert [row.label for row in labels.rows] == [0, 1]


def test_two_spellings_of_a_class_without_a_list_are_one(table):
    labels = read_labels(table("path,label\na,normal\nb,Fistula\nc,Normal\nd,FISTULA\n"))
    assert [name.lower() for name in labels.classes] == ["normal", "fistula"]
    assert [row.label for row in labels.rows] == [0, 1, 0, 1]


def test_words_of_classes_are_named_in_the_remedy_and_what_says_nothing_is_there_is_negative(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("path,label\na.png,benign\nb.png,malignant\n")
    with pytest.raises(ConfigError, match=r"classes=\[benign,malignant\]"):
        read_labels(table)
    table.write_text("path,label\na.png,肛瘘\nb.png,正常\n", encoding="utf-8")
    assert read_labels(table).classes == ["正常", "肛瘘"]
