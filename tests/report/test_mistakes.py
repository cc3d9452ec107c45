import polars as pl
import pytest

from fistula.report.contents import Settings, compute
from fistula.report.sections.mistakes import NAMED, Mistake, _name, mistakes
from fistula.report.study import read_study

from .conftest import write_study


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    return compute(read_study(write_study(tmp_path_factory.mktemp("study") / "study")), Settings(resamples=20))


@pytest.mark.parametrize("level", ["patient", "slice"])
def test_exactly_the_misclassified_are_named(contents, level):
    row = contents.ranked("fistula", level)[0]
    wrong = row.rows.filter(pl.col("label") != pl.col("called"))
    found = mistakes(contents.study, row)
    assert len(wrong) > 0
    assert {one.patient for one in found} == set(wrong["patient_key"])
    for one in found:
        assert (one.score >= one.threshold) == (one.label == "normal")
        assert 1 <= len(one.slices) <= NAMED


def test_a_slice_without_a_number_is_named_by_its_position_with_a_true_minus():
    slices = pl.DataFrame({"slice_key": ["a-1"], "position_mm": [-12.34]})
    assert (name := slices.select(_name(slices)).item()) == "\N{MINUS SIGN}12.3 mm"
    assert Mistake("p", 0, 0, "normal", 0.6, 0.5, [name, name]).as_line()["slices"] == "-12.3 mm; -12.3 mm"


def test_the_worst_stands_first(contents):
    gaps = [abs(one.score - one.threshold) for one in mistakes(contents.study, contents.ranked("fistula")[0])]
    assert gaps == sorted(gaps, reverse=True)


def test_a_patient_is_shown_by_the_slices_furthest_on_the_wrong_side(contents):
    row = contents.ranked("fistula")[0]
    one = next(one for one in mistakes(contents.study, row) if one.label == "normal")
    run = next(run for run in row.configuration.runs if run.record["fold"] == one.fold)
    scores = run.predictions.filter((pl.col("part") == "test") & (pl.col("patient_key") == one.patient))["score"]
    assert [text.rpartition("(")[2] for text in one.slices] == [
        f"{score:.3f})" for score in scores.sort(descending=True)[:NAMED]
    ]
