import numpy as np
import pytest
from scipy.stats import bootstrap, rankdata
from sklearn import metrics

from fistula.evidence.ranking.roc import auroc, roc_curve
from fistula.evidence.resample import (
    draw_weights,
    paired_bootstrap,
    patient_bootstrap,
    roc_band,
)
from fistula.evidence.weighted import STATISTICS


def ends(estimate):
    return estimate.low, estimate.high


def test_weights_keep_the_number_of_patients_of_each_class():
    strata = np.array([2, 0, 0, 2, 1, 0, 2])
    weights = draw_weights(strata, resamples=200, seed=0)
    for stratum in (0, 1, 2):
        assert set(weights[:, strata == stratum].sum(axis=1)) == {(strata == stratum).sum()}
    # Each patient is drawn once on average, and is left out of about (1 - 1/3)^3 of the resamples.
    assert weights[:, strata == 0].mean() == pytest.approx(1)
    assert np.mean(weights[:, strata == 0] == 0) == pytest.approx((2 / 3) ** 3, abs=0.05)


def test_the_papers_cohort_is_resampled_for_four_measures():
    random = np.random.default_rng(0)
    patients = np.arange(1048) % 103
    labels = (patients < 58).astype(int)
    scores = 1 / (1 + np.exp(-(random.normal(size=1048) + labels)))
    found = patient_bootstrap(labels, scores, patients, threshold=0.5, resamples=2000)
    assert list(found) == ["auroc", "sensitivity", "specificity", "balanced_accuracy"]


def test_values_are_those_of_the_rows_and_lie_in_their_intervals(make_cohort):
    cohort = make_cohort(1)
    found = patient_bootstrap(
        cohort.labels,
        cohort.first,
        cohort.patients,
        threshold=0.5,
        statistics=tuple(STATISTICS),
        resamples=500,
    )
    called = cohort.first >= 0.5
    assert found["auroc"].value == pytest.approx(metrics.roc_auc_score(cohort.labels, cohort.first))
    assert found["average_precision"].value == pytest.approx(
        metrics.average_precision_score(cohort.labels, cohort.first)
    )
    assert found["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(cohort.labels, called))
    for estimate in found.values():
        assert estimate.low < estimate.value < estimate.high


def test_intervals_agree_with_scipys_bootstrap_of_two_samples(reference):
    rows, _ = reference
    positive, negative = rows.first[rows.labels == 1], rows.first[rows.labels == 0]

    def area(x, y, axis=-1):
        ranks = rankdata(np.concatenate([x, y], axis=axis), axis=axis)[..., : x.shape[axis]]
        return (ranks.sum(axis=axis) - x.shape[axis] * (x.shape[axis] + 1) / 2) / (x.shape[axis] * y.shape[axis])

    expected = bootstrap(
        (positive, negative),
        area,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    found = patient_bootstrap(
        rows.labels,
        rows.first,
        np.arange(80),
        threshold=None,
        statistics=("auroc",),
        resamples=20_000,
    )["auroc"]
    assert ends(found) == pytest.approx(tuple(expected), abs=0.004)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another(make_cohort):
    cohort = make_cohort(1)

    def interval(seed):
        found = patient_bootstrap(cohort.labels, cohort.first, cohort.patients, threshold=0.5, resamples=300, seed=seed)
        return ends(found["auroc"])

    assert interval(3) == interval(3)
    assert interval(3) != interval(4)


def test_the_order_of_rows_does_not_matter(make_cohort):
    cohort = make_cohort(1)
    order = np.random.default_rng(0).permutation(len(cohort.labels))
    one, two = (
        patient_bootstrap(cohort.labels[rows], cohort.first[rows], cohort.patients[rows], threshold=0.5, resamples=300)
        for rows in (slice(None), order)
    )
    for name, estimate in one.items():
        assert ends(two[name]) == pytest.approx(ends(estimate), abs=1e-12)


def test_copied_slices_do_not_narrow_the_interval(make_cohort):
    cohort = make_cohort(1)
    one, two = (
        patient_bootstrap(
            *(np.repeat(part, copies) for part in (cohort.labels, cohort.first, cohort.patients)),
            threshold=0.5,
            resamples=300,
        )
        for copies in (1, 6)
    )
    for name, estimate in one.items():
        assert ends(two[name]) == pytest.approx(ends(estimate), abs=1e-12)


def test_a_paired_difference_is_narrower_than_two_intervals_suggest(make_cohort):
    cohort = make_cohort(2, patients=(40, 40))
    settings = {"resamples": 1000}
    pair = paired_bootstrap(cohort.labels, (cohort.first, cohort.second), cohort.patients, **settings)
    settings |= {"threshold": None, "statistics": ("auroc",)}
    one, two = (
        patient_bootstrap(cohort.labels, scores, cohort.patients, **settings)["auroc"]
        for scores in (cohort.first, cohort.second)
    )
    assert pair.value == pytest.approx(one.value - two.value)
    assert pair.high - pair.low < np.hypot(one.high - one.low, two.high - two.low)


def test_a_model_does_not_differ_from_itself(make_cohort):
    cohort = make_cohort(2)
    found = paired_bootstrap(cohort.labels, (cohort.first, cohort.first), cohort.patients, resamples=50)
    assert str(found) == "0.000 (n/a: all resamples agree)"


def test_the_roc_band_holds_the_curve_and_matches_resampling_by_hand(make_cohort):
    cohort = make_cohort(3, decimals=1)
    grid = np.array([0.0, 0.1, 0.25, 0.5, 1.0])
    low, high = roc_band(cohort.labels, cohort.first, cohort.patients, fpr=grid, resamples=400, seed=5)
    fpr, tpr, _ = roc_curve(cohort.labels, cohort.first)
    height = np.interp(grid, fpr, tpr)
    assert np.all((low <= height) & (height <= high))
    assert (low[-1], high[-1]) == (1.0, 1.0)

    keys = np.unique(cohort.patients)
    strata = np.array(
        [
            {(False, True): 0, (True, True): 1, (True, False): 2}[
                bool((cohort.labels[cohort.patients == key] == 1).any()),
                bool((cohort.labels[cohort.patients == key] == 0).any()),
            ]
            for key in keys
        ]
    )
    heights = []
    for weights in draw_weights(strata, resamples=400, seed=5).astype(int):
        rows = np.concatenate(
            [
                np.flatnonzero(cohort.patients == key)
                for key, times in zip(keys, weights, strict=True)
                for _ in range(times)
            ]
        )
        fpr, tpr, _ = roc_curve(cohort.labels[rows], cohort.first[rows])
        heights.append(np.interp(grid, fpr, tpr))
    np.testing.assert_allclose([low, high], np.quantile(heights, [0.025, 0.975], axis=0), atol=1e-12)


def test_a_band_of_one_class_is_nan():
    low, high = roc_band([1, 1], [0.1, 0.2], ["a", "b"], fpr=[0.5], resamples=10)
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "expected"),
    [
        pytest.param([], [], [], {"auroc": "n/a: no rows", "sensitivity": "n/a: no rows"}, id="empty"),
        pytest.param(
            [0, 0, 0],
            [0.1, 0.7, 0.6],
            ["a", "b", "c"],
            {
                "auroc": "n/a: no positives",
                "sensitivity": "n/a: no positives",
                "balanced_accuracy": "n/a: a class is missing",
            },
            id="one class",
        ),
        pytest.param(
            [1, 0, 1],
            [0.9, 0.2, 0.4],
            ["a", "a", "a"],
            {
                "auroc": "1.000 (n/a: all positives are of one patient)",
                "specificity": "1.000 (n/a: all negatives are of one patient)",
            },
            id="single patient",
        ),
        pytest.param(
            [1, 1, 0, 0],
            [0.5, 0.5, 0.5, 0.5],
            ["a", "b", "c", "d"],
            {
                "auroc": "0.500 (n/a: all resamples agree)",
                "sensitivity": "1.000 (n/a: all resamples agree)",
                "specificity": "0.000 (n/a: all resamples agree)",
                "matthews": "n/a: label or decision is constant",
            },
            id="constant scores",
        ),
        pytest.param(
            [1, 1, 0, 0, 0],
            [0.9, 0.1, 0.2, 0.2, 0.3],
            ["a", "b", "c", "d", "e"],
            {"matthews": "0.612 (n/a: undefined in 22 of 100 resamples)"},
            id="undefined in some resamples",
        ),
    ],
)
def test_what_has_no_interval_says_why(labels, scores, patients, expected):
    found = patient_bootstrap(labels, scores, patients, threshold=0.5, statistics=tuple(expected), resamples=100)
    assert {name: str(estimate) for name, estimate in found.items()} == expected


def test_sensitivity_needs_no_second_negative_patient():
    found = patient_bootstrap([1, 1, 1, 0], [0.9, 0.1, 0.8, 0.2], ["a", "b", "c", "d"], threshold=0.5, resamples=100)
    assert found["sensitivity"].has_interval
    assert found["auroc"].reason == "all negatives are of one patient"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statistics": ("auc",)}, "statistics must be among auroc, .*; got 'auc'"),
        ({"threshold": None}, "threshold is needed for sensitivity, got None"),
        ({"threshold": float("nan")}, "threshold must be a number, got NaN"),
        ({"resamples": 0}, "resamples must be positive, got 0"),
        ({"level": 95}, r"level must be inside \(0, 1\), got 95"),
        ({"scores": [0.5, np.nan]}, "scores must be finite, got nan at row 1"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    settings = {"labels": [0, 1], "scores": [0.2, 0.4], "patients": ["a", "b"], "threshold": 0.5} | changes
    with pytest.raises(ValueError, match=message):
        patient_bootstrap(settings.pop("labels"), settings.pop("scores"), settings.pop("patients"), **settings)


def test_patients_with_one_row_each_are_served_too(make_cohort):
    cohort = make_cohort(1)
    found = patient_bootstrap(cohort.labels, cohort.first, np.arange(len(cohort.labels)), threshold=0.5, resamples=100)
    assert found["auroc"].value == pytest.approx(auroc(cohort.labels, cohort.first))
    assert found["auroc"].has_interval
