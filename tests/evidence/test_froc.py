import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.places.froc import froc

NOBODY = np.zeros(0)


def test_the_curve_counts_findings_and_false_marks_by_hand():
    # Findings of a (0.9), b (0.6), c (never marked); false marks 0.8 of a, 0.5 of d, 0.3 of d; four patients.
    curve = froc([0.9, 0.6, -np.inf], ["a", "b", "c"], [0.8, 0.5, 0.3], ["a", "d", "d"], ["a", "b", "c", "d"])
    assert curve.false_marks.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75]
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert curve.at[0.5].value == pytest.approx(2 / 3)


def test_a_rate_that_costs_more_than_was_asked_is_not_taken():
    curve = froc([0.4], ["a"], [0.9, 0.8], ["a", "b"], ["a", "b"], rates=(0.5, 1.0))
    assert [estimate.value for estimate in curve.at.values()] == [0.0, 1.0]


def test_both_rise_along_the_curve():
    random = np.random.default_rng(0)
    patients = np.arange(30)
    curve = froc(random.random(20), random.integers(0, 30, 20), random.random(60), random.integers(0, 30, 60), patients)
    assert (np.diff(curve.false_marks) >= 0).all()
    assert (np.diff(curve.sensitivity) >= 0).all()


def test_intervals_cover_the_true_rate():
    random, patients, covered = np.random.default_rng(0), 60, 0
    # Three false marks a patient, of which one in three passes: so high is the threshold, and so many findings pass.
    threshold = np.sqrt(2) * ndtri(2 / 3)
    truth = 1 - ndtr((threshold - 1) / np.sqrt(2))
    whose = np.arange(patients)
    for _ in range(80):
        own = random.normal(size=patients)[:, None]
        hits, wrong = 1 + own + random.normal(size=(patients, 2)), own + random.normal(size=(patients, 3))
        curve = froc(hits.ravel(), whose.repeat(2), wrong.ravel(), whose.repeat(3), whose, resamples=200)
        covered += curve.at[1.0].low <= truth <= curve.at[1.0].high
    assert covered / 80 >= 0.87


def test_no_findings_leave_no_sensitivity():
    assert str(froc(NOBODY, NOBODY, [0.5], ["a"], ["a"]).at[1.0]) == "n/a: no findings"


def test_findings_of_one_patient_have_no_interval():
    assert "only one patient" in str(froc([0.5], ["a"], NOBODY, NOBODY, ["a", "b"]).at[1.0])


@pytest.mark.parametrize("found", [3, 0])
def test_findings_of_which_all_or_none_are_marked_have_wilsons_interval(found):
    scores = [0.9, 0.8, 0.7] if found else [-np.inf] * 3
    curve = froc(scores, ["a", "b", "c"], NOBODY, NOBODY, ["a", "b", "c"])
    assert (curve.at[1.0].low, curve.at[1.0].high) == pytest.approx(proportion_confint(found, 3, method="wilson"))


@pytest.mark.parametrize(
    ("patients", "message"),
    [(["a"], "b is not among"), (["a", "b", "b"], "got b twice")],
    ids=["unknown", "twice"],
)
def test_a_mark_of_nobody_is_refused(patients, message):
    with pytest.raises(ValueError, match=message):
        froc([0.5], ["a"], [0.4], ["b"], patients)


def test_a_mark_of_a_longer_name_is_not_taken_for_the_patient_whose_name_it_begins_with():
    with pytest.raises(ValueError, match="ab is not among the patients"):
        froc([0.5], ["a"], [0.4], ["ab"], ["a", "b"])
