import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student

from fistula.evidence.clustered import design_effect, gee, rao_scott
from fistula.evidence.rates import wilson


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


def test_rao_scott_and_gee_agree_about_the_interval(decisions):
    by_score, by_logit = rao_scott(*decisions), gee(*decisions)
    assert by_score.low == pytest.approx(by_logit.low, abs=0.02)
    assert by_score.high == pytest.approx(by_logit.high, abs=0.02)


def test_the_design_effect_matches_cluster_robust_least_squares(decisions):
    called, patients = decisions
    groups = np.unique(patients, return_inverse=True)[1]
    fitted = sm.OLS(called, np.ones(len(called))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    rate = called.mean()
    assert design_effect(called, patients) == pytest.approx(fitted.bse[0] ** 2 * len(called) / (rate * (1 - rate)))


def test_slices_that_are_copies_count_as_one():
    outcomes = np.random.default_rng(0).integers(0, 2, size=40)
    copied, patients = np.repeat(outcomes, 10), np.repeat(np.arange(40), 10)
    assert design_effect(copied, patients) == pytest.approx(10 * design_effect(outcomes, np.arange(40)))
    alone = rao_scott(outcomes, np.arange(40))
    assert (rao_scott(copied, patients).low, rao_scott(copied, patients).high) == pytest.approx((alone.low, alone.high))
    assert alone.high - alone.low > 2 * (wilson(copied.sum(), 400).high - wilson(copied.sum(), 400).low)


def test_independent_slices_have_a_design_effect_of_about_one():
    outcomes = np.random.default_rng(1).random(20_000) < 0.8
    assert design_effect(outcomes, np.repeat(np.arange(2000), 10)) == pytest.approx(1, abs=0.1)


def test_a_rate_of_one_counts_each_patient_once():
    estimate = rao_scott(np.ones(60, dtype=int), np.repeat(np.arange(12), 5))
    quantile = student.ppf(0.975, 11)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(12 / (12 + quantile**2))


@pytest.mark.parametrize(
    ("outcomes", "patients", "expected"),
    [
        pytest.param([], [], ("n/a: no rows",) * 2, id="empty"),
        pytest.param([1, 0], ["a", "a"], ("0.5 (n/a: only one patient)",) * 2, id="single patient"),
        pytest.param(
            [1, 1], ["a", "b"], (None, "1.0 (n/a: no patient differs from another)"), id="a rate of 1 has no logit"
        ),
        pytest.param(
            [1, 0, 1, 0],
            ["a", "a", "b", "b"],
            (None, "0.5 (n/a: no patient differs from another)"),
            id="every patient has the same rate",
        ),
    ],
)
def test_what_cannot_be_said_is_said_so(outcomes, patients, expected):
    for function, text in zip((rao_scott, gee), expected, strict=True):
        if text:
            assert f"{function(outcomes, patients):.1f}" == text


def test_outcomes_are_checked():
    with pytest.raises(ValueError, match=r"labels must be 0 or 1, got 0\.5 at row 0"):
        rao_scott([0.5], ["a"])
