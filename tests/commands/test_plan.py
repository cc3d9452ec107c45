import json

import pytest
from markupsafe import escape

from fistula.evidence.design import planning
from fistula.evidence.design.reader_planning import of_modalities
from fistula.evidence.readers.analysis import study_readers

from ..report.conftest import write_study
from ..report.test_readers import arrays, readings


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(planning, "FIRST", 60)
    monkeypatch.setattr(planning, "LAST", 150)


def test_an_interval_ends_with_a_paragraph_for_the_protocol(fistula_here, tmp_path):
    code, shown, _ = fistula_here("plan", "auroc=0.85", "half_width=0.1", "out=plan")
    assert code == 0
    record = json.loads((tmp_path / "plan" / "plan.json").read_text())
    patients = record["answer"]["patients"]
    assert shown.startswith(f"{patients} patients, {record['answer']['positives']} of them positive")
    text = (tmp_path / "plan" / "protocol.txt").read_text()
    assert text.startswith(f"With {patients} patients (")
    assert "This assumes a prevalence of 50%." in text
    assert text.strip() in shown
    assert f"<h1>{patients} patients</h1>" in (tmp_path / "plan" / "plan.html").read_text()


def test_a_comparison_says_what_it_assumes_of_slices_and_models(fistula_here):
    code, shown, _ = fistula_here(
        "plan", "goal=difference", "auroc=0.9", "other=0.75", "slices=4", "variation=0.5", "correlation=0.6"
    )
    assert code == 0
    assert "a difference between AUROCs of 0.9 and 0.75 is detected with a power of" in shown
    assert (
        "This assumes a prevalence of 50%, 4 scored slices per patient (coefficient of variation, 0.5), a "
        "within-patient correlation of the scores of 0.6, and a correlation of 0.5 between the scores of the two "
        "models." in shown
    )


def test_a_rate_is_planned_for_its_lower_limit_or_its_width(fistula_here, tmp_path):
    code, shown, _ = fistula_here("plan", "goal=sensitivity", "lower=0.8", "prevalence=0.2", "out=plan")
    assert code == 0
    assert shown.startswith("560 patients, 112 of them positive")
    assert (
        "the lower limit of the 95% confidence interval of a sensitivity of 0.9 at a threshold chosen beforehand "
        "exceeds 0.8 with a power of 85.1% (target: 80%). This assumes a prevalence of 20%. The number was determined "
        "by the binomial distribution with Wilson's interval" in shown
    )
    assert "sizes between these may have less" in (tmp_path / "plan" / "plan.html").read_text()
    code, shown, _ = fistula_here("plan", "goal=specificity", "half_width=0.1", "slices=3", "correlation=0.4")
    assert code == 0
    assert "of a specificity of 0.9 at a threshold chosen beforehand is expected to have a half-width of 0.1" in shown
    assert "with the interval of specificity that the analysis will use (Wilson at the effective" in shown


def test_a_margin_speaks_of_noninferiority(fistula_here):
    code, shown, _ = fistula_here("plan", "goal=margin", "other=0.85", "margin=0.15", "agreement=0.6")
    assert code == 0
    assert "noninferiority of a model with an AUROC of 0.85 to a comparator with an AUROC of 0.85" in shown
    assert "at a one-sided significance level of 0.025" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["goal=power"], "goal: must be one of interval, sensitivity, specificity, difference, margin, readers, found"),
        (["goal=readers"], "pilot: must be given for goal=readers: a study whose report has readers"),
        (["auroc=0.5"], "auroc: must be at least 0.501 and at most 0.999, found 0.5"),
        (["goal=difference"], "other: must be a number for goal=difference"),
        (["goal=difference", "other=word"], "other: must be a number or null, found word"),
        (["goal=difference", "other=0.85"], "auroc: must differ from other"),
        (["goal=margin", "other=0.95"], "auroc: must be above other minus the margin"),
        (["slices=0"], "slices: must be at least 1"),
        (["folds=0"], "folds: must be at least 1"),
        (["prevalence=1"], "prevalence: must be at least 0.001 and at most 0.999"),
        (["correlation=1"], "correlation: must be at least 0 and at most 0.99"),
        (["half_width=0.6"], "half_width: must be at least 0.005 and at most 0.4"),
        (["goal=difference", "other=1.2"], "other: must be at least 0.501 and at most 0.999"),
        (["other=0.9"], "other: has no influence on goal=interval. Leave it out, or use goal=difference or margin"),
        (["goal=readers", "auroc=0.9"], "auroc: has no influence on goal=readers"),
        (["goal=difference", "other=0.7", "power=1"], "power: must be at least 0.1 and at most 0.99, found 1"),
        (["goal=difference", "other=0.7", "power=0.1", "alpha=0.2"], "power: must be above alpha, 0.2, found 0.1"),
        (["prevalence=none"], "prevalence: must be a number"),
        (["goal=sensitivity", "lower=0.9"], "lower: must be below expected, 0.9, found 0.9"),
        (["goal=sensitivity", "lower=0.8", "half_width=0.1"], "half_width: has no influence where lower is given"),
        (["goal=specificity", "power=0.9"], "power: has no influence unless lower is given"),
        (["goal=specificity", "auroc=0.9"], "auroc: has no influence on goal=specificity"),
        (["goal=specificity", "expected=1"], "expected: must be at least 0.5 and at most 0.999, found 1"),
    ],
)
def test_what_cannot_be_planned_is_one_line(fistula_here, arguments, message):
    code, _, error = fistula_here("plan", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_pilot_study_gives_what_is_not_given(fistula_here, tmp_path):
    write_study(tmp_path / "pilot", patients=30)
    code, shown, error = fistula_here("plan", "pilot=pilot", "half_width=0.15", "prevalence=0.3", "auroc=0.8")
    assert code == 0, error
    assert shown.startswith("from pilot: slices 1, variation 0, correlation 0, folds 3\n")
    assert "optimistically biased" not in shown
    assert "an AUROC of 0.8 " in shown
    assert "This assumes a prevalence of 30%, and 3-fold cross-validation, in which patients" in shown
    _, shown, _ = fistula_here("plan", "pilot=pilot", "half_width=0.15")
    assert "optimistically biased: state those worth planning for, auroc=\n" in shown
    assert fistula_here("plan", "pilot=nowhere")[0] == 2


def test_a_reader_study_is_planned_from_the_readers_of_a_pilots_report(fistula_here, tmp_path):
    folder = write_study(tmp_path / "pilot", patients=40)
    code, _, error = fistula_here("plan", "goal=readers", "pilot=pilot")
    assert code == 2
    assert "must have a report with readers. Make it" in error
    table, _ = readings()
    table.drop("experience").rename({"patient_key": "patient"}).write_csv(tmp_path / "readers.csv")
    assert fistula_here("report", f"study={folder}", "readers=readers.csv", "resamples=20", "maps=none")[0] == 0
    code, shown, error = fistula_here("plan", "goal=readers", "pilot=pilot", "difference=0.08", "out=plan")
    assert code == 0, error
    record = json.loads((tmp_path / "plan" / "plan.json").read_text())
    study = study_readers(*(arrays(*readings())[index] for index in (0, 2)))
    assert record["components"]["own"] == pytest.approx(of_modalities(study).own)
    needed = {int(readers): cases for readers, cases in record["patients"].items() if cases}
    assert needed[20] <= needed[10]
    assert f"10 readers: {needed[10]} patients" in shown
    page = (tmp_path / "plan" / "plan.html").read_text()
    assert f'<td class="n">10</td><td class="n">{needed[10]}</td>' in page
    assert str(escape((tmp_path / "plan" / "protocol.txt").read_text().strip())) in page
    assert "A difference of AUROC of 0.080 (alone minus with AI) is detected with a power of 80%" in shown
    assert "optimistic" not in shown


def test_what_no_study_could_reach_is_said(fistula_here, monkeypatch):
    monkeypatch.setattr(planning, "MOST", 100)
    code, _, error = fistula_here("plan", "half_width=0.02")
    assert code == 2
    assert "cannot be reached" in error
