import numpy as np
import pytest

from fistula.evidence.aggregate import patient_scores
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.counting import slices_tell_the_class


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
