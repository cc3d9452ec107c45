import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import mannwhitneyu, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.design.compare import clustered_auroc_test, clustered_mcnemar, mcnemar


def test_the_clustered_test_is_indifferent_to_copied_slices(make_cohort):
    cohort = make_cohort(1)
    parts = (cohort.labels, cohort.first, cohort.second, cohort.patients)
    once, many = clustered_auroc_test(*parts), clustered_auroc_test(*(np.repeat(part, 4) for part in parts))
    assert (many.statistic, many.p_value) == pytest.approx((once.statistic, once.p_value))


def test_with_one_row_a_patient_the_clustered_test_is_delongs_but_for_few_patients(reference):
    rows, values = reference
    found = clustered_auroc_test(rows.labels, rows.first, rows.second, np.arange(80))
    kept = np.delete(np.tile(np.arange(80), (80, 1)), np.arange(80) * 81).reshape(80, 79)
    areas = [[roc_auc_score(rows.labels[i], scores[i]) for scores in (rows.first, rows.second)] for i in kept]
    left_out = np.subtract(*np.array(areas).T)
    error = np.sqrt(79 / 80 * np.sum((left_out - left_out.mean()) ** 2))
    assert found.standard_error == pytest.approx(error)
    assert found.statistic == pytest.approx(found.difference.value / error)
    # The jackknife and Student's t are a little more careful than DeLong's variance and the normal distribution.
    assert 0.98 * values["z"] < found.statistic < values["z"]
    assert values["p"] < found.p_value < values["p"] + 0.01


def test_exchanging_the_models_turns_the_difference(make_cohort):
    cohort = make_cohort(2)
    one = clustered_auroc_test(cohort.labels, cohort.first, cohort.second, cohort.patients)
    two = clustered_auroc_test(cohort.labels, cohort.second, cohort.first, cohort.patients)
    assert two.p_value == pytest.approx(one.p_value)
    assert (two.difference.low, two.difference.high) == pytest.approx((-one.difference.high, -one.difference.low))


@pytest.mark.parametrize("only_first", [0, 3, 8])
@pytest.mark.parametrize("only_second", [0, 5, 12])
def test_mcnemars_exact_test_matches_statsmodels(only_first, only_second):
    first = np.r_[np.ones(20 + only_first), np.zeros(only_second + 4)].astype(int)
    second = np.r_[np.ones(20), np.zeros(only_first), np.ones(only_second), np.zeros(4)].astype(int)
    expected = statsmodels_mcnemar([[20, only_first], [only_second, 4]], exact=True)
    found = mcnemar(first, second)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.difference.value == pytest.approx(first.mean() - second.mean())


def test_mcnemar_matches_hand_worked_values(reference):
    first, second = np.r_[np.ones(3), np.zeros(12)].astype(int), np.r_[np.zeros(3), np.ones(12)].astype(int)
    # P(X <= 3) of 15 fair coins is (1 + 15 + 105 + 455) / 2^15.
    exact = mcnemar(first, second)
    assert exact.p_value == pytest.approx(2 * 576 / 32768)
    assert exact.p_value == pytest.approx(reference[1]["mcnemar_exact_3_12"])
    assert exact.standard_error == pytest.approx(np.sqrt(15 - 81 / 15) / 15)


def test_models_that_never_differ_have_a_p_value_of_one():
    assert mcnemar([1, 0, 1], [1, 0, 1]).p_value == 1.0


@pytest.fixture
def decisions(make_cohort):
    cohort = make_cohort(6, patients=(25, 20))
    positive = cohort.labels == 1
    return cohort.first[positive] >= 0.4, cohort.second[positive] >= 0.7, cohort.patients[positive]


def test_the_error_of_paired_rates_is_that_of_statsmodels_by_leaving_out_patients(decisions):
    first, second, patients = decisions
    excess = first.astype(float) - second
    kept = [patients != key for key in np.unique(patients)]
    left_out = np.array([sm.OLS(excess[rows], np.ones(rows.sum())).fit().params[0] for rows in kept])
    error = np.sqrt((len(kept) - 1) / len(kept) * np.sum((left_out - left_out.mean()) ** 2))
    sizes = np.unique(patients, return_counts=True)[1]
    degrees = sizes.sum() ** 2 / np.sum(sizes**2) - 1
    found = clustered_mcnemar(first, second, patients)
    assert found.standard_error == pytest.approx(error)
    assert found.statistic == pytest.approx(excess.mean() / error)
    assert found.p_value == pytest.approx(2 * student.sf(abs(found.statistic), degrees))
    half = student.ppf(0.975, degrees) * error
    assert (found.difference.low, found.difference.high) == pytest.approx((excess.mean() - half, excess.mean() + half))


def test_the_paired_test_of_single_slices_is_close_to_mcnemars():
    random = np.random.default_rng(3)
    first, second = random.random(400) < 0.8, random.random(400) < 0.74
    by_patient, exact = clustered_mcnemar(first, second, np.arange(400)), mcnemar(first, second)
    assert by_patient.difference.value == pytest.approx(exact.difference.value)
    assert by_patient.p_value == pytest.approx(exact.p_value, abs=0.02)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_an_interval_leaves_out_zero_exactly_where_its_test_rejects(decisions, make_cohort, level):
    first, second, patients = decisions
    cohort = make_cohort(1)
    tests = [
        clustered_mcnemar(first, second, patients, level=level),
        clustered_auroc_test(cohort.labels, cohort.first, cohort.second, cohort.patients, level=level),
    ]
    for test in tests:
        excludes = test.difference.low > 0 or test.difference.high < 0
        assert excludes == (test.p_value < 1 - level)
    arrays = cohort.labels, cohort.first, cohort.second, cohort.patients
    edge = clustered_auroc_test(*arrays, level=1 - tests[1].p_value).difference
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("labels", "first", "second", "patients", "expected"),
    [
        pytest.param([], [], [], [], "n/a: no rows", id="empty"),
        pytest.param([1, 1], [1, 2], [2, 1], ["a", "b"], "n/a: no negatives", id="one class"),
        pytest.param(
            [1, 1, 0, 0],
            [1, 3, 2, 2],
            [1, 3, 2, 2],
            ["a", "b", "c", "d"],
            "0.000 (n/a: the difference does not vary)",
            id="the same model twice",
        ),
        pytest.param(
            [1, 1, 0, 0],
            [1, 3, 2, 2],
            [1, 3, 4, 2],
            ["a", "a", "c", "d"],
            "0.250 (n/a: all positives are of one patient)",
            id="one patient of a class",
        ),
    ],
)
def test_aurocs_that_cannot_be_compared_say_why(labels, first, second, patients, expected):
    found = clustered_auroc_test(labels, first, second, patients)
    assert str(found.difference) == expected
    assert np.isnan(found.p_value)


@pytest.mark.parametrize(
    ("first", "patients", "expected"),
    [
        pytest.param([], [], "n/a: no rows", id="empty"),
        pytest.param([1, 0], ["a", "a"], "0.500 (n/a: only one patient)", id="single patient"),
        pytest.param([0, 0], ["a", "b"], "0.000 (n/a: the models do not differ in any patient)", id="alike"),
    ],
)
def test_decisions_that_cannot_be_compared_say_why(first, patients, expected):
    found = clustered_mcnemar(first, np.zeros(len(first), dtype=int), patients)
    assert str(found.difference) == expected
    assert np.isnan(found.p_value)
    assert mcnemar([], []).difference.reason == "no rows"


def test_models_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"must score the same rows, got shapes \(2,\) and \(3,\)"):
        clustered_auroc_test([0, 1], [1, 2], [1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="must decide on the same rows, got 2 and 1"):
        mcnemar([0, 1], [1])
    with pytest.raises(ValueError, match="scores must be finite, got nan at row 0"):
        clustered_auroc_test([0, 1], [np.nan, 1], [0, 1], [0, 1])


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        pytest.param([2.0, 3.0], [1.0, 1.0], 0.5, id="perfect against constant"),
        pytest.param([2.0, 3.0], [0.0, -1.0], 1.0, id="perfect against reversed"),
    ],
)
def test_aurocs_that_differ_in_every_patient_alike_are_tested_with_the_greatest_variance(first, second, value):
    """With 16 patients of the rarer class z is 4; more seldom significant than by the ranks."""
    for rarer in (3, 4, 16):
        labels = np.r_[np.ones(rarer, int), np.zeros(rarer + 5, int)]
        scores = [np.r_[np.full(rarer, some[0]), np.ones(rarer + 5)] for some in (first, second)]
        found = clustered_auroc_test(labels, *scores, np.arange(len(labels)))
        assert found.statistic == pytest.approx(np.sqrt(rarer))
        assert found.p_value == pytest.approx(2 * norm.sf(np.sqrt(rarer)))
        by_ranks = mannwhitneyu(scores[0][labels == 1], np.arange(rarer + 5) / 100, method="exact").pvalue
        assert found.p_value > by_ranks
        # Wilson's interval of a share of 1 of so many trials, from statsmodels, on the scale of a difference.
        ends = proportion_confint(rarer, rarer, method="wilson")
        assert (found.difference.low, found.difference.high) == pytest.approx([value * (2 * end - 1) for end in ends])
        assert (found.difference.low > 0) == (found.p_value < 0.05)
        edge = found.at(found.p_value).difference
        assert edge.low == pytest.approx(0, abs=1e-9)
        assert edge.method.startswith("paired AUROCs within runs, greatest variance, Wilson, ")
