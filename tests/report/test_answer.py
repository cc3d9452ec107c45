import pytest

from fistula.evidence.verdict import planned_auroc_error
from fistula.report.contents import Settings, compute
from fistula.report.study import read_study

from .conftest import STRENGTH, write_study

SETTINGS = Settings(resamples=20)


def test_a_clear_winner_is_said_to_be_better(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", patients=60)), SETTINGS)
    pair = contents.comparisons[0].pairs[0]
    assert pair.holm["auroc"] < 0.05
    assert contents.question == "Which of 2 configurations that differ in learning can best tell fistula from normal?"
    assert contents.answer[0].startswith("The highest AUROC by patient (of its slices: mean) is ")
    assert (
        ", of transfer, on 60 test patients of whom 30 are positive; the interval lies above chance"
        in contents.answer[0]
    )
    assert contents.answer[1] == "By the paired test, it is better than end-to-end."


def test_like_configurations_cannot_be_told_apart(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, "end_to_end", STRENGTH["transfer"])
    contents = compute(read_study(write_study(tmp_path / "study")), SETTINGS)
    assert contents.comparisons[0].pairs[0].holm["auroc"] > 0.05
    assert contents.answer[1].endswith("it cannot be told from the other configuration.")


def test_chance_is_not_excluded_where_nothing_is_learned(tmp_path, monkeypatch):
    monkeypatch.setitem(STRENGTH, "transfer", 0.0)
    contents = compute(read_study(write_study(tmp_path / "study", learnings=("transfer",))), SETTINGS)
    assert contents.answer[0].startswith("The AUROC by patient (of its slices: mean) is ")
    assert "the interval does not exclude chance" in contents.answer[0]
    assert not any("better" in sentence for sentence in contents.answer)


def test_the_power_of_one_configuration_is_planned_from_its_patients(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", learnings=("transfer",))), SETTINGS)
    row = contents.rows_of("fistula", "patient")[0]
    error = planned_auroc_error(row.estimates["auroc"].value, positives=15, negatives=15, correlation=0.5)
    assert contents.comparisons[0].is_planned
    assert contents.comparisons[0].detectable == pytest.approx((1.959964 + 0.841621) * error, rel=1e-6)
    assert "as planned by Hanley and McNeil for two models whose AUROCs correlate by 0.5" in contents.answer[-1]


def test_a_leaky_study_says_that_it_is_no_evidence(tmp_path):
    contents = compute(read_study(write_study(tmp_path / "study", leaky=True)), SETTINGS)
    assert "Limits: every configuration is leaky by design and no evidence for new patients" in contents.answer[-1]


@pytest.mark.parametrize("settings", [SETTINGS, Settings(resamples=20, pooling="calibrated")])
def test_the_answer_is_three_sentences(study_folder, settings):
    assert len(compute(read_study(study_folder), settings).answer) == 3
