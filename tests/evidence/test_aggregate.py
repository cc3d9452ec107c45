import numpy as np
import pytest

from fistula.evidence.aggregate import RULES, choose_rule, patient_scores, pool_ranks
from fistula.evidence.roc import auroc

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


def test_the_rule_that_parts_the_patients_is_chosen():
    # Patients 0-1 are positive with one hot slice among cold ones, which the mean of the slices hides.
    labels = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    scores = [0.9, 0.1, 0.1, 0.8, 0.1, 0.1, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4]
    patients = np.repeat(np.arange(4), 3)
    assert choose_rule(labels, scores, patients) == "max"
    assert choose_rule(labels, scores, patients, k=1) == "max"


def test_of_equal_rules_the_first_is_chosen():
    assert choose_rule([1, 0], [0.9, 0.1], ["a", "b"]) == "mean"


def test_a_number_of_slices_is_never_taken_for_a_finding():
    patients = np.repeat(["a", "b", "c", "d"], [2, 3, 5, 6])
    labels = np.isin(patients, ["c", "d"]).astype(int)
    scores = np.full(16, 0.4)
    _, truth, values = patient_scores(labels, scores, patients, rule="noisy_or")
    assert values[truth].min() > values[~truth].max()  # it would part them, by nothing but their slices
    assert choose_rule(labels, scores, patients) == "mean"


def test_noisy_or_takes_part_where_all_patients_have_equally_many_slices():
    labels, patients = np.repeat([1, 1, 0, 0], 2), np.repeat(["a", "b", "c", "d"], 2)
    scores = [0.9, 0.0, 0.8, 0.7, 0.85, 0.2, 0.1, 0.1]  # means .45 .75 .525, highest .9 .8 .85, noisy-or .9 .94 .88
    assert choose_rule(labels, scores, patients, k=1) == "noisy_or"


def test_ranks_within_folds_remove_a_folds_scale():
    scores, folds = np.array([0.1, 0.3, 0.2, 0.91, 0.93, 0.92]), [0, 0, 0, 1, 1, 1]
    labels = [0, 1, 0, 0, 1, 0]
    assert auroc(labels, scores) < 1
    assert pool_ranks(scores, folds).tolist() == pytest.approx([1 / 6, 5 / 6, 1 / 2] * 2)
    assert auroc(labels, pool_ranks(scores, folds)) == 1.0


def test_ties_and_constant_folds_have_midranks():
    assert pool_ranks([0.4, 0.4, 0.7, 0.2, 0.2], ["a", "a", "a", "b", "b"]).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 5 / 6, 0.5, 0.5]
    )


def test_one_fold_keeps_its_auroc(make_cohort):
    cohort = make_cohort(1)
    pooled = pool_ranks(cohort.first, np.zeros(len(cohort.first)))
    assert auroc(cohort.labels, pooled) == pytest.approx(auroc(cohort.labels, cohort.first))


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
        (lambda: choose_rule([1, 1], [0.5, 0.6], ["a", "b"]), "choosing a rule needs patients of both classes"),
        (lambda: pool_ranks([0.1, np.nan], [0, 0]), "scores must be finite, got nan at row 1"),
    ],
)
def test_what_cannot_be_pooled_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
