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


def test_slope_and_intercept_are_those_of_statsmodels_with_patients_left_out_in_one_step(probabilities):
    labels, scores, patients = probabilities
    keys, sizes = np.unique(patients, return_counts=True)
    degrees = sizes.sum() ** 2 / (sizes**2).sum() - 1
    ones, scale = np.ones((len(labels), 1)), logit(scores)
    designs = ((ones, scale, 0), (sm.add_constant(scale), 0 * scale, 1))
    for found, (design, offset, which) in zip(calibration_line(labels, scores, patients), designs, strict=True):

        def fit(rows, design=design, offset=offset, **settings):
            return sm.GLM(labels[rows], design[rows], family=sm.families.Binomial(), offset=offset[rows]).fit(
                **settings
            )

        whole = fit(patients == patients)
        value = whole.params[which]
        left_out = [fit(patients != key, start_params=whole.params, maxiter=1).params[which] for key in keys]
        half = student.ppf(0.975, degrees) * np.sqrt((len(keys) - 1) * np.var(left_out))
        assert found.value == pytest.approx(value, abs=1e-6)
        assert (found.low, found.high) == pytest.approx((value - half, value + half), rel=1e-4)


def test_few_patients_of_unequal_numbers_of_slices_have_intervals_that_cover():
    """20 patients; with the robust variance, those of the intercept cover in 92% and those of the slope in 89%."""
    random, held = np.random.default_rng(0), []
    for _ in range(300):
        patients = np.repeat(np.arange(20), np.maximum(1, np.round(random.lognormal(1.8, 0.75, 20))).astype(int))
        labels = (random.random(20) < 0.25).astype(int)
        # The logit of the probability that normal scores 1.6 apart give.
        scale = 1.6 * (random.normal(size=20) + 1.6 * labels) - 1.28 + logit(0.25)
        lines = calibration_line(labels[patients], expit(scale)[patients], patients)
        if lines[1].has_interval:
            held.append([one.low <= truth <= one.high for one, truth in zip(lines, (0, 1), strict=True)])
    assert (np.mean(held, axis=0) > 0.94).all()


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
    mirrored = calibration_line([1, 0, 1, 0], [0.9, 0.1, 0.4, 0.6], list("aabb"))[0]
    assert str(mirrored) in (
        "0.000 (n/a: no variability between patients)",
        "-0.000 (n/a: no variability between patients)",
    )
    rare = calibration_line([1, 0, 0, 0, 0], [0.6, 0.7, 0.2, 0.3, 0.4], list("abcde"))
    assert {found.reason for found in rare} == {"all positives are of one patient"}
    one_varies = calibration_line([0, 1, 0, 1, 0, 1], [0.3, 0.4, 0.5, 0.3, 0.3, 0.3], list("aaabcd"))[1]
    assert one_varies.reason == "undefined without one of the patients"
