import numpy as np
import pytest

from fistula.evidence.probability.conformal import Calibration, answers_of_known, p_values


def calibration_of(labels, scores, models=None, weights=None):
    return Calibration(
        np.asarray(labels, dtype=int),
        np.asarray(scores, dtype=float),
        np.zeros(len(labels), int) if models is None else np.asarray(models),
        np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float),
    )


def both(scores):
    return np.stack([1 - np.asarray(scores), scores], axis=-1)


def test_p_values_worked_by_hand():
    known = calibration_of([1, 1, 1, 0, 0], [0.9, 0.6, 0.4, 0.7, 0.9])
    negative, positive = p_values(known, both([[0.5, 0.05]])).T
    # 0.5: of the positives only 0.4 fits no better: (1 + 1) / 4; of the negatives none does: 1 / 3
    np.testing.assert_allclose(positive, [2 / 4, 1 / 4])
    np.testing.assert_allclose(negative, [1 / 3, 3 / 3])
    assert known.smallest(1) == 1 / 4


def test_p_values_of_three_classes_worked_by_hand():
    known = calibration_of([0, 0, 1, 2, 2, 2], [0.8, 0.5, 0.6, 0.7, 0.3, 0.2])
    found = p_values(known, [[[0.6, 0.1, 0.3]]])
    # none: 0.5 fits no better; low: 0.6 fits better; high: 0.2 fits no better, and 0.3 as well
    np.testing.assert_allclose(found, [[2 / 3, 1 / 2, 3 / 4]])


def test_each_known_patient_is_held_against_its_own_models_score():
    known = calibration_of([1, 1], [0.5, 0.5], models=[0, 1])
    np.testing.assert_allclose(p_values(known, both([[0.6], [0.4]]))[0, 1], 2 / 3)


def test_a_patient_that_two_models_scored_counts_once():
    twice = calibration_of([1, 1, 1], [0.7, 0.7, 0.2], models=[0, 1, 0], weights=[0.5, 0.5, 1])
    once = calibration_of([1, 1], [0.7, 0.2])
    assert p_values(twice, both([[0.5], [0.5]]))[0, 1] == p_values(once, both([[0.5]]))[0, 1]


@pytest.mark.parametrize("positive", [False, True])
def test_the_true_class_is_missed_as_often_as_stated(positive):
    """Of one model and n known patients of the class, P(p <= e) is exactly floor(e (n + 1)) / (n + 1)."""
    random = np.random.default_rng(0)
    known, error, trials = 29, 0.1, 4000
    missed = 0
    for _ in range(trials):
        scores = random.beta(2, 3, known + 1)
        calibration = calibration_of([positive] * known, scores[:-1])
        new = np.repeat(scores[-1], 2)
        missed += p_values(calibration, new[None, None])[0, int(positive)] <= error
    expected = np.floor(error * (known + 1)) / (known + 1)
    assert abs(missed / trials - expected) < 3.5 * np.sqrt(expected * (1 - expected) / trials)


def test_those_who_are_answered_worked_by_hand():
    """Two classes of four known patients at an error of 0.3: each is judged by the others of the class.

    Of the positives (0.9, 0.8, 0.7, 0.2) the one at 0.2 fits its class at (1 + 0) / 4 = 0.25, the others at 0.5 and
    more; of the negatives (0.95, 0.85, 0.75, 0.65 for their own class) all but the last, 0.25, fit. Held against the
    other class, the positive at 0.2 gives 0.8 to the negatives, whom two fit no better: 3 / 5; the others 0.3 or less:
    1 / 5. The negatives give 0.35 or less to the positives, of whom one (0.2) fits no better, where they give 0.25 or
    more: 2 / 5, else 1 / 5.
    """
    labels, positive = np.repeat([1, 0], 4), np.array([0.9, 0.8, 0.7, 0.2, 0.05, 0.15, 0.25, 0.35])
    # One class is left to the positives 0.9, 0.8, 0.7 (right) and 0.2 (wrong, as negative), and to the negatives 0.95
    # and 0.85 (right), while 0.75 holds both classes and 0.65 the wrong one alone, which a threshold of 0.5 does not
    # decide for: no answer.
    told = answers_of_known(labels, both(positive), np.arange(8), positive >= 0.5, error=0.3)
    assert told.answered.tolist() == [True] * 6 + [False] * 2
    assert told.wrong.tolist() == [False] * 3 + [True] + [False] * 4


def test_a_patient_whom_two_networks_scored_is_not_judged_by_the_patients_own_other_score():
    labels, positive = np.repeat([1, 0], 4), np.array([0.9, 0.8, 0.7, 0.2, 0.05, 0.15, 0.25, 0.35])
    once = answers_of_known(labels, both(positive), np.arange(8), positive >= 0.5, error=0.3)
    twice = [np.tile(part, 2) for part in (labels, np.arange(8), positive >= 0.5)]
    told = answers_of_known(twice[0], both(np.tile(positive, 2)), twice[1], twice[2], error=0.3)
    for name in ("answered", "wrong"):
        assert getattr(told, name).tolist() == getattr(once, name).tolist() * 2


def test_of_three_classes_known_patients_are_answered_wrongly_about_as_often_as_new_ones():
    random, error = np.random.default_rng(5), 0.1
    estimated, seen, wrong, missed = [], 0, 0, 0
    for _ in range(40):
        labels = random.choice(3, 500, p=[0.5, 0.2, 0.3])
        logits = random.normal(size=(500, 3)) + 1.5 * np.eye(3)[labels]
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        calls = scores.argmax(axis=1)
        known, new = slice(0, 300), slice(300, None)
        told = answers_of_known(labels[known], scores[known], np.arange(300), calls[known], error=error)
        estimated.append(told.wrong.sum() / told.answered.sum())
        calibration = calibration_of(labels[known], scores[known][np.arange(300), labels[known]])
        held = p_values(calibration, scores[None, new]) > error
        missed += (~held[np.arange(200), labels[new]]).sum()
        answered = (held.sum(axis=1) == 1) & held[np.arange(200), calls[new]]
        seen += answered.sum()
        wrong += (answered & (calls[new] != labels[new])).sum()
    assert wrong / seen == pytest.approx(np.mean(estimated), abs=0.02)
    assert missed / (40 * 200) == pytest.approx(error, abs=0.015)


def test_the_error_among_the_answered_is_that_of_new_patients():
    """At an AUROC of 0.8, sets of all patients are wrong as often as stated; those who are answered much more often."""
    random, error, distance = np.random.default_rng(3), 0.1, 1.19
    estimated, seen, wrong = [], 0.0, 0.0
    for _ in range(60):
        labels = random.integers(0, 2, 400)
        scores = 1 / (1 + np.exp(-(distance * labels + random.normal(size=400) - distance / 2)))
        own, calls = np.where(labels == 1, scores, 1 - scores), (scores >= 0.5).astype(int)
        told = answers_of_known(labels[:200], both(scores[:200]), np.arange(200), calls[:200], error=error)
        estimated.append(told.wrong.sum() / told.answered.sum())
        held = p_values(calibration_of(labels[:200], own[:200]), both(scores[200:])[None]) > error
        answered = (held.sum(axis=1) == 1) & held[np.arange(200), calls[200:]]
        seen += answered.sum()
        wrong += (answered & (calls[200:] != labels[200:])).sum()
    assert wrong / seen == pytest.approx(np.mean(estimated), abs=0.02)
    assert wrong / seen > 1.5 * error


def test_folds_cover_nearly_as_stated():
    """Five models that each see the patients in their own way: missed no more than twice the stated rate, in practice
    about as often."""
    random = np.random.default_rng(1)
    patients, models, error, missed, trials = 50, 5, 0.1, 0, 1500
    for _ in range(trials):
        ability, shifts = random.normal(1, 1, patients + 1), random.normal(0, 0.5, models)
        seen = 1 / (1 + np.exp(-(ability[None] + shifts[:, None] + random.normal(0, 0.5, (models, patients + 1)))))
        fold = np.arange(patients) % models
        calibration = calibration_of([True] * patients, seen[fold, np.arange(patients)], models=fold)
        missed += p_values(calibration, both(seen[:, -1:]))[0, 1] <= error
    assert 0.05 < missed / trials < 0.15


def test_sets_of_three_classes_hold_the_true_one_as_often_as_stated():
    """Of each class alone, whatever its share and however well it is told apart: 40%, 8% and 52% of patients."""
    random = np.random.default_rng(2)
    patients, error, trials, shares = 400, 0.1, 300, [0.4, 0.08, 0.52]
    missed, seen, sizes = np.zeros(3), np.zeros(3), []
    for _ in range(trials):
        labels = random.choice(3, patients, p=shares)
        logits = random.normal(0, 1, (patients, 3)) + np.eye(3)[labels] * [3, 0.5, 2]
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        known, new = slice(0, 300), slice(300, None)
        calibration = calibration_of(labels[known], scores[known][np.arange(300), labels[known]])
        sets = p_values(calibration, scores[None, new]) > error
        sizes.append(sets.sum(axis=1).mean())
        for label in range(3):
            missed[label] += (~sets[labels[new] == label, label]).sum()
            seen[label] += (labels[new] == label).sum()
    rates = missed / seen
    # Never above; below by less than the step 1 / (n + 1) of the rarest class's p-values, about 24 known patients.
    assert (rates < error + 0.015).all()
    assert (rates > error - 1 / 25 - 0.015).all()
    assert 1 < np.mean(sizes) < 2.5  # and the sets say something


def test_without_known_patients_of_a_class_nothing_excludes_it():
    assert p_values(calibration_of([1], [0.5]), both([[0.9]]))[0, 0] == 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.5], r"shape \(models, N, K\)"), ([[[1.5]]], r"in \[0, 1\]"), ([], r"shape \(models, N, K\)")],
)
def test_scores_that_cannot_be_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        p_values(calibration_of([1], [0.5]), scores)
