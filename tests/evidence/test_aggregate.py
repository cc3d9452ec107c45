import numpy as np
import pytest

from fistula.evidence.aggregate import RULES, patient_scores

LABELS = [1, 0, 0, 0, 0, 1]
SCORES = [0.9, 0.5, 0.1, 0.3, 0.2, 0.4]
PATIENTS = ["b", "b", "b", "a", "a", "c"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", [0.25, 0.5, 0.4]),
        ("max", [0.3, 0.9, 0.4]),
        ("top_k", [0.25, 0.7, 0.4]),
        ("noisy_or", [1 - 0.7 * 0.8, 1 - 0.1 * 0.5 * 0.9, 0.4]),
    ],
)
def test_rules_match_hand_worked_values(rule, expected):
    keys, labels, scores = patient_scores(LABELS, SCORES, PATIENTS, rule=rule, k=2)
    assert keys.tolist() == ["a", "b", "c"]
    assert labels.tolist() == [False, True, True]
    assert scores.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rule", RULES)
def test_rules_match_a_loop_over_patients(make_cohort, rule):
    cohort = make_cohort(0)
    by_hand = {
        "mean": np.mean,
        "max": np.max,
        "top_k": lambda scores: np.mean(sorted(scores)[-3:]),
        "noisy_or": lambda scores: 1 - np.prod(1 - scores),
    }[rule]
    keys, labels, scores = patient_scores(cohort.labels, cohort.first, cohort.patients, rule=rule)
    for key, label, score in zip(keys, labels, scores, strict=True):
        assert score == pytest.approx(by_hand(cohort.first[cohort.patients == key]))
        assert label == cohort.labels[cohort.patients == key].max()


@pytest.mark.parametrize("rule", RULES)
def test_one_slice_a_patient_changes_nothing(rule):
    _, labels, scores = patient_scores([0, 1, 1], [0.2, 0.0, 1.0], [0, 1, 2], rule=rule)
    assert labels.tolist() == [False, True, True]
    assert scores.tolist() == [pytest.approx(0.2), 0.0, 1.0]


@pytest.mark.parametrize("rule", ["mean", "max", "top_k"])
def test_a_constant_score_stays_that_very_score(rule):
    sizes = [3, 7, 10, 17]
    patients = np.repeat(np.arange(4), sizes)
    scores = np.full(len(patients), 0.51)
    assert patient_scores(np.zeros(len(patients)), scores, patients, rule=rule)[2].tolist() == [0.51] * 4


@pytest.mark.parametrize("rule", RULES)
def test_no_rows_have_no_patients(rule):
    assert [part.size for part in patient_scores([], [], [], rule=rule)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: patient_scores([1], [0.5], ["a"], rule="median"),
            "rule must be one of mean, max, top_k, noisy_or, got 'median'",
        ),
        (lambda: patient_scores([1], [0.5], ["a"], rule="top_k", k=0), "k must be at least 1, got 0"),
        (lambda: patient_scores([1], [np.nan], ["a"]), "scores must be finite, got nan at row 0"),
        (lambda: patient_scores([1], [2.0], ["a"], rule="noisy_or"), r"scores must be in \[0, 1\], got 2.0 at row 0"),
    ],
)
def test_what_cannot_be_pooled_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
