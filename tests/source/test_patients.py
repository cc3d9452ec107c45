import polars as pl
import pytest

from fistula.errors import ConfigError, DataError
from fistula.source.patients import PatientRule
from fistula.source.shared_ids import apart, doubts

BORN = {"birth_key": "d", "sex": "F"}  # one plausible birth date for all


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
    told = dict.fromkeys(
        ("birth_key", "issuer_key", "institution_key", "device_key", "alike_key", "person_key", "sex"), ""
    )
    told |= {"is_default_id": False, "age": 50.0, "study_day": 0, "image_type": "ORIGINAL"} | columns
    return pl.DataFrame(table, schema_overrides={"said_patient": pl.String()}).with_columns(
        pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name) for name, value in told.items()
    ).with_columns(
        **{
            name: pl.lit(None, kind)
            for name, kind in (("born", pl.Int64()), ("height", pl.Int64()), ("second", pl.Int64()),
                               ("name_keys", pl.List(pl.String())), ("near_keys", pl.List(pl.String())))
            if name not in told
        }
    )  # fmt: skip


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
        ([("1", "A", "s"), ("1", "B", "s")], "one PatientID has several patient_id: 1 such, as on lines 2, 3"),
        ([("1", "A", "s"), ("2", "A", "t")], "one patient_id has several PatientID: 1 such, as on lines 2, 3"),
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
        ({"birth_key": ["a", "b"]}, "several birth dates"),
        ({"sex": ["F", "M"]}, "several sexes"),
        ({"issuer_key": ["a", "b"]}, "several issuers"),
        ({"institution_key": ["a", "b"]}, "several institutions"),
        ({"is_default_id": True}, "several studies, and it is a word that many may share"),
        ({"is_default_id": [False, True], "birth_key": ["a", ""]}, "several studies, and it is a word that many may"),
        ({"institution_key": ["a", "b"], "birth_key": ["d", ""]}, "several institutions"),
        ({"name_keys": [["anna", "weiss"], ["bruno", "schwarz"]]} | BORN, "names that have no word in common"),
        ({"born": [-9000, -8000]} | BORN, "stated ages that no single date of birth explains"),
    ],
)
def test_an_id_of_several_people_is_refused(columns, why):
    facts = images(("7", None, "s"), ("7", None, "t"), **columns)
    with pytest.raises(DataError, match=f"must be one person's, found 1 with {why}"):
        keys("compared", facts)
    assert keys("header", facts) == ["header 7", "header 7"]


@pytest.mark.parametrize(
    "columns",
    [
        {"name_keys": [["anna", "weiss"], ["anna", "schwarz"]]},
        {"name_keys": [["anna", "weiss"], None]},
        {"born": [-9000, -8500]},  # 30 years old twice within two years
        {"height": [-100, -85]},
        {"institution_key": ["a", "b"]},
    ],
    ids=["married", "nameless", "an age in whole years", "taller", "referred on one day"],
)
def test_what_may_be_so_of_one_person_is_not_refused(columns):
    facts = images(("7", None, "s"), ("7", None, "t"), ("8", None, "u"), **BORN | {
        name: [*values, values[0]] for name, values in columns.items()
    })  # fmt: skip
    assert keys("compared", facts) == ["header 7", "header 7", "header 8"]


@pytest.mark.parametrize(
    ("columns", "doubt"),
    [
        ({"height": [-100, -85]}, "with heights that differ by more than 10 cm"),
        ({"height": [-100, -85], "age": 9.0}, ""),
        ({"height": [-100, -91]}, ""),
        ({"institution_key": ["a", "b"]}, "with studies at several institutions on one day"),
        ({"institution_key": ["a", "b"], "study_day": [1, 2]}, ""),
    ],
    ids=["two heights", "a child that grew", "a height measured twice", "two places", "two places on two days"],
)
def test_what_is_seldom_so_of_one_person_is_counted(columns, doubt):
    facts = images(("7", None, "s"), ("7", None, "t"), **BORN | columns)
    assert list(doubts(facts).items()) == (
        [(f"PatientIDs {doubt}, perhaps of several people (see patient=)", 1)] if doubt else []
    )


def test_an_id_that_has_more_than_half_of_many_studies_is_counted_even_with_a_birth_date():
    one = [("7", None, f"s{study}") for study in range(5)]
    others = [("8", None, "t"), ("9", None, "u")]
    assert "PatientIDs with more than half of all studies" in "".join(doubts(images(*one, *others, **BORN)))
    assert doubts(images(*one[:4], *others, **BORN)) == {}


@pytest.mark.parametrize(("births", "is_refused"), [("dd", True), ("de", False), (("d", ""), False)])
def test_two_spellings_of_an_id_are_one_persons_where_the_birth_date_is(births, is_refused):
    facts = images(("07", None, "s"), ("7", None, "t"), alike_key="7", birth_key=list(births), sex="F")
    if is_refused:
        with pytest.raises(
            DataError, match="a person must have one PatientID, found 1 that differ only in case, punctuation or"
        ):
            keys("compared", facts)
    else:
        assert keys("compared", facts) == ["header 07", "header 7"]
        doubt = "groups of PatientIDs that differ only in case, punctuation or leading zeros"
        assert doubts(facts)[doubt] == 1


def test_two_spellings_of_an_id_are_one_persons_in_one_study_and_other_ids_in_it_are_counted():
    with pytest.raises(DataError, match="differ only in case, punctuation or leading zeros, in one study"):
        keys("compared", images(("07", None, "s"), ("7", None, "s"), alike_key="7"))
    facts = images(("7", None, "s"), ("8", None, "s"), alike_key=["7", "8"])
    assert keys("compared", facts) == ["header 7", "header 8"]
    assert doubts(facts) == {"studies with several PatientIDs": 1}


@pytest.mark.parametrize(
    ("scanners", "studies", "starts", "is_shared"),
    [
        ("ab", "st", (0, 600), True),
        ("aa", "st", (0, 600), False),
        ("ab", "ss", (0, 600), False),
        ("ab", "st", (0, 900), False),
        ("ab", "st", (0, 1200), False),
    ],
    ids=["on two at once", "two studies of one examination", "a hybrid scanner", "clocks that differ", "one by one"],
)
def test_nobody_is_on_two_scanners_at_once(scanners, studies, starts, is_shared):
    rows = [("7", None, study) for study in studies for _ in range(2)]
    seconds = [start + end for start in starts for end in (0, 1000)]
    device = [scanner for scanner in scanners for _ in range(2)]
    facts = images(*rows, second=seconds, device_key=device, **BORN)
    if is_shared:
        with pytest.raises(DataError, match="1 with studies on two scanners at the same time"):
            keys("compared", facts)
        derived = facts.with_columns(image_type=pl.lit("DERIVED"))  # on a workstation, with the original's times
        assert keys("compared", derived) == ["header 7"] * 4
    assert apart(facts)[1] == is_shared


@pytest.mark.parametrize(("others", "is_refused"), [("23", False), ("2", True), ("99", True), ("", True)])
def test_a_word_with_a_number_among_its_neighbors_counts_the_patients(others, is_refused):
    rows = [("1", None, "s"), ("1", None, "t"), *((other, None, f"of {other}") for other in others)]
    columns = {"is_default_id": [True, True, *(False for _ in others)], "alike_key": ["1", "1", *others]}
    facts = images(*rows, **columns, near_keys=[["0", "2", "3"]] * 2 + [[] for _ in others])
    if is_refused:
        with pytest.raises(DataError, match="it is a word that many may share"):
            keys("compared", facts)
    else:
        assert keys("compared", facts) == ["header 1", "header 1", *(f"header {other}" for other in others)]
        assert (
            doubts(facts)["PatientIDs such as ANON7 with several studies, perhaps of several people (see patient=)"]
            == 1
        )


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
