"""Judges: published analyses of two reader studies, as the R packages RJafroc and MRMCaov print them."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fistula.evidence.ranking.area import delong
from fistula.evidence.readers.analysis import (
    compare_modalities,
    compare_model,
    covariances,
    mean_of_readers,
    study_readers,
)
from fistula.evidence.readers.merit import auroc_figure, share_figure

HERE = Path(__file__).parent / "readers"


def read_study(name):
    """Labels ``(C,)`` and ratings ``(M, R, C)``.

    VanDyke et al. (1993), Radiology 189(3), 821-828: aortic dissection on cine and spin-echo MRI. Franken et al.
    (1992), Invest Radiol 27(9), 732-737: neonatal radiographs on a workstation and on film.
    """
    _, truth, *rows = list(csv.reader((HERE / f"{name}.csv").open()))
    modalities = sorted({row[0] for row in rows})
    ratings = [[list(map(int, row[2:])) for row in rows if row[0] == modality] for modality in modalities]
    return np.array(truth[2:], int), np.array(ratings)


@pytest.fixture(scope="module")
def vandyke():
    return read_study("vandyke")


@pytest.fixture(scope="module")
def franken():
    return read_study("franken")


def test_figures_and_covariances_are_those_of_rjafroc(vandyke):
    study = study_readers(*vandyke)
    assert study.figures[0] == pytest.approx([0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066])
    assert covariances(study) == pytest.approx((0.00080228827, 0.00034661371, 0.00034407483, 0.00023902837))


def test_random_readers_are_compared_as_rjafroc_does(vandyke):
    test = compare_modalities(study_readers(*vandyke), 0, 1)
    assert test.estimate.value == pytest.approx(-0.043800322)
    assert (test.estimate.low, test.estimate.high) == pytest.approx((-0.087959499, 0.00035885444))
    assert (test.statistic**2, test.degrees, test.p_value) == pytest.approx((4.4563187, 15.259675, 0.051665686))


def test_fixed_readers_are_compared_as_rjafroc_does(vandyke):
    test = compare_modalities(study_readers(*vandyke), 0, 1, readers="fixed")
    assert (test.estimate.low, test.estimate.high) == pytest.approx((-0.080485914, -0.0071147303))
    assert (test.statistic**2, test.p_value) == pytest.approx((5.4759532, 0.019279843))


@pytest.mark.parametrize(
    ("modality", "low", "high"), [(0, 0.82522360, 0.96885048), (1, 0.89413783, 0.98753689)], ids=["cine", "spin echo"]
)
def test_a_modalitys_mean_is_that_of_rjafroc(vandyke, modality, low, high):
    test = mean_of_readers(study_readers(*vandyke), modality)
    assert (test.estimate.low, test.estimate.high) == pytest.approx((low, high))


def test_a_fixed_readers_degrees_of_freedom_are_those_of_brunner_and_munzel():
    random = np.random.default_rng(0)
    negatives, positives = random.normal(size=30), random.normal(0.8, 2, size=8)
    labels = np.repeat([0, 1], (30, 8))
    one = mean_of_readers(study_readers(labels, np.r_[negatives, positives][None, None]), 0, readers="fixed")
    judge = stats.brunnermunzel(negatives, positives)
    assert 2 * stats.t.sf(abs(judge.statistic), one.degrees) == pytest.approx(judge.pvalue, rel=0.02)
    assert 2 * stats.norm.sf(abs(judge.statistic)) < 0.8 * judge.pvalue
    assert one.estimate.high - one.estimate.value == pytest.approx(stats.t.ppf(0.975, one.degrees) * one.standard_error)


def test_negative_parts_of_the_variance_count_as_none_as_in_rjafroc(franken):
    study = study_readers(*franken)
    test = compare_modalities(study, 0, 1)
    assert (test.degrees, test.p_value, test.standard_error) == pytest.approx((3, 0.11883786, 0.0050101218))
    means = [mean_of_readers(study, modality) for modality in (0, 1)]
    assert [mean.degrees for mean in means] == pytest.approx([70.121788, 253.644028])
    fixed = compare_modalities(study, 0, 1, readers="fixed")
    assert (fixed.standard_error, fixed.p_value) == pytest.approx((0.019158472, 0.57099922))


def test_sensitivity_is_compared_as_mrmcaov_does(vandyke):
    labels, ratings = vandyke
    study = study_readers(labels, ratings >= 3, share_figure(of_positives=True))
    assert covariances(study) == pytest.approx((0.0023681257, 0.0009943883, 0.0010145903, 0.0006604938), rel=1e-6)
    test = compare_modalities(study, 0, 1)
    assert (test.statistic**2, test.degrees, test.p_value) == pytest.approx((6.689493, 15.71732, 0.02008822), rel=1e-6)
    assert mean_of_readers(study, 1).degrees == pytest.approx(7.575855)


def test_specificity_is_sensitivity_with_the_classes_exchanged(vandyke):
    labels, ratings = vandyke
    calls = ratings >= 3
    one = study_readers(labels, calls, share_figure(of_positives=False))
    other = study_readers(1 - labels, ~calls, share_figure(of_positives=True))
    assert one.figures == pytest.approx(other.figures)
    assert one.covariance == pytest.approx(other.covariance)


def test_leaving_out_a_case_is_computing_without_it(vandyke):
    labels, ratings = vandyke
    _, without = auroc_figure(labels == 1, ratings[0].astype(float))
    for case in (0, 60, 113):
        rest = np.delete(np.arange(len(labels)), case)
        assert without[:, case] == pytest.approx(auroc_figure(labels[rest] == 1, ratings[0][:, rest].astype(float))[0])


def test_a_model_that_reads_as_the_only_fixed_reader_does_not_differ_from_them(vandyke):
    labels, ratings = vandyke
    test = compare_model(labels, ratings[0, 0], ratings[0, :1], readers="fixed")
    assert test.estimate.value == 0
    assert str(test.estimate).endswith("nothing varies)")


def test_one_fixed_reader_against_a_model_is_nearly_delongs_comparison(vandyke):
    labels, ratings = vandyke
    test = mean_of_readers(study_readers(labels, ratings[:, :1]), 0, readers="fixed")
    assert test.estimate.low == pytest.approx(delong(labels, ratings[0, 0]).low, abs=0.002)


def test_adding_a_constant_to_every_rating_changes_nothing(vandyke):
    labels, ratings = vandyke
    plain, shifted = (compare_model(labels, ratings[1, 0], ratings[0] + more) for more in (0, 9))
    assert str(plain) == str(shifted)  # there are NaNs in them


def test_a_wider_margin_is_easier_to_keep(vandyke):
    study = study_readers(*vandyke)
    inferior = [compare_modalities(study, 0, 1, margin=margin).p_inferior for margin in (0.01, 0.05, 0.15)]
    assert inferior == sorted(inferior, reverse=True)
    assert inferior[0] > 0.5 > 0.05 > inferior[2]


def test_random_readers_need_more_than_one(vandyke):
    labels, ratings = vandyke
    test = compare_modalities(study_readers(labels, ratings[:, :1]), 0, 1)
    assert str(test.estimate) == "-0.028 (n/a: only one reader)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda labels, ratings: (labels, ratings[0]), "must have shape", id="no modalities"),
        pytest.param(
            lambda labels, ratings: (labels, np.where(np.arange(114) == 7, np.nan, ratings)),
            "reader 0 has no rating of case 7 in modality 0",
            id="a rating is missing",
        ),
        pytest.param(
            lambda labels, ratings: (np.arange(114) == 3, ratings), "two cases of each class", id="one positive"
        ),
    ],
)
def test_a_study_that_cannot_be_analysed_is_refused(vandyke, change, message):
    with pytest.raises(ValueError, match=message):
        study_readers(*change(*vandyke))


def test_readers_are_random_or_fixed(vandyke):
    with pytest.raises(ValueError, match="must be random or fixed, got 'both'"):
        mean_of_readers(study_readers(*vandyke), 0, readers="both")
