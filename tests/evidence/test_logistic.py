import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from scipy.stats import t as student

from fistula.evidence.probability.logistic import calibration_line


@pytest.fixture
def probabilities(make_cohort):
    cohort = make_cohort(2, patients=(30, 30))
    return cohort.labels, np.clip(cohort.first, 0.01, 0.99), cohort.patients


def test_slope_and_intercept_are_those_of_statsmodels_with_robust_errors(probabilities):
    labels, scores, patients = probabilities
    groups = np.unique(patients, return_inverse=True)[1]
    clusters = len(np.unique(groups))
    robust = {"cov_type": "cluster", "cov_kwds": {"groups": groups, "use_correction": False}}
    binomial = sm.families.Binomial()
    large = sm.GLM(labels, np.ones(len(labels)), family=binomial, offset=logit(scores)).fit(**robust)
    whole = sm.GLM(labels, sm.add_constant(logit(scores)), family=binomial).fit(**robust)
    for found, value, error in zip(
        calibration_line(labels, scores, patients),
        (large.params[0], whole.params[1]),
        (large.bse[0], whole.bse[1]),
        strict=True,
    ):
        half = student.ppf(0.975, clusters - 1) * error * np.sqrt(clusters / (clusters - 1))
        assert found.value == pytest.approx(value, abs=1e-6)
        assert (found.low, found.high) == pytest.approx((value - half, value + half), abs=1e-6)


def test_true_probabilities_have_an_intercept_of_0_and_a_slope_of_1():
    random = np.random.default_rng(0)
    scale = random.normal(size=40_000)
    labels = (random.random(40_000) < expit(scale)).astype(int)
    intercept, slope = calibration_line(labels, expit(scale), np.arange(40_000))
    assert intercept.value == pytest.approx(0, abs=0.03)
    assert slope.value == pytest.approx(1, abs=0.05)
    # Twice too extreme, and shifted down by one.
    intercept, slope = calibration_line(labels, expit(2 * scale), np.arange(40_000))
    assert slope.value == pytest.approx(0.5, abs=0.03)
    assert calibration_line(labels, expit(scale - 1), np.arange(40_000))[0].value == pytest.approx(1, abs=0.05)


def test_scores_that_part_the_classes_have_no_slope_however_far_apart_they_are():
    labels = np.repeat([0, 1], 15)
    for gap in (1e-3, 0.1, 0.4999):
        scores = 0.5 + np.where(labels == 1, gap, -gap)
        intercept, slope = calibration_line(labels, scores, np.arange(30))
        assert intercept.value == pytest.approx(0, abs=1e-6)
        assert str(slope) == "n/a: the scores separate the classes completely"


def test_what_has_no_line_says_why():
    assert {str(found) for found in calibration_line([1, 1], [0.2, 0.4], ["a", "b"])} == {"n/a: no negatives"}
    parted = calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], list("abcd"))[1]
    assert str(parted) == "n/a: the scores separate the classes completely"
    alike = calibration_line([0, 1, 0, 1], [0.3] * 4, list("abcd"))
    assert alike[0].value == pytest.approx(-logit(0.3))
    assert str(alike[1]) == "n/a: all scores are equal"
    nearly = calibration_line([0, 1, 0, 1], 0.1 + 1e-4 * np.array([0, 2, 1, 0.5]), ["a", "b", "c", "d"])
    assert str(nearly[1]) == "n/a: the scores hardly vary"
    called = calibration_line([0, 1, 0, 1], [0, 1, 1, 0], list("abcd"))
    assert {str(found) for found in called} == {"n/a: most scores are 0 or 1, which have no logit"}
    alone = calibration_line([0, 1, 0, 1], [0.1, 0.2, 0.8, 0.9], list("aaaa"))[1]
    assert alone.reason == "only one patient"
