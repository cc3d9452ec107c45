from math import exp, pi, sqrt

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom, multivariate_normal
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.design import planning
from fistula.evidence.design.planning import Scenario, patients_for_difference, patients_for_rate, patients_for_width
from fistula.evidence.ranking.area import hanley_mcneil_variance
from fistula.evidence.ranking.roc import auroc


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(planning, "FIRST", 60)
    monkeypatch.setattr(planning, "LAST", 200)


def test_one_slice_a_patient_needs_what_hanley_and_mcneil_give():
    answer = patients_for_width(Scenario(auroc=0.85, prevalence=0.5), 0.07)
    formula = next(
        patients
        for patients in range(10, 1000)
        if ndtri(0.975) * sqrt(hanley_mcneil_variance(0.85, positives=patients / 2, negatives=patients / 2)) <= 0.07
    )
    assert answer.patients == pytest.approx(formula, rel=0.12)
    assert answer.positives == pytest.approx(answer.patients / 2, abs=1)


def test_the_power_of_a_difference_is_about_that_of_the_normal_formula():
    scenario = Scenario(auroc=0.88, prevalence=0.5, other=0.78, agreement=0.0)
    answer = patients_for_difference(scenario)
    half = answer.patients / 2
    error = sqrt(sum(hanley_mcneil_variance(value, positives=half, negatives=half) for value in (0.88, 0.78)))
    assert 0.1 / error == pytest.approx(ndtri(0.975) + ndtri(0.8), rel=0.12)


def exact(first, second, agreement, ratio):
    """Covariance of two models' empirical AUROCs times the positives, `ratio` negatives for each, both many.

    Two pairs that share a patient are both in order with the probability of a bivariate normal: scores are normal with
    equal variances, and correlate by `agreement` between the models (1: one model).
    """
    quantiles = [ndtri(first), ndtri(second)]
    together = multivariate_normal.cdf(quantiles, cov=[[1, agreement / 2], [agreement / 2, 1]])
    return (together - first * second) * (1 + 1 / ratio)


def obuchowski(auroc, ratio):
    """Obuchowski's variance of an AUROC times the positives, `ratio` negatives for each.

    Obuchowski & McClish (1997), Stat Med 16(13), 1529-1542; Obuchowski (2004), Acad Radiol 11(5), 538-551.
    """
    a = sqrt(2) * ndtri(auroc)
    return 0.0099 * exp(-(a**2) / 2) * (5 * a**2 + 8 + (a**2 + 8) / ratio)


def shared(first, second, agreement):
    """Her covariance of two AUROCs of the same patients, as many positive as negative, times the positives."""
    one, two = (sqrt(2) * ndtri(value) for value in (first, second))
    return exp(-(one**2 + two**2) / 4) * (agreement / (2 * pi) + one * two * agreement**2 / (16 * pi))


def test_obuchowskis_formulas_are_those_of_proc():
    # pROC 1.18.0: power.roc.test(auc=0.85, power=0.8), of a test against 0.5; var.theta.obuchowski(0.88, 4); and
    # cov.params.obuchowski(A1=sqrt(2)*qnorm(0.88), A2=sqrt(2)*qnorm(0.78), rn=0.5, ra=0.5, kappa=1, whole areas).
    errors = [sqrt(obuchowski(value, 1)) for value in (0.5, 0.85)]
    assert ((ndtri(0.975) * errors[0] + ndtri(0.8) * errors[1]) / 0.35) ** 2 == pytest.approx(8.88277, rel=1e-4)
    assert obuchowski(0.88, 4) == pytest.approx(0.0609893, rel=1e-3)
    assert shared(0.88, 0.78, 0.5) == pytest.approx(0.03297417, rel=1e-6)


@pytest.mark.parametrize(("auroc", "prevalence"), [(0.75, 0.5), (0.85, 0.2), (0.9, 0.7)])
def test_one_slice_a_patient_needs_what_normal_scores_give_and_less_than_obuchowskis_bound(auroc, prevalence):
    # Her variance is that of an area fitted to ratings in categories: an upper bound for continuous scores.
    # Narrow enough for many patients: with few, intervals by Student's t on the logit scale need more than normal ones.
    ratio, errors = (1 - prevalence) / prevalence, (ndtri(0.975) / 0.04) ** 2 / prevalence
    needed = patients_for_width(Scenario(auroc, prevalence), 0.04).patients
    assert needed == pytest.approx(exact(auroc, auroc, 1, ratio) * errors, rel=0.12)
    assert needed < obuchowski(auroc, ratio) * errors


def test_a_paired_difference_needs_what_normal_scores_give_and_less_than_obuchowskis_bound():
    needed = patients_for_difference(Scenario(0.88, 0.5, other=0.78, agreement=0.5)).patients
    errors = 2 * ((ndtri(0.975) + ndtri(0.8)) / 0.1) ** 2
    variance = exact(0.88, 0.88, 1, 1) + exact(0.78, 0.78, 1, 1) - 2 * exact(0.88, 0.78, 0.5, 1)
    assert needed == pytest.approx(variance * errors, rel=0.12)
    assert needed < (obuchowski(0.88, 1) + obuchowski(0.78, 1) - 2 * shared(0.88, 0.78, 0.5)) * errors


def test_scores_have_the_aurocs_and_correlations_that_are_assumed():
    scenario = Scenario(0.9, 0.4, slices=6, variation=0.8, correlation=0.6, other=0.75, agreement=0.3)
    labels, scores, patients = scenario.draw(np.random.default_rng(0), 4000)
    assert auroc(labels, scores[:, 0]) == pytest.approx(0.9, abs=0.01)
    assert auroc(labels, scores[:, 1]) == pytest.approx(0.75, abs=0.015)
    assert np.corrcoef(scores[~labels].T)[0, 1] == pytest.approx(0.3, abs=0.03)
    first = np.unique(patients, return_index=True)[1]
    several = np.bincount(patients) > 1
    negative = several & ~labels[first]
    pairs = scores[first[negative], 0], scores[first[negative] + 1, 0]
    assert np.corrcoef(*pairs)[0, 1] == pytest.approx(0.6, abs=0.05)
    assert np.bincount(patients).std() / np.bincount(patients).mean() == pytest.approx(0.8, abs=0.05)


def test_a_mean_number_of_slices_that_is_not_whole_is_the_mean_of_those_drawn():
    _, _, codes = Scenario(auroc=0.8, prevalence=0.5, slices=2.5).draw(np.random.default_rng(0), 4000)
    sizes = np.bincount(codes)
    assert set(sizes) == {2, 3}
    assert sizes.mean() == pytest.approx(2.5, abs=0.03)


def test_slices_that_are_alike_bring_less_than_ones_that_are_not():
    alike, apart = (
        patients_for_width(Scenario(0.85, 0.5, slices=8, correlation=correlation), 0.06).patients
        for correlation in (0.7, 0.1)
    )
    assert alike > 1.5 * apart


def test_a_lower_limit_is_exceeded_with_the_power_of_the_binomial_distribution():
    """Judge: Wilson's interval of every count of statsmodels; one patient fewer has too little power, none more has."""

    def power(patients):
        low, _ = proportion_confint(np.arange(patients + 1), patients, method="wilson")
        return binom.pmf(np.arange(patients + 1), patients, 0.9)[low > 0.8].sum()

    answer = patients_for_rate(Scenario(0.85, 0.2), 0.9, positive=True, target=0.8, lower=0.8)
    assert (answer.patients, answer.positives, answer.error) == (560, 112, 0)
    assert answer.reached == pytest.approx(power(112))
    assert power(111) < 0.8
    assert all(power(number) >= 0.8 for number in range(112, 200))
    rest = patients_for_rate(Scenario(0.85, 0.2), 0.9, positive=False, target=0.8, lower=0.8)
    assert (rest.patients, rest.patients - rest.positives) == (140, 112)
    assert patients_for_rate(Scenario(0.85, 0.002), 0.9, positive=True, target=0.8, lower=0.8).patients is None
    many = patients_for_rate(Scenario(0.85, 0.9), 0.9, positive=True, target=0.8, lower=0.893)
    assert max(many.around) == pytest.approx(1.5 * many.patients, abs=1)


def test_the_width_of_a_rate_is_that_of_its_interval_and_slices_that_are_alike_widen_it():
    counts = np.arange(71)
    low, high = proportion_confint(counts, 70, method="wilson")
    width = float(binom.pmf(counts, 70, 0.85) @ (high - low)) / 2
    one, alike = (
        patients_for_rate(Scenario(0.7, 0.5, slices=slices, correlation=0.8), 0.85, positive=False, target=width)
        for slices in (1, 4)
    )
    assert one.patients - one.positives == pytest.approx(70, rel=0.06)
    assert 0.5 * one.patients < alike.patients < one.patients


@pytest.mark.slow
def test_the_number_that_is_named_has_the_power_that_was_asked(monkeypatch):
    monkeypatch.setattr(planning, "FIRST", 300)
    monkeypatch.setattr(planning, "LAST", 2000)
    scenario = Scenario(0.9, 0.5, slices=5, correlation=0.5, other=0.8, agreement=0.4)
    answer = patients_for_difference(scenario, seed=1)
    random = np.random.default_rng(99)
    found = 0
    for _ in range(600):
        labels, scores, patients = scenario.draw(random, answer.patients)
        found += planning.clustered_auroc_test(labels, scores[:, 0], scores[:, 1], patients).p_value < 0.05
    assert 0.74 <= found / 600 <= 0.88


def test_a_margin_needs_fewer_patients_the_wider_it_is():
    scenario = Scenario(auroc=0.85, prevalence=0.5, other=0.85, agreement=0.6)
    wide, narrow = (patients_for_difference(scenario, margin=margin).patients for margin in (0.15, 0.08))
    assert wide < narrow


def test_the_same_seed_gives_the_same_number():
    scenario = Scenario(auroc=0.8, prevalence=0.3)
    assert patients_for_width(scenario, 0.1, seed=3) == patients_for_width(scenario, 0.1, seed=3)


def test_what_no_study_could_reach_has_no_number(monkeypatch):
    monkeypatch.setattr(planning, "MOST", 200)
    assert patients_for_width(Scenario(auroc=0.8, prevalence=0.5), 0.02).patients is None


def test_folds_that_compare_fewer_pairs_need_more_patients():
    needed = [patients_for_difference(Scenario(0.9, 0.5, other=0.78, folds=folds)).patients for folds in (1, 5)]
    assert needed[1] > needed[0]


def test_the_number_is_not_the_first_that_chance_lets_suffice():
    """Studies whose power is known: 0.8 with 200 patients; plans of 30 seeds are as often too small as too large."""
    scenario, random = Scenario(0.85, 0.5), np.random.default_rng(0)

    def found(labels, scores, patients):
        return float(random.random() < ndtr(sqrt(len(labels) / 200) * (1.96 + 0.8416) - 1.96))

    lines = (lambda value: (ndtri(min(value, 0.999)) + 1.96) ** 2, lambda height: ndtr(sqrt(height) - 1.96))
    answers = [planning._smallest(scenario, found, target=0.8, lines=lines, seed=seed) for seed in range(30)]
    assert np.mean([answer.patients for answer in answers]) == pytest.approx(200, rel=0.02)
    assert all(answer.reached == pytest.approx(0.8, abs=0.01) for answer in answers)
