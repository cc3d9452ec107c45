import numpy as np
import pytest
from scipy.special import ndtri

from fistula.evidence.compare import clustered_auroc_test
from fistula.evidence.power import detectable_difference


def found(difference, *, auroc, positives, negatives, alpha, studies=600):
    """How often the report's own test finds the difference in studies that the planning never saw."""
    random = np.random.default_rng(99)
    labels = np.repeat([1, 0], [positives, negatives])
    ahead = np.sqrt(2) * ndtri([auroc, auroc - difference])
    share = np.linalg.cholesky([[1, 0.5], [0.5, 1]])
    hits = 0
    for _ in range(studies):
        scores = random.standard_normal((len(labels), 2)) @ share.T + labels[:, None] * ahead
        hits += clustered_auroc_test(labels, *scores.T, np.arange(len(labels))).p_value < alpha
    return hits / studies


@pytest.mark.parametrize(
    ("positives", "negatives", "alpha"),
    [(6, 24, 0.05), pytest.param(58, 45, 0.05 / 6, marks=pytest.mark.slow)],
)
def test_eighty_percent_power_is_eighty_percent(positives, negatives, alpha):
    plan = {"positives": positives, "negatives": negatives, "alpha": alpha}
    difference = detectable_difference(0.85, **plan)
    # 78 to 82 %, and two Monte-Carlo errors of 600 studies.
    assert found(difference, auroc=0.85, **plan) == pytest.approx(0.8, abs=0.02 + 2 * np.sqrt(0.16 / 600))


def test_more_patients_and_likelier_models_find_less_and_a_stricter_level_finds_more():
    plan = {"positives": 15, "negatives": 15}
    usual = detectable_difference(0.85, **plan)
    assert detectable_difference(0.85, positives=25, negatives=25) < usual
    assert detectable_difference(0.85, correlation=0.8, **plan) < usual
    assert detectable_difference(0.85, alpha=0.01, **plan) > usual


def test_what_no_study_of_this_size_could_find_is_not_promised():
    assert np.isnan(detectable_difference(0.6, positives=3, negatives=3))


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match=r"expected auroc in \(0, 1\), .* got 1.0, 5, 5, 0.5, 0.05, 0.8"):
        detectable_difference(1.0, positives=5, negatives=5)
    with pytest.raises(ValueError, match="two patients of each class"):
        detectable_difference(0.8, positives=1, negatives=5)
