import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from fistula.evidence.estimate import Estimate, without_interval
from fistula.evidence.verdict import detectable_difference, holm, judge_equivalence, planned_auroc_error


@pytest.mark.parametrize("seed", range(3))
def test_holm_matches_statsmodels(seed):
    p_values = np.random.default_rng(seed).random(12) ** 3
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], atol=1e-15)


def test_holm_matches_stored_values_of_r(reference):
    expected = [reference[1][f"holm_{index}"] for index in range(1, 6)]
    assert holm([0.01, 0.04, 0.03, 0.5, 0.01]).tolist() == pytest.approx(expected)


def test_a_comparison_without_a_test_does_not_count_in_the_family():
    assert holm([0.01, np.nan, 0.04]).tolist() == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)


def test_an_impossible_p_value_is_refused():
    with pytest.raises(ValueError, match=r"p-values must be in \[0, 1\], got 0.5 to 1.5"):
        holm([0.5, 1.5])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        pytest.param(-0.01, 0.04, "equivalent", id="inside the margin, whatever it says of 0"),
        pytest.param(0.01, 0.04, "equivalent", id="not 0, but too small to matter"),
        pytest.param(-0.02, 0.08, "inconclusive", id="crosses one margin"),
        pytest.param(-0.05, 0.02, "inconclusive", id="touches the margin"),
        pytest.param(0.06, 0.2, "different", id="beyond the margin"),
        pytest.param(-0.2, -0.05, "different", id="beyond the margin on the other side"),
    ],
)
def test_an_interval_is_judged_by_the_margin(low, high, expected):
    assert judge_equivalence(Estimate((low + high) / 2, low, high, "m"), margin=0.05) == expected


def test_no_interval_is_no_equivalence():
    assert judge_equivalence(without_interval(0.0, "m", "one patient"), margin=0.05) == "untested"
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        judge_equivalence(Estimate(0, -1, 1, "m"), margin=0)


@pytest.mark.parametrize("power", [0.8, 0.9])
def test_the_detectable_difference_has_the_stated_power(power):
    error = 0.03
    difference = detectable_difference(error, power=power)
    # A difference of two means of 1 and 1 observations with deviation sd has standard error sd * sqrt(2).
    judge = NormalIndPower().power(difference / (error / np.sqrt(2)), nobs1=1, alpha=0.05, alternative="larger")
    assert norm.cdf(difference / error - norm.ppf(0.975)) == pytest.approx(power)
    assert judge > power
    assert detectable_difference(error) == pytest.approx(2.801585 * error, rel=1e-6)


def test_a_planned_error_shrinks_with_patients_and_with_correlation():
    alone = planned_auroc_error(0.9, positives=58, negatives=45, correlation=0.0)
    assert planned_auroc_error(0.9, positives=58, negatives=45, correlation=0.5) == pytest.approx(alone / np.sqrt(2))
    assert planned_auroc_error(0.9, positives=12, negatives=9, correlation=0.0) > 2 * alone


def test_a_fifth_of_the_papers_cohort_has_an_interval_about_a_quarter_wide():
    error = planned_auroc_error(0.9, positives=12, negatives=9, correlation=0.5)
    assert 2 * 1.96 * error == pytest.approx(0.27, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detectable_difference(-0.1), "standard_error must not be negative, got -0.1"),
        (lambda: detectable_difference(0.1, power=0.01), "got alpha 0.05 and power 0.01"),
        (
            lambda: planned_auroc_error(1.0, positives=5, negatives=5, correlation=0.5),
            r"expected auroc in \(0, 1\), .* got 1.0, 5, 5, 0.5",
        ),
    ],
)
def test_impossible_plans_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_error_detects_nothing():
    assert np.isnan(detectable_difference(float("nan")))
