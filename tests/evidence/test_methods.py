"""What every estimate says of itself, and what holds at the ends of what is allowed: mutants of both went unseen."""

from math import isnan

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from fistula.evidence.design.compare import clustered_auroc_test, clustered_mcnemar, mcnemar
from fistula.evidence.design.factors import main_effects, seed_and_patient_spread
from fistula.evidence.design.verdict import holm, judge_equivalence
from fistula.evidence.estimate import Estimate
from fistula.evidence.operating_point import at_least_cost, at_sensitivity, youden
from fistula.evidence.probability.calibration import (
    expected_calibration_error,
    fit_platt,
    murphy_decomposition,
    reliability_curve,
)
from fistula.evidence.ranking.area import clustered_auroc, delong, newcombe_interval
from fistula.evidence.ranking.placements import place
from fistula.evidence.rates.clustered import clustered_rate, gee
from fistula.evidence.rates.counts import Confusion, clopper_pearson, wilson
from fistula.evidence.rates.likelihood import likelihood_ratios, predictive_values

LABELS = np.array([0, 0, 0, 1, 1, 1, 0, 1])
SCORES = np.array([0.1, 0.4, 0.35, 0.8, 0.3, 0.7, 0.6, 0.9])
OTHERS = np.array([0.2, 0.3, 0.6, 0.5, 0.4, 0.9, 0.1, 0.2])
PATIENTS = np.array(["a", "a", "b", "c", "c", "d", "e", "f"])
RIGHT, WRONG = np.array([1, 1, 0, 1, 1, 0, 1, 1]), np.array([0, 1, 0, 1, 0, 0, 1, 0])
COUNTS = Confusion(8, 2, 9, 1)
PAIR = np.stack([SCORES, OTHERS], axis=1)

RATE = (
    "the wider end of Wilson at the effective number of slices and of the logit, delete-one-patient jackknife, t, 95%"
)


@pytest.mark.parametrize(
    ("estimate", "method"),
    [
        (wilson(3, 8), "Wilson, 95%"),
        (wilson(0, 0), "Wilson, 95%"),
        (clopper_pearson(3, 8), "Clopper-Pearson, 95%"),
        (clopper_pearson(0, 0), "Clopper-Pearson, 95%"),
        (
            clustered_rate(RIGHT, PATIENTS),
            RATE,
        ),
        (
            clustered_rate([], []),
            RATE,
        ),
        (
            clustered_rate([1, 0], ["a", "a"]),
            RATE,
        ),
        (gee(RIGHT, PATIENTS), "logistic GEE, robust variance, 95%"),
        (gee([], []), "logistic GEE, robust variance, 95%"),
        (gee([1, 0], ["a", "a"]), "logistic GEE, robust variance, 95%"),
        (gee([1, 1], ["a", "b"]), "logistic GEE, robust variance, 95%"),
        (delong(LABELS, SCORES), "DeLong, 95%"),
        (delong([1, 1], [0.1, 0.2]), "DeLong, 95%"),
        (delong([0, 1], [0.1, 0.2]), "DeLong, 95%"),
        (delong([0, 0, 1, 1], [0.1, 0.1, 0.1, 0.1]), "DeLong, 95%"),
        (delong([0, 0, 1, 1], [0, 0, 1, 1]), "Newcombe (2006), patients as sample size, 95%"),
        (
            clustered_auroc(LABELS, SCORES, PATIENTS),
            "within runs, delete-one-patient jackknife, logit scale, t, 95%",
        ),
        (
            clustered_auroc([1], [0.1], ["a"]),
            "within runs, delete-one-patient jackknife, logit scale, t, 95%",
        ),
        (
            clustered_auroc_test(LABELS, SCORES, OTHERS, PATIENTS).difference,
            "paired AUROCs within runs, delete-one-patient jackknife, t, 95%",
        ),
        (mcnemar(RIGHT, WRONG).difference, "McNemar's test, exact"),
        (mcnemar([], []).difference, "McNemar's test, exact"),
        (
            clustered_mcnemar(RIGHT, WRONG, PATIENTS).difference,
            "paired rates, delete-one-patient jackknife, t, 95%",
        ),
        (clustered_mcnemar([], [], []).difference, "paired rates, delete-one-patient jackknife, t, 95%"),
        (
            clustered_mcnemar([1, 0], [0, 0], ["a", "a"]).difference,
            "paired rates, delete-one-patient jackknife, t, 95%",
        ),
        (
            seed_and_patient_spread(place(LABELS, PAIR, PATIENTS)).seed,
            "standard deviation over seeds, chi-square, 95%",
        ),
        (
            seed_and_patient_spread(place(LABELS, SCORES, PATIENTS)).seed,
            "standard deviation over seeds, chi-square, 95%",
        ),
        (
            seed_and_patient_spread(place([1, 1], [[0.1, 0.2]] * 2, ["a", "b"])).seed,
            "standard deviation over seeds, chi-square, 95%",
        ),
        (
            seed_and_patient_spread(place(LABELS, PAIR, PATIENTS)).patients,
            "standard error by delete-one-patient jackknife, mean over seeds",
        ),
        (
            seed_and_patient_spread(place([1, 1], [[0.1, 0.2]] * 2, ["a", "b"])).patients,
            "standard error by delete-one-patient jackknife, mean over seeds",
        ),
        (
            main_effects({"model": ["a", "b"]}, place(LABELS, PAIR, PATIENTS))[0].difference,
            "least squares over runs, delete-one-patient jackknife, t, 95%",
        ),
        (
            main_effects({"model": ["a", "b"], "mode": ["x", "y"]}, place(LABELS, PAIR, PATIENTS))[0].difference,
            "least squares over runs, delete-one-patient jackknife, t, 95%",
        ),
    ],
)
def test_an_estimate_names_its_method_also_where_it_is_undefined(estimate, method):
    assert estimate.method == method


@pytest.mark.parametrize(
    "make", [likelihood_ratios, lambda counts, level: predictive_values(counts, prevalence=0.2, level=level)]
)
def test_a_lower_level_gives_narrower_intervals_of_the_same_value(make):
    for wide, narrow in zip(make(COUNTS, level=0.95), make(COUNTS, level=0.5), strict=True):
        assert wide.value == narrow.value
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
        assert (wide.method[-3:], narrow.method[-3:]) == ("95%", "50%")


def test_differences_end_at_one():
    labels, patients = [0] * 3 + [1] * 3, list("abcdef")
    good, bad = [0.1, 0.2, 0.6, 0.5, 0.8, 0.9], [0.9, 0.8, 0.5, 0.6, 0.2, 0.1]
    for first, second in ((good, bad), (bad, good)):
        difference = clustered_auroc_test(labels, first, second, patients).difference
        assert max(abs(difference.low), abs(difference.high)) == 1
    right, other = [1, 1, 1, 0], [0, 0, 0, 0]
    assert clustered_mcnemar(right, other, list("abcd")).difference.high == 1
    assert clustered_mcnemar(other, right, list("abcd")).difference.low == -1
    assert delong(labels, good).high == 1


def test_nothing_to_test_is_nan_throughout():
    for test in (mcnemar([], []), clustered_mcnemar([], [], []), clustered_mcnemar([1], [0], ["a"])):
        assert isnan(test.statistic)
        assert isnan(test.p_value)
        assert isnan(test.standard_error)
    undefined = clustered_auroc_test([1, 1], [0.1, 0.2], [0.2, 0.1], [0, 1])
    assert isnan(undefined.difference.low)
    assert isnan(undefined.difference.high)
    assert isnan(undefined.statistic)
    assert isnan(undefined.standard_error)
    murphy = murphy_decomposition([], [])
    assert np.isnan([murphy.brier, murphy.reliability, murphy.resolution, murphy.uncertainty, murphy.within]).all()


def test_the_exact_test_of_equally_many_discordant_rows_has_p_1():
    test = mcnemar([1, 0], [0, 1])
    assert (test.p_value, test.statistic) == (1, 1)


def test_two_patients_and_two_seeds_are_enough():
    assert clustered_rate([1, 0, 1, 1], list("aabb")).has_interval
    assert gee([1, 0, 1, 1], list("aabb")).has_interval
    assert seed_and_patient_spread(place(LABELS, PAIR, PATIENTS)).seed.has_interval


@pytest.mark.parametrize("sizes", [(7, 12), (30, 5)])
def test_newcombes_interval_is_symmetric(sizes):
    for value in (0.0, 0.3, 0.9):
        low, high = newcombe_interval(value, positives=sizes[0], negatives=sizes[1])
        mirrored = newcombe_interval(1 - value, positives=sizes[0], negatives=sizes[1])
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)
        assert 0 <= low <= value < high < 1


def test_platts_targets_know_which_class_is_the_smaller():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [12, 3])
    scores = np.clip(0.3 + 0.2 * labels + 0.15 * random.normal(size=15), 0.02, 0.98)
    target = np.where(labels == 1, 4 / 5, 1 / 14)
    judge = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(logit(scores), 2)[:, None], np.repeat([1, 0], 15), sample_weight=np.r_[target, 1 - target]
    )
    found = fit_platt(labels, scores)
    assert (found.slope, found.intercept) == pytest.approx((judge.coef_[0, 0], judge.intercept_[0]), abs=1e-4)


def test_ten_bins_unless_told_otherwise():
    scores = (np.arange(100) + 0.5) / 100
    labels = np.random.default_rng(0).integers(0, 2, 100)
    assert len(reliability_curve(labels, scores).count) == 10
    for measure in (expected_calibration_error, murphy_decomposition):
        assert measure(labels, scores) == measure(labels, scores, bins=10) != measure(labels, scores, bins=11)


def test_the_ends_of_a_bin_are_wilsons_of_its_rows_at_the_level():
    curve = reliability_curve([0, 1, 1, 1], [0.1, 0.12, 0.11, 0.9], level=0.5)
    assert (curve.low[0], curve.high[0]) == pytest.approx((wilson(2, 3, 0.5).low, wilson(2, 3, 0.5).high))


def test_p_values_of_0_and_1_are_p_values_and_none_is_no_family():
    assert holm([0.0, 1.0, 1.0]).tolist() == [0, 1, 1]
    assert np.isnan(holm([np.nan])).all()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.05, "inconclusive"),
        (-0.04, 0.05, "inconclusive"),
        (0.05, 0.1, "different"),
        (-0.1, -0.05, "different"),
    ],
)
def test_an_end_on_the_margin_is_not_inside_it(low, high, verdict):
    assert judge_equivalence(Estimate((low + high) / 2, low, high, "m"), margin=0.05) == verdict


@pytest.mark.parametrize(
    "call",
    [
        lambda: at_sensitivity(LABELS, SCORES, sensitivity=0.0),
        lambda: at_sensitivity(LABELS, SCORES, sensitivity=1.5),
        lambda: wilson(1, 2, level=0.0),
        lambda: wilson(1, 2, level=1.0),
    ],
)
def test_a_value_at_or_past_the_end_is_refused(call):
    with pytest.raises(ValueError, match=r"must|expected"):
        call()


def test_a_likelihood_ratio_of_one_miss_is_defined():
    assert all(ratio.is_defined for ratio in likelihood_ratios(Confusion(1, 3, 5, 0)))


def test_an_operating_point_names_its_rule():
    assert youden(LABELS, SCORES).rule == "youden"
    assert at_sensitivity(LABELS, SCORES, sensitivity=0.9).rule == "sensitivity >= 0.9"
    assert at_least_cost(LABELS, SCORES, false_negative_cost=5).rule == "cost 5 to 1"
