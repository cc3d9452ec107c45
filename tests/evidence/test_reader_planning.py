import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from fistula.evidence.design.reader_planning import Components, cases_for_power, of_modalities, of_model, power
from fistula.evidence.readers.analysis import compare_modalities, compare_model, study_readers

from .test_readers import read_study


def test_vandykes_power_is_that_of_rjafroc():
    study = study_readers(*read_study("vandyke"))
    effect = compare_modalities(study, 0, 1).estimate.value
    # RJafroc, SsPowerGivenJK(dataset02, FOM = "Wilcoxon", J = 6, K = 112, option = "RRRC"): 0.5555789.
    assert power(of_modalities(study), effect, readers=6, cases=112) == pytest.approx(0.5555789, abs=2e-4)


def test_the_components_give_back_the_pilots_own_standard_error():
    labels, ratings = read_study("vandyke")
    study = study_readers(labels, ratings)
    test, parts = compare_modalities(study, 0, 1), of_modalities(study)
    _, error = parts.errors(readers=5, cases=len(labels))
    assert (2 * error / 5) ** 0.5 == pytest.approx(test.standard_error, rel=1e-9)
    scores = ratings.mean(axis=(0, 1))
    test, parts = compare_model(labels, scores, ratings[0]), of_model(labels, scores, ratings[0])
    _, error = parts.errors(readers=5, cases=len(labels))
    assert (error / 5) ** 0.5 == pytest.approx(test.standard_error, rel=1e-9)


def test_without_readers_variance_and_covariance_it_is_the_test_of_independent_differences():
    parts = Components(readers=0.0, own=0.01, shared=0.0, cases=100, modalities=1)
    # 1000 readers leave t at its limit: the power of a normal test of mean 0.02 with variance 0.01 / 1000.
    apart = 0.02 / (0.01 / 1000) ** 0.5
    expected = ndtr(apart - ndtri(0.975)) + ndtr(-apart - ndtri(0.975))
    assert power(parts, 0.02, readers=1000, cases=100) == pytest.approx(expected, abs=2e-3)
    assert power(parts, 0.0, readers=10, cases=100, alpha=0.05) == pytest.approx(0.05, abs=1e-6)


def test_more_readers_or_more_cases_never_have_less_power():
    parts = of_modalities(study_readers(*read_study("vandyke")))
    powers = np.array([[power(parts, 0.04, readers=r, cases=c) for c in (50, 100, 400)] for r in (3, 5, 10)])
    assert (np.diff(powers, axis=0) > 0).all()
    assert (np.diff(powers, axis=1) > 0).all()


def test_the_fewest_cases_reach_the_power_and_one_less_does_not():
    parts = of_modalities(study_readers(*read_study("vandyke")))
    number = cases_for_power(parts, 0.0438, readers=10, power_wanted=0.8)
    assert power(parts, 0.0438, readers=10, cases=number) >= 0.8 > power(parts, 0.0438, readers=10, cases=number - 1)
    # RJafroc's SsSampleSizeKGivenJ(dataset02, J = 10) gives 163 for the effect as it was observed.
    assert abs(number - 163) <= 2
    assert cases_for_power(parts, 0.001, readers=3, power_wanted=0.8) is None
