import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score

from fistula.evidence.rates.clustered import balanced_accuracy, clustered_rate, gee
from fistula.evidence.rates.counts import wilson


@pytest.fixture
def decisions(make_cohort):
    cohort = make_cohort(4, patients=(25, 20))
    positive = cohort.labels == 1
    return (cohort.first[positive] >= 0.6).astype(int), cohort.patients[positive]


def test_gee_matches_statsmodels(decisions):
    called, patients = decisions
    groups = np.unique(patients, return_inverse=True)[1]
    order = np.argsort(groups, kind="stable")
    fitted = sm.GEE(called[order], np.ones(len(called)), groups=groups[order], family=sm.families.Binomial()).fit(
        cov_type="robust"
    )
    clusters = len(np.unique(groups))
    centre, error = fitted.params[0], fitted.bse[0] * np.sqrt(clusters / (clusters - 1))
    ends = centre + np.array([-1, 1]) * student.ppf(0.975, clusters - 1) * error
    estimate = gee(called, patients)
    assert estimate.value == pytest.approx(1 / (1 + np.exp(-centre)), abs=1e-9)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(1 / (1 + np.exp(-ends))), abs=1e-9)


def test_clustered_rate_and_gee_agree_about_the_interval(decisions):
    by_score, by_logit = clustered_rate(*decisions), gee(*decisions)
    assert by_score.low == pytest.approx(by_logit.low, abs=0.02)
    assert by_score.high == pytest.approx(by_logit.high, abs=0.02)


def test_each_end_is_the_wider_of_wilsons_at_the_number_that_patients_left_out_allow_and_of_their_logits(decisions):
    called, patients = decisions
    keys, sizes = np.unique(patients, return_counts=True)
    shares = np.array([called[patients != key].mean() for key in keys])
    rate, kish = called.mean(), sizes.sum() ** 2 / np.sum(sizes**2)
    quantile, left = student.ppf(0.975, kish - 1), (len(keys) - 1) / len(keys)
    found = clustered_rate(called, patients)
    variance = left * np.sum((shares - shares.mean()) ** 2)
    effective = rate * (1 - rate) / variance
    logits = np.log(shares / (1 - shares))
    half = quantile * np.sqrt(left * np.sum((logits - logits.mean()) ** 2))
    middle = np.log(rate / (1 - rate))
    low, high = (1 / (1 + np.exp(-(middle + sign * half))) for sign in (-1, 1))
    # Wilson's ends are where the score test rejects, a quadratic in the end.
    score = np.roots([1 + quantile**2 / effective, -(2 * rate + quantile**2 / effective), rate**2])
    assert found.low == pytest.approx(min(low, score.min()))
    assert found.high == pytest.approx(max(high, score.max()))


def test_one_row_a_patient_is_wilsons_interval_as_any_table_of_it_gives():
    outcomes = [1] * 14 + [0] * 10
    found, expected = clustered_rate(outcomes, np.arange(24)), wilson(14, 24)
    assert (found.low, found.high, found.method) == (expected.low, expected.high, expected.method)
    assert clustered_rate([1] * 24, np.arange(24)).low == pytest.approx(24 / (24 + 1.959964**2))


def test_a_high_rate_of_few_patients_leans_further_from_1_than_wilson_at_the_effective_number():
    """Fifteen patients of ten slices, two of them wrong in five. Without one of these 132 of 140 are right,
    without another 130 of 140: logits of ln 16.5 and ln 13, of jackknife variance 0.1770; t of 14 degrees, 2.145."""
    outcomes = np.ones((15, 10), dtype=int)
    outcomes[:5, :2] = 0
    found = clustered_rate(outcomes.ravel(), np.repeat(np.arange(15), 10))
    assert found.low == pytest.approx(1 / (1 + np.exp(-(np.log(14) - 2.1448 * np.sqrt(0.1770)))), abs=1e-3)


def test_one_patient_who_makes_all_the_errors_counts_as_one_of_so_many_patients():
    outcomes = np.ones((51, 10), dtype=int)
    outcomes[0], outcomes[1, 0] = 0, 0
    found = clustered_rate(outcomes.ravel(), np.repeat(np.arange(51), 10))
    # The logit without this patient would give 0.26; 50 right of 51 give Wilson 0.90, and one slice more is wrong.
    assert found.low == wilson(51 * 499 / 510, 51).low
    assert 0.88 < found.low < 0.90
    assert 0.99 < found.high < 1


def test_slices_that_are_copies_count_as_one():
    outcomes = np.random.default_rng(0).integers(0, 2, size=40)
    copied, patients = np.repeat(outcomes, 10), np.repeat(np.arange(40), 10)
    alone = clustered_rate(outcomes, np.arange(40))
    assert (clustered_rate(copied, patients).low, clustered_rate(copied, patients).high) == pytest.approx(
        (alone.low, alone.high)
    )
    assert alone.high - alone.low > 2 * (wilson(copied.sum(), 400).high - wilson(copied.sum(), 400).low)


def test_a_rate_of_one_counts_each_patient_once():
    estimate = clustered_rate(np.ones(60, dtype=int), np.repeat(np.arange(12), 5))
    quantile = student.ppf(0.975, 11)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(12 / (12 + quantile**2))


@pytest.mark.parametrize(
    ("outcomes", "patients", "expected"),
    [
        pytest.param([], [], ("n/a: no rows",) * 2, id="empty"),
        pytest.param([1, 0], ["a", "a"], ("0.5 (n/a: only one patient)",) * 2, id="single patient"),
        pytest.param(
            [1, 1], ["a", "b"], (None, "1.0 (n/a: no variability between patients)"), id="a rate of 1 has no logit"
        ),
        pytest.param(
            [1, 0, 1, 0],
            ["a", "a", "b", "b"],
            (None, "0.5 (n/a: no variability between patients)"),
            id="every patient has the same rate",
        ),
    ],
)
def test_what_cannot_be_said_is_said_so(outcomes, patients, expected):
    for function, text in zip((clustered_rate, gee), expected, strict=True):
        if text:
            assert f"{function(outcomes, patients):.1f}" == text


def test_a_rate_of_one_counts_patients_by_kish():
    estimate = clustered_rate(np.ones(14, dtype=int), np.repeat(np.arange(3), [10, 2, 2]))
    kish = 14**2 / (100 + 4 + 4)
    quantile = student.ppf(0.975, 1)  # never fewer degrees than one
    assert estimate.low == pytest.approx(kish / (kish + quantile**2))


def test_balanced_accuracy_of_patients_of_one_class_adds_the_two_errors(make_cohort):
    cohort = make_cohort(4, mixed=0)
    called = (cohort.first >= 0.6).astype(int)
    positive = cohort.labels == 1
    rates = [
        clustered_rate((called == label)[cohort.labels == label], cohort.patients[cohort.labels == label])
        for label in (1, 0)
    ]
    found = balanced_accuracy(cohort.labels, called, cohort.patients)
    assert found.value == pytest.approx(balanced_accuracy_score(cohort.labels, called))
    assert found.value - found.low == pytest.approx(np.hypot(*(rate.value - rate.low for rate in rates)) / 2)
    assert found.high - found.value == pytest.approx(np.hypot(*(rate.high - rate.value for rate in rates)) / 2)
    assert positive.any()


def test_balanced_accuracy_knows_that_patients_of_both_classes_tie_the_rates():
    random = np.random.default_rng(0)
    patients, labels = np.repeat(np.arange(40), 10), np.tile([0, 1], 200)
    # A patient who is called positive throughout raises sensitivity and lowers specificity by as much.
    lean = random.random(40)[patients]
    called = (random.random(400) < 0.1 + 0.2 * labels + 0.7 * (lean > 0.5)).astype(int)
    tied = balanced_accuracy(labels, called, patients)
    apart = balanced_accuracy(labels, called, patients + 100 * labels)
    assert tied.value == apart.value
    assert tied.high - tied.low < 0.9 * (apart.high - apart.low)


def test_balanced_accuracy_says_what_it_lacks():
    assert str(balanced_accuracy([1, 1], [1, 0], ["a", "b"])) == "n/a: a class is missing"
    assert str(balanced_accuracy([1, 1, 0], [1, 0, 0], ["a", "b", "c"])) == "0.750 (n/a: only one patient)"


def test_outcomes_are_checked():
    with pytest.raises(ValueError, match=r"labels must be 0 or 1, got 0\.5 at row 0"):
        clustered_rate([0.5], ["a"])
