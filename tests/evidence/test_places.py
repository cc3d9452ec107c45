import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student

from fistula.evidence.places.distances import (
    best_of,
    clustered_mean,
    distances_mm,
    lroc_area,
    mean_distance,
    median_distance,
    share_within,
)
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.clustered import clustered_rate


@pytest.fixture
def rows():
    random = np.random.default_rng(3)
    patients = np.repeat(np.arange(30), random.integers(1, 9, 30))
    own = random.gamma(2, 2, 30)[patients]
    return own + random.gamma(1, 2, len(patients)), patients


def test_the_mean_of_patients_with_as_many_rows_matches_cluster_robust_least_squares(rows):
    distances, patients = rows[0][:90], np.arange(90) // 3
    fitted = sm.OLS(distances, np.ones(len(distances))).fit(
        cov_type="cluster", cov_kwds={"groups": patients, "use_correction": False}
    )
    error = fitted.bse[0] * np.sqrt(30 / 29)
    estimate = clustered_mean(distances, patients)
    assert estimate.value == pytest.approx(fitted.params[0])
    assert estimate.high - estimate.value == pytest.approx(student.ppf(0.975, 29) * error)


@pytest.mark.parametrize(("sizes", "least"), [((60, *[3] * 20), 0.92), ((1,) * 5, 0.85), ((8, 5, 2, 2, 1), 0.9)])
def test_intervals_of_mean_and_median_hold_the_truth_where_patients_are_few_or_one_brings_half(sizes, least):
    random = np.random.default_rng(5)
    patients, held = np.repeat(np.arange(len(sizes)), sizes), []
    for _ in range(400):
        noise = random.normal(size=len(sizes))[patients] + random.normal(size=len(patients))
        distances = np.exp(0.4 * noise / np.sqrt(2))
        mean, median = clustered_mean(distances, patients), median_distance(distances, patients)
        held.append((mean.low <= np.exp(0.08) <= mean.high, median.low <= 1 <= median.high))
    assert (np.mean(held, axis=0) > least).all()


def test_the_interval_of_a_mean_distance_is_neither_negative_nor_of_no_width():
    assert clustered_mean([0.0, 9.0], ["a", "b"]).low == 0
    assert clustered_mean([-1.0, 9.0], ["a", "b"]).low < -1
    alike = clustered_mean([0.0, 0.0, 0.0], ["a", "b", "c"])
    assert (alike.value, alike.reason) == (0, "no variability between patients")


def test_a_place_that_was_not_named_is_far_from_every_limit_and_has_no_part_in_the_mean():
    distances = distances_mm([[0.0, 1.0], [np.nan, np.nan], [0.0, 3.0]], np.zeros((3, 2)), pixel_mm=2.0)
    assert distances.tolist() == [2.0, np.inf, 6.0]
    assert share_within(distances, ["a", "b", "c"], limit=1e9).value == pytest.approx(2 / 3)
    assert mean_distance(distances, ["a", "b", "c"]).value == 4.0


def test_the_share_within_has_the_interval_of_a_clustered_share(rows):
    distances, patients = rows
    assert share_within(distances, patients, limit=5.0) == clustered_rate((distances <= 5.0).astype(int), patients)


def test_the_median_lies_where_half_of_the_distances_are_below(rows):
    distances, patients = rows
    estimate = median_distance(distances, patients)
    assert (distances <= estimate.value).mean() == pytest.approx(0.5, abs=1 / len(distances))
    assert estimate.low < estimate.value < estimate.high


def test_the_interval_of_the_median_covers_it():
    random, covered, cohorts = np.random.default_rng(0), 0, 400
    truth = np.median(random.gamma(2, 2, 200_000) + random.gamma(1, 2, 200_000))
    for _ in range(cohorts):
        patients = np.repeat(np.arange(40), 4)
        distances = random.gamma(2, 2, 40)[patients] + random.gamma(1, 2, 160)
        estimate = median_distance(distances, patients)
        covered += estimate.low <= truth <= estimate.high
    assert 0.92 <= covered / cohorts <= 0.99


@pytest.mark.parametrize(("patients", "place"), [(8, 1), (15, 3), (40, 13)])
def test_of_one_distance_a_patient_the_median_has_the_interval_of_the_sign_test(patients, place):
    # The largest number of distances beyond which a normal sign test rejects: 0, 2 and 12 (of 2.8, 3.8 and 6.3 each).
    distances = np.random.default_rng(patients).permutation(patients) + 1.0
    estimate = median_distance(distances, np.arange(patients))
    assert (estimate.low, estimate.high) == (1 + place, patients - place)


def test_patients_too_few_to_reject_any_median_leave_no_interval():
    """The smallest and the largest of three hold the median in three quarters of studies."""
    assert str(median_distance([1.0, 2.0, 3.0, 4.0], list("abca"))) == "2.000 (n/a: fewer than four patients)"


def test_copies_of_a_patients_distances_narrow_no_median(rows):
    distances, patients = rows[0][:30], np.arange(30)
    once, copied = median_distance(distances, patients), median_distance(np.tile(distances, 5), np.tile(patients, 5))
    assert (copied.low, copied.value, copied.high) == (once.low, once.value, once.high)


@pytest.mark.parametrize(("sizes", "alike"), [([1] * 15, 0.0), ([20, 12, 8, 6, 5, 4, 3, 2, 1, 1], 0.8)])
def test_the_interval_of_the_median_covers_it_with_few_patients(sizes, alike):
    """Woodruff's, of the share at or below the median, covers in 86% and 92%; 400 intervals."""
    random, patients, covered = np.random.default_rng(2), np.repeat(np.arange(len(sizes)), sizes), 0
    for _ in range(400):
        own, rest = random.normal(size=len(sizes))[patients], random.normal(size=len(patients))
        estimate = median_distance(np.exp(np.sqrt(alike) * own + np.sqrt(1 - alike) * rest), patients)
        covered += estimate.low <= 1 <= estimate.high
    assert 0.93 <= covered / 400 <= 0.99


def test_more_missing_places_than_named_ones_leave_no_median():
    assert "no location" in str(median_distance([1.0, np.inf, np.inf], ["a", "b", "c"]))
    assert median_distance([1.0, 2.0, np.inf], ["a", "b", "c"]).value == 2.0


def test_a_longer_list_of_places_can_only_help(rows):
    distances, patients = rows
    ranks = np.random.default_rng(0).permutation(len(distances))
    one, three, all_ = (best_of(distances, ranks, patients, most=most)[1] for most in (1, 3, 99))
    assert (three <= one).all()
    assert (all_ == [distances[patients == patient].min() for patient in range(30)]).all()


def test_the_likeliest_place_is_the_one_that_counts():
    keys, best = best_of([9.0, 1.0, 5.0], [0, 1, 0], ["a", "a", "b"], most=1)
    assert (keys.tolist(), best.tolist()) == (["a", "b"], [9.0, 5.0])


def test_places_that_are_all_right_make_the_area_that_of_the_roc(rows):
    scores, patients = rows
    labels = (patients % 2).astype(int)
    assert lroc_area(labels, scores, labels, patients) == clustered_auroc(labels, scores, patients)


def test_the_area_counts_pairs_whose_positive_is_placed_rightly():
    # Positives 0.9 (right), 0.8 (wrong), 0.4 (right) against negatives 0.5 and 0.1: 2 + 0 + 1 of 6 pairs.
    estimate = lroc_area([1, 1, 1, 0, 0], [0.9, 0.8, 0.4, 0.5, 0.1], [1, 0, 1, 0, 0], list("abcde"))
    assert estimate.value == pytest.approx(3 / 6)


def test_no_place_right_leaves_an_area_of_nothing():
    assert lroc_area([1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2], [0, 0, 0, 0], list("abcd")).value == 0


def test_adding_a_constant_changes_no_area(rows):
    scores, patients = rows
    labels, located = patients % 2, np.random.default_rng(1).integers(0, 2, len(patients))
    assert lroc_area(labels, scores, located, patients) == lroc_area(labels, scores + 7, located, patients)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: share_within([-1.0], ["a"], limit=1), "0 or more, got -1.0", id="negative"),
        pytest.param(lambda: median_distance([np.nan], ["a"]), "got nan", id="NaN is no distance"),
        pytest.param(lambda: distances_mm([[1, 2]], [[np.nan, 0]]), "must be finite", id="no truth"),
        pytest.param(lambda: distances_mm([1, 2], [0, 0]), r"shape \(N, 2\)", id="shape"),
        pytest.param(lambda: best_of([1.0], [0], ["a"], most=0), "at least 1, got 0", id="most"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
