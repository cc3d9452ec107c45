"""Agreement of readers: published examples, independent libraries, hand-worked tables, and patients as the units."""

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa as judge_cohen
from statsmodels.stats.inter_rater import fleiss_kappa as judge_fleiss

from fistula.evidence.readers.agreement import (
    cohens_kappa,
    fleiss_kappa,
    gwets_ac1,
    observed_agreement,
    specific_agreement,
)

# Two readers, 125 persons: Gwet (2002), Statistical Methods for Inter-Rater Reliability Assessment 1, table 1.
PARADOX = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [118, 5, 2, 0], axis=0)
# 10 subjects, 14 readers, 5 classes; kappa 0.210: the worked example of Fleiss' kappa (en.wikipedia.org/wiki/Fleiss').
FLEISS = np.array(
    [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
     [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
)  # fmt: skip


def ratings_of(counts):
    return np.array([np.repeat(np.arange(len(row)), row) for row in counts])


def draw(seed, *, rows=200, readers=3, classes=3, missing=0.0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    rated = np.where(random.random((rows, readers)) < 0.7, truth[:, None], random.integers(0, classes, (rows, readers)))
    return np.where(random.random((rows, readers)) < missing, -1, rated)


def alone(rated):
    return np.arange(len(rated))


def test_the_paradox_of_kappa_is_what_its_author_printed():
    found = gwets_ac1(PARADOX, alone(PARADOX), classes=2)
    assert found.value == pytest.approx(0.9408, abs=5e-5)
    assert cohens_kappa(PARADOX, alone(PARADOX), classes=2).value == pytest.approx(-0.0234, abs=5e-5)


def test_fleiss_kappa_is_that_of_its_worked_example():
    rated = ratings_of(FLEISS)
    assert fleiss_kappa(rated, alone(rated), classes=5).value == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_cohens_kappa_is_that_of_scikit_learn(weights, seed):
    rated = draw(seed, readers=2, classes=4)
    judge = cohen_kappa_score(*rated.T, weights=None if weights == "none" else weights)
    assert cohens_kappa(rated, alone(rated), classes=4, weights=weights).value == pytest.approx(judge, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_fleiss_kappa_is_that_of_statsmodels(seed):
    rated = draw(seed)
    counts = np.stack([(rated == index).sum(1) for index in range(3)], axis=1)
    assert fleiss_kappa(rated, alone(rated), classes=3).value == pytest.approx(judge_fleiss(counts), abs=1e-12)


def test_the_interval_of_independent_rows_is_near_the_asymptotic_one():
    rated = draw(1, rows=2000, readers=2)
    table = np.zeros((3, 3))
    np.add.at(table, tuple(rated.T), 1)
    judge = judge_cohen(table)
    found = cohens_kappa(rated, alone(rated), classes=3)
    assert (found.low, found.high) == pytest.approx((judge.kappa_low, judge.kappa_upp), abs=1e-3)


def test_positive_and_negative_agreement_of_a_table_worked_by_hand():
    rated = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [20, 5, 10, 65], axis=0)
    assert specific_agreement(rated, alone(rated), classes=2, of=1).value == pytest.approx(2 * 20 / (25 + 30))
    assert specific_agreement(rated, alone(rated), classes=2, of=0).value == pytest.approx(2 * 65 / (75 + 70))
    assert observed_agreement(rated, alone(rated), classes=2).value == pytest.approx(0.85)


def test_a_missing_reading_counts_for_its_row_alone_as_worked_by_hand():
    """Rows AA, AB, A-: half of the two pairs agree; shares of A: (1 + 0.5 + 1) / 3; AC1's chance 2 × 5/6 × 1/6."""
    rated = np.array([[0, 0], [0, 1], [0, -1]])
    expected = (0.5 - 10 / 36) / (1 - 10 / 36)
    assert gwets_ac1(rated, alone(rated), classes=2).value == pytest.approx(expected)


def test_slices_of_a_patient_that_are_copies_of_one_another_narrow_nothing():
    rated = draw(2, rows=40)
    once = gwets_ac1(rated, alone(rated), classes=3)
    copied = gwets_ac1(np.repeat(rated, 9, axis=0), np.repeat(alone(rated), 9), classes=3)
    assert (copied.value, copied.low, copied.high) == pytest.approx((once.value, once.low, once.high))


@pytest.mark.parametrize("measure", [fleiss_kappa, gwets_ac1, observed_agreement])
def test_the_order_of_readers_and_the_names_of_classes_change_nothing(measure):
    rated = draw(3, missing=0.1)
    patients = np.arange(len(rated)) // 5
    first = measure(rated, patients, classes=3)
    renamed = np.where(rated >= 0, (rated + 1) % 3, -1)[:, ::-1]
    second = measure(renamed, patients, classes=3)
    assert (second.value, second.low, second.high) == pytest.approx((first.value, first.low, first.high))


def test_intervals_hold_the_truth_as_often_as_they_say_where_slices_of_a_patient_are_alike():
    """30 patients of 8 slices, each easy or hard, so that disagreement runs in patients; 400 intervals."""

    def cohort(random, patients):
        skill = np.where(random.random(patients) < 0.5, 0.95, 0.5).repeat(8)
        truth = random.integers(0, 2, 8 * patients)
        is_known = random.random((8 * patients, 2)) < skill[:, None]
        return np.where(is_known, truth[:, None], random.integers(0, 2, (8 * patients, 2)))

    random = np.random.default_rng(0)
    truth = cohens_kappa(cohort(random, 40_000), np.arange(320_000) // 8, classes=2).value
    found = [cohens_kappa(cohort(random, 30), np.arange(240) // 8, classes=2) for _ in range(400)]
    assert np.mean([one.low <= truth <= one.high for one in found]) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("measure", [fleiss_kappa, gwets_ac1, observed_agreement])
def test_intervals_hold_the_truth_near_perfect_agreement(measure):
    """Three readers of 100 patients, each right 99 times in 100, whose symmetric intervals cover in 82% to 89%."""

    def cohort(random, patients):
        truth = random.integers(0, 2, (patients, 1))
        return truth ^ (random.random((patients, 3)) < 0.01)

    random = np.random.default_rng(1)
    truth = measure(cohort(random, 300_000), np.arange(300_000), classes=2).value
    found = [measure(cohort(random, 100), np.arange(100), classes=2) for _ in range(400)]
    assert 0.93 < np.mean([one.low <= truth <= one.high for one in found]) < 0.985


@pytest.mark.parametrize(("measure", "readers"), [(cohens_kappa, 2), (fleiss_kappa, 3)])
def test_intervals_of_kappas_hold_the_truth_where_a_class_is_rare_and_runs_in_patients(measure, readers):
    """15 patients of 8 slices, a fifth of the ratings positive, most of a patient's alike: Wilson's, 86% and 89%."""

    def cohort(random, patients):
        codes = np.arange(8 * patients) // 8
        own, of_reader = random.normal(size=(patients, 1))[codes], random.normal(size=(patients, readers))[codes]
        rest = random.normal(size=(8 * patients, readers))
        return (np.sqrt(0.85) * own + np.sqrt(0.08) * of_reader + np.sqrt(0.07) * rest > 0.84).astype(int), codes

    random = np.random.default_rng(0)
    truth = measure(*cohort(random, 30_000), classes=2).value
    found = [measure(*cohort(random, 15), classes=2) for _ in range(400)]
    assert 0.915 < np.mean([one.low <= truth <= one.high for one in found if one.has_interval]) < 0.985


def test_the_interval_of_kappa_holds_the_truth_where_few_patients_were_given_a_class_by_both_readers():
    """60 patients, 5% of the ratings positive, kappa 0.14: Wilson's interval of the disagreement covers in 50%."""

    def cohort(random, patients):
        return (0.63 * random.normal(size=(patients, 1)) + 0.78 * random.normal(size=(patients, 2)) > 1.645).astype(int)

    random = np.random.default_rng(0)
    truth = cohens_kappa(cohort(random, 400_000), np.arange(400_000), classes=2).value
    found = [cohens_kappa(cohort(random, 60), np.arange(60), classes=2) for _ in range(400)]
    assert 0.93 < np.mean([one.low <= truth <= one.high for one in found if one.has_interval]) < 0.99


@pytest.mark.parametrize("weights", ["none", "linear"])
def test_the_interval_of_kappa_holds_the_truth_where_two_of_three_classes_are_rare(weights):
    """60 patients, 5% of the ratings in either class, kappa about 0.15: Wilson's interval covers in about 80%."""

    def cohort(random, patients):
        impression = 0.63 * random.normal(size=(patients, 1)) + 0.78 * random.normal(size=(patients, 2))
        return np.searchsorted([1.28, 1.645], impression)

    random = np.random.default_rng(0)
    truth = cohens_kappa(cohort(random, 400_000), np.arange(400_000), classes=3, weights=weights).value
    found = [cohens_kappa(cohort(random, 60), np.arange(60), classes=3, weights=weights) for _ in range(400)]
    assert np.mean([one.low <= truth <= one.high for one in found if one.has_interval]) > 0.93


def test_the_interval_of_kappa_has_the_variance_of_its_jackknife_where_patients_are_many():
    random = np.random.default_rng(0)
    rated = (random.normal(size=(20_000, 1)) + random.normal(size=(20_000, 2)) > 1).astype(int)
    found = fleiss_kappa(rated, alone(rated), classes=2)
    sums = np.stack([rated.sum(1), rated[:, 0] != rated[:, 1]], axis=1).astype(float)
    share, apart = ((sums.sum(0) - sums) / [2 * 19_999, 19_999]).T
    others = 1 - apart / (2 * share * (1 - share))
    error = np.sqrt(19_999 * np.var(others))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.01)


def test_perfect_agreement_has_the_interval_of_no_disagreement_in_as_many_patients():
    """Of 20 patients none disagreed: Wilson's upper end, with t, is t² / (20 + t²), and disagreement by chance 1/2."""
    rated = np.repeat([[0, 0], [1, 1]], 10, axis=0)
    upper = student.ppf(0.975, 19) ** 2
    upper /= 20 + upper
    share, kappa = (measure(rated, alone(rated), classes=2) for measure in (observed_agreement, cohens_kappa))
    assert (share.value, share.low, share.high) == pytest.approx((1, 1 - upper, 1))
    assert (kappa.value, kappa.low, kappa.high) == pytest.approx((1, 1 - 2 * upper, 1))


@pytest.mark.parametrize(
    ("rated", "value", "reason"),
    [
        pytest.param([[0, 0], [0, 0]], np.nan, "every answer is of one class", id="one class"),
        pytest.param([[0, -1], [-1, 1]], np.nan, "nothing was read by two readers", id="no pair"),
        pytest.param([[0, 0], [1, 1], [0, 0]], 1.0, "undefined without one of the patients", id="one gave a class"),
    ],
)
def test_what_cannot_be_said_says_why(rated, value, reason):
    found = cohens_kappa(rated, range(len(rated)), classes=2)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert found.reason == reason


def test_one_patient_has_no_interval():
    assert cohens_kappa([[0, 1], [1, 1], [0, 0]], [0, 0, 0], classes=2).reason == "only one patient"


def test_a_rating_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="ratings must be from 0 to 1, or -1 for none"):
        gwets_ac1([[0, 2]], [0], classes=2)
