import polars as pl
import pytest

from fistula.dicom.identity import read_pseudonyms
from fistula.errors import DataError
from fistula.labels.matching import refuse_empty_classes, refuse_unmatched
from fistula.labels.tables.read import read_labels
from fistula.source.survey import Survey

LINES = 20_000  # a set made anew for each would be felt


def test_lines_without_an_image_are_counted(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("slice_key,label\n" + "".join(f"{line},{line % 2}\n" for line in range(LINES)))
    labels = read_labels(table)
    lines = pl.Series("line", [row.line for row in labels.rows])
    wanted, others = pl.DataFrame({"line": lines[:-3]}), pl.DataFrame({"line": lines[-3:-1]})
    survey = Survey(tmp_path, [], wanted)
    options = {"policy": "exclude", "pseudonyms": read_pseudonyms(create=True)}
    counts = refuse_unmatched(survey, wanted, others, labels, None, **options)
    assert counts == {"labels for no image": 1, "labels for images left out": 2}


@pytest.mark.parametrize(
    ("labels", "classes", "remedy"),
    [
        ([1, 2, 1], ["0", "1", "2"], r'name the existing ones: "classes=\[1,2\]"'),
        ([0, 2, 0], ["0", "1", "2"], r'name the existing ones: "classes=\[0,2\]"'),
        ([1, 1], ["0", "1"], r"set negatives=other_patients"),
        ([1, 1], ["normal", "fistula"], r"set negatives=other_patients"),
        ([0, 9], [str(number) for number in range(99)], r"none of 97 of 99 classes: 1, 2, 3, \.\.\.\. Label"),
    ],
    ids=["numbers from 1", "a number that is not there", "positive ones alone", "words", "many"],
)
def test_a_class_without_an_image_is_refused_with_the_way_on(labels, classes, remedy):
    with pytest.raises(DataError, match=rf"every class needs at least one image, found .*{remedy}"):
        refuse_empty_classes(labels, classes, {})


def test_a_table_without_a_label_is_called_so():
    with pytest.raises(DataError, match="must label an image, found no label"):
        refuse_empty_classes([], ["0", "1"], {"labels for no image": 0})


@pytest.mark.parametrize(
    ("labels", "said"), [([], "found labels for no image: 2"), ([0], r"1: 0 \(labels for no image: 2")]
)
def test_labels_of_what_was_excluded_are_spoken_of_where_none_is_left(labels, said):
    with pytest.raises(DataError, match=rf"{said}.*Correct what was excluded"):
        refuse_empty_classes(labels, ["0", "1"], {"labels for no image": 2})
