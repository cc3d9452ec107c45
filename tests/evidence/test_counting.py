import numpy as np
import pytest

from fistula.evidence.aggregate import patient_scores
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.counting import even_auroc, slices_tell_the_class
from fistula.evidence.ranking.roc import auroc


def noise(slices, seed=0):
    """Thirty patients of either class with this many slices, and scores that know nothing."""
    sizes = np.repeat(slices, 30)
    patients = np.repeat(np.arange(60), sizes)
    labels = (patients < 30).astype(int)
    return labels, np.random.default_rng(seed).random(len(labels)), patients


@pytest.mark.parametrize("slices", [(20, 9), (11, 9)])
def test_the_number_of_slices_that_praises_noise_is_seen(slices):
    labels, _, patients = noise(slices)
    found = slices_tell_the_class(labels, patients)
    assert found.value == 1.0
    assert found.low > 0.5


def test_the_mean_is_indifferent_to_the_number_of_slices_and_the_maximum_is_not():
    areas = {
        rule: np.mean(
            [
                clustered_auroc(truth.astype(int), values, keys).value
                for seed in range(40)
                for keys, truth, values in [patient_scores(*noise((20, 9), seed), rule=rule)]
            ]
        )
        for rule in ("mean", "max", "top_k", "noisy_or")
    }
    assert areas["mean"] == pytest.approx(0.5, abs=0.04)
    assert min(areas["max"], areas["top_k"], areas["noisy_or"]) > 0.65


def test_equal_numbers_tell_nothing():
    labels, _, patients = noise((9, 9))
    found = slices_tell_the_class(labels, patients)
    assert (found.value, found.reason) == (0.5, "no variability between patients")
    assert str(slices_tell_the_class([1, 1], ["a", "b"])) == "n/a: no negatives"


def test_with_the_same_weight_for_every_patient_copies_of_slices_change_nothing():
    labels, scores, patients = noise((4, 4))
    scores = np.round(scores + 0.3 * labels, 1)  # with ties
    assert even_auroc(labels, scores, patients) == pytest.approx(auroc(labels, scores))
    again = np.repeat(np.arange(len(labels)), np.where(patients % 3, 1, 7))
    assert even_auroc(labels[again], scores[again], patients[again]) == pytest.approx(auroc(labels, scores))
    assert auroc(labels[again], scores[again]) != pytest.approx(auroc(labels, scores))


def test_the_same_weight_for_every_patient_compares_within_runs_alone():
    labels, scores, patients = noise((4, 4))
    runs = patients % 2
    shifted = scores + 5 * runs
    parts = [even_auroc(labels[runs == run], scores[runs == run], patients[runs == run]) for run in (0, 1)]
    assert even_auroc(labels, shifted, patients, runs) == pytest.approx(np.mean(parts))
    assert np.isnan(even_auroc([1, 1], [0.1, 0.2], ["a", "b"]))
    assert np.isnan(even_auroc([], [], []))
