import polars as pl
import pytest

SMALL = ("patients=1", "controls=1", "slices.positive=2", "slices.negative=1", "slices.control=2", "supersampling=1")


@pytest.mark.parametrize("option", ["perianal", "trivial", "random"])
def test_each_design_writes_a_cohort_and_says_what_to_do_next(fistula_here, tmp_path, option):
    code, shown, _ = fistula_here("phantom", "out=data", f"phantom={option}", "workers=1", *SMALL)
    assert code == 0
    assert "1 patient with a fistula, 1 control" in shown
    assert 'next: fistula ingest source=data labels=data/labels.csv "classes=[normal,fistula]" out=data/cohort' in shown
    assert len(pl.read_csv(tmp_path / "data" / "labels.csv")) == 5
    assert len(list((tmp_path / "data").glob("*/*.dcm"))) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["controls=0"], "controls: must be at least 1 and at most 100000, found 0", id="one class"),
        pytest.param(["phantom=perineal"], "Did you mean perianal", id="design"),
    ],
)
def test_bad_input_is_refused_in_one_line(fistula_here, tmp_path, arguments, message):
    code, _, error = fistula_here("phantom", "out=data", *arguments)
    assert code == 2
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_an_output_folder_that_exists_is_refused(fistula_here, tmp_path):
    (tmp_path / "data").mkdir()
    code, _, error = fistula_here("phantom", "out=data", *SMALL)
    assert code == 2
    assert "out=data: already exists" in error
    assert list((tmp_path / "data").iterdir()) == []
