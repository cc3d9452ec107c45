import numpy as np
import pytest

from fistula.evidence.conformal import Calibration, p_values


def calibration_of(labels, scores, models=None, weights=None):
    return Calibration(
        np.asarray(labels, dtype=bool),
        np.asarray(scores, dtype=float),
        np.zeros(len(labels), int) if models is None else np.asarray(models),
        np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float),
    )


def test_p_values_worked_by_hand():
    known = calibration_of([1, 1, 1, 0, 0], [0.9, 0.6, 0.4, 0.3, 0.1])
    negative, positive = p_values(known, [[0.5, 0.05]])
    # 0.5: of the positives only 0.4 fits no better: (1 + 1) / 4; of the negatives none does: 1 / 3
    np.testing.assert_allclose(positive, [2 / 4, 1 / 4])
    np.testing.assert_allclose(negative, [1 / 3, 3 / 3])
    assert known.smallest(positive=True) == 1 / 4


def test_each_known_patient_is_held_against_its_own_models_score():
    known = calibration_of([1, 1], [0.5, 0.5], models=[0, 1])
    _, positive = p_values(known, [[0.6], [0.4]])
    np.testing.assert_allclose(positive, [2 / 3])


def test_a_patient_that_two_models_scored_counts_once():
    twice = calibration_of([1, 1, 1], [0.7, 0.7, 0.2], models=[0, 1, 0], weights=[0.5, 0.5, 1])
    once = calibration_of([1, 1], [0.7, 0.2])
    assert p_values(twice, [[0.5], [0.5]])[1] == p_values(once, [[0.5]])[1]


@pytest.mark.parametrize("positive", [False, True])
def test_the_true_class_is_missed_as_often_as_stated(positive):
    """Of one model and n known patients of the class, P(p <= e) is exactly floor(e (n + 1)) / (n + 1)."""
    random = np.random.default_rng(0)
    known, error, trials = 29, 0.1, 4000
    missed = 0
    for _ in range(trials):
        scores = random.beta(2, 3, known + 1)
        calibration = calibration_of([positive] * known, scores[:-1])
        missed += p_values(calibration, scores[-1:, None])[int(positive)][0] <= error
    expected = np.floor(error * (known + 1)) / (known + 1)
    assert abs(missed / trials - expected) < 3.5 * np.sqrt(expected * (1 - expected) / trials)


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
        missed += p_values(calibration, seen[:, -1:])[1][0] <= error
    assert 0.05 < missed / trials < 0.15


def test_without_known_patients_of_a_class_nothing_excludes_it():
    assert p_values(calibration_of([1], [0.5]), [[0.9]])[0] == 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [([0.5], r"shape \(models, N\)"), ([[1.5]], r"in \[0, 1\]"), ([], r"shape \(models, N\)")],
)
def test_scores_that_cannot_be_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        p_values(calibration_of([1], [0.5]), scores)
