import polars as pl
import pytest

from fistula.errors import ConfigError, DataError
from fistula.source.patients import PatientRule, apart


def images(*rows, **columns):
    """One image a row: PatientID (empty: none), the table's patient_id and the study; each of a line."""
    table = [
        {
            "patient_key": f"header {number}" if number else f"study {study}",
            "is_named": bool(number),
            "said_patient": f"table {said}" if said else None,
            "study_key": study,
            "series_key": study,
            "line": place + 2,
        }
        for place, (number, said, study) in enumerate(rows)
    ]
    told = {"birth_key": "", "issuer_key": "", "institution_key": "", "sex": "", "is_default_id": False} | columns
    return pl.DataFrame(table, schema_overrides={"said_patient": pl.String()}).with_columns(
        pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name) for name, value in told.items()
    )


def keys(rule, facts):
    return PatientRule(rule).settled(facts)["patient_key"].to_list()


def test_another_name_for_the_same_people_changes_nothing():
    facts = images(("1", "A", "s"), ("1", "A", "t"), ("2", "B", "u"))
    assert keys("compared", facts) == ["header 1", "header 1", "header 2"]


def test_a_half_filled_column_splits_no_patient():
    assert keys("compared", images(("1", "A", "s"), ("1", None, "s"), ("2", None, "t"))) == [
        "header 1", "header 1", "header 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1", "A", "s"), ("1", "B", "s")], "one PatientID stands with several patient_id: 1 such, as on lines 2, 3"),
        ([("1", "A", "s"), ("2", "A", "t")], "one patient_id stands with several PatientID: 1 such, as on lines 2, 3"),
        (
            [("", "A", "s"), ("", None, "s")],
            "needs a patient_id on every line of its study, and the same one.*lines 2, 3",
        ),
        ([("", "A", "s"), ("", "B", "s")], "needs a patient_id on every line of its study"),
    ],
)
def test_contradictions_are_refused_with_their_lines_and_the_remedy(rows, message):
    with pytest.raises(DataError, match=rf"{message}.*patient=joined"):
        keys("compared", images(*rows))


def test_joined_makes_one_of_all_that_either_joins():
    facts = images(("1", "A", "s"), ("2", "A", "t"), ("2", "B", "u"), ("3", "C", "v"), ("1", None, "w"))
    first, *rest = keys("joined", facts)
    assert rest == [first, first, rest[2], first]
    assert rest[2] != first


def test_the_column_names_the_slices_of_its_series_and_no_others():
    facts = images(("1", "A", "s"), ("1", None, "s"), ("1", "B", "t"), ("1", None, "u"))
    assert keys("column", facts) == ["table A", "table A", "table B", None]
    with pytest.raises(DataError, match="the slices of a series must have one patient_id, found lines 2, 3"):
        keys("column", images(("1", "A", "s"), ("1", "B", "s")))


def test_a_gap_is_filled_for_the_whole_study_and_meets_the_same_person():
    facts = images(("", "A", "s"), ("", "A", "s"), ("7", "A", "t")).with_columns(
        line=pl.Series([2, None, 4]), said_patient=pl.Series(["table A", None, "table A"])
    )
    assert keys("compared", facts) == ["header 7"] * 3


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"birth_key": ["a", "b"]}, "birth dates"),
        ({"sex": ["F", "M"]}, "sexes"),
        ({"issuer_key": ["a", "b"]}, "issuers"),
        ({"institution_key": ["a", "b"]}, "institutions"),
        ({"is_default_id": True}, "studies, and it is a word that many may share"),
        ({"is_default_id": [False, True], "birth_key": ["a", ""]}, "studies, and it is a word that many may share"),
        ({"institution_key": ["a", "b"], "birth_key": ["d", ""]}, "institutions"),
    ],
)
def test_an_id_of_several_people_is_refused(columns, why):
    facts = images(("7", None, "s"), ("7", None, "t"), **columns)
    with pytest.raises(DataError, match=f"must be one person's, found 1 with several {why}"):
        keys("compared", facts)
    assert keys("header", facts) == ["header 7", "header 7"]


@pytest.mark.parametrize("columns", [{"is_default_id": True}, {"institution_key": ["a", "b"]}])
def test_a_table_that_names_the_patient_of_one_study_says_nothing_of_the_ids_others(columns):
    with pytest.raises(DataError, match="must be one person's"):
        keys("compared", images(("7", "A", "s"), ("7", None, "t"), **columns))
    assert keys("compared", images(("7", "A", "s"), ("7", "A", "t"), **columns)) == ["header 7", "header 7"]


def test_one_person_in_two_hospitals_is_one_person():
    facts = images(("7", None, "s"), ("7", None, "t"), institution_key=["a", "b"], birth_key="d", sex="F")
    assert keys("compared", facts) == ["header 7", "header 7"]


@pytest.mark.parametrize("word", ["name", "folder:0", "folder:", "(", "P.*"])
def test_a_rule_that_names_nobody_is_refused(word):
    with pytest.raises(ConfigError, match="patient: must be compared, header"):
        PatientRule(word)


@pytest.mark.parametrize(
    ("pattern", "path", "patient"),
    [
        (r"(?P<patient>[^_]+)_", "normal/P01_3.png", "P01"),
        (r"(?P<patient>[^_]+)_", "P01_left/3.png", "P01"),
        (r"^(?P<patient>[^/]+)/", "P01/scan_2/3.png", "P01"),
        (r"(?P<patient>[^_]+)_", "fistula/Mu\u0308ller_3.png", "M\u00fcller"),
    ],
    ids=["the file's name before its folder", "else a folder", "with a slash the whole path", "letters composed"],
)
def test_a_pattern_is_of_one_name_and_so_a_patient_is_one_in_two_folders(pattern, path, patient):
    assert PatientRule(pattern)._of_path(path) == patient


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"birth_key": ["b", "b"]}, ["header 1", "header 1"]),
        ({"birth_key": ["b", "c"]}, ["s", "t"]),
        ({"sex": ["F", "M"]}, ["s", "t"]),
        ({"sex": ["F", "O"]}, ["header 1", "header 1"]),
        ({"issuer_key": ["here", "there"]}, ["s", "t"]),
        ({"institution_key": ["here", "there"]}, ["header 1", "header 1"]),
        ({"is_default_id": True}, ["s", "t"]),
        ({"is_default_id": True, "birth_key": "b"}, ["s", "t"]),
    ],
    ids=[
        "a follow-up",
        "two births",
        "two sexes",
        "sex O",
        "two issuers",
        "two hospitals",
        "a word",
        "a word, one placeholder of a birth",
    ],
)
def test_new_images_under_one_id_are_one_patients_unless_the_headers_say_otherwise(columns, found):
    apart_, shared = apart(images(("1", None, "s"), ("1", None, "t"), **columns))
    assert apart_["patient_key"].to_list() == found
    assert shared == (found == ["s", "t"])
    nameless, shared = apart(images(("", None, "s"), ("", None, "t")))
    assert (nameless["patient_key"].to_list(), shared) == (["study s", "study t"], 0)
