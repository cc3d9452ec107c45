import numpy as np
import pytest
from scipy.special import ndtri

from fistula.evidence.design.compare import clustered_auroc_test
from fistula.evidence.design.power import detectable_difference


def found(difference, runs, *, auroc, alpha, studies=600):
    """How often the report's own test finds the difference in studies that the planning never saw."""
    random = np.random.default_rng(99)
    labels = np.concatenate([np.repeat([1, 0], sizes) for sizes in runs])
    networks = np.repeat(np.arange(len(runs)), [sum(sizes) for sizes in runs])
    ahead = np.sqrt(2) * ndtri([auroc, auroc - difference])
    share = np.linalg.cholesky([[1, 0.5], [0.5, 1]])
    hits = 0
    for _ in range(studies):
        scores = random.standard_normal((len(labels), 2)) @ share.T + labels[:, None] * ahead
        hits += clustered_auroc_test(labels, *scores.T, np.arange(len(labels)), networks).p_value < alpha
    return hits / studies


@pytest.mark.parametrize(
    ("runs", "alpha"),
    [
        pytest.param([(6, 24)], 0.05, id="one test set"),
        pytest.param([(5, 4)] * 4 + [(4, 4)], 0.05 / 6, id="five folds, where fewer pairs are compared"),
        pytest.param([(58, 45)], 0.05 / 6, id="many", marks=pytest.mark.slow),
    ],
)
def test_eighty_percent_power_is_eighty_percent(runs, alpha):
    difference = detectable_difference(0.85, runs, alpha=alpha)
    # 78 to 82%, and two Monte-Carlo errors of 600 studies.
    assert found(difference, runs, auroc=0.85, alpha=alpha) == pytest.approx(0.8, abs=0.02 + 2 * np.sqrt(0.16 / 600))


def test_more_patients_and_likelier_models_find_less_and_a_stricter_level_finds_more():
    runs = [(15, 15)]
    usual = detectable_difference(0.85, runs)
    assert detectable_difference(0.85, [(25, 25)]) < usual
    assert detectable_difference(0.85, runs, correlation=0.8) < usual
    assert detectable_difference(0.85, runs, alpha=0.01) > usual


def test_folds_find_less_than_one_test_set_of_the_same_patients():
    assert detectable_difference(0.85, [(5, 5)] * 3) > detectable_difference(0.85, [(15, 15)])


def test_a_difference_is_found_although_one_that_leaves_no_variance_is_not():
    """Six positives over five folds: where the worse model is never right, there is nothing to test with."""
    runs = [(2, 5), (1, 5), (1, 5), (1, 5), (1, 4)]
    difference = detectable_difference(0.95, runs)
    assert found(difference, runs, auroc=0.95, alpha=0.05) == pytest.approx(0.8, abs=0.05)


def test_what_no_study_of_this_size_could_find_is_not_promised():
    assert np.isnan(detectable_difference(0.6, [(3, 3)]))


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match=r"expected auroc in \(0, 1\), .* got 1.0, 5, 5, 0.5, 0.05"):
        detectable_difference(1.0, [(5, 5)])
    with pytest.raises(ValueError, match="two patients of each class"):
        detectable_difference(0.8, [(1, 5)])
