import pytest

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.covariates import check_names, read_covariates, read_of_patients
from fistula.labels.tables.read import read_labels


def lines(*cells):
    return [(number, {"crp": cell}) for number, cell in enumerate(cells, 2)]


def test_numbers_are_read_with_a_point_or_a_comma_and_what_is_not_known_stays_so():
    values, words = read_covariates("t.csv", lines("9.5", "9,25", "", "n/a", "-3", "1e2"), ["crp"])
    assert list(values.values()) == [(9.5,), (9.25,), (None,), (None,), (-3.0,), (100.0,)]
    assert words == {"crp": []}


def test_two_words_are_0_and_1_in_the_order_of_the_alphabet():
    values, words = read_covariates("t.csv", lines("pa", "ap", "", "pa"), ["crp"])
    assert (list(values.values()), words) == ([(1.0,), (0.0,), (None,), (1.0,)], {"crp": ["ap", "pa"]})
    later, _ = read_covariates("t.csv", lines("pa"), ["crp"], words=words)
    assert later == {2: (1.0,)}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("mild", "severe", "none at all"), "line 2: covariate crp must have numbers, or two words, found mild, none"),
        (("3", "<0.5"), "line 3: covariate crp must be a number, or empty, found '<0.5'"),
        (("3", "1,234"), "line 3: covariate crp may be two numbers, found 1,234"),
        (("3", "inf"), "line 3: covariate crp must be a number"),
        (("yes", "yes"), "line 2: covariate crp must have numbers, or two words, found yes"),
    ],
)
def test_a_cell_that_is_neither_is_refused_with_its_line(cells, said):
    with pytest.raises(DataError, match=said):
        read_covariates("t.csv", lines(*cells), ["crp"])


@pytest.mark.parametrize("names", ["crp", ["crp", "crp"], ["a-b"], ["age"], ["site"], [3]])
def test_names_are_those_of_further_columns(names):
    with pytest.raises(ConfigError, match="covariates: must"):
        check_names(names, known=("site",))


def test_a_table_of_labels_brings_covariates_and_refuses_columns_that_nobody_named(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("patient_id;label;crp;smoker\na;0;9,6;no\nb;1;;yes\n")
    found = read_labels(path, level="patient", covariates=["crp", "smoker"])
    assert [row.covariates for row in found.rows] == [(9.6, 0.0), (None, 1.0)]
    assert found.covariates == {"crp": [], "smoker": ["no", "yes"]}
    with pytest.raises(DataError, match="unknown column 'smoker'"):
        read_labels(path, level="patient", covariates=["crp"])
    with pytest.raises(DataError, match="must have the columns of the covariates, found no bmi"):
        read_labels(path, level="patient", covariates=["crp", "smoker", "bmi"])


def test_a_table_of_new_patients_names_each_once(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("patient_id,crp,remark\na,3,x\nb,n/a,y\n")
    assert read_of_patients(path, ["crp"], {}) == {("patient_id", "a"): (3.0,), ("patient_id", "b"): (None,)}
    path.write_text("patient_id,crp\na,3\na,4\n")
    with pytest.raises(DataError, match="line 3: must name each patient once, found a"):
        read_of_patients(path, ["crp"], {})
