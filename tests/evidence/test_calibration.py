import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from fistula.evidence.probability.calibration import (
    Scaling,
    brier_score,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    murphy_decomposition,
    reliability_curve,
)
from fistula.evidence.rates.counts import wilson


@pytest.fixture
def validation():
    """Scores that are twice too sure and shifted, 4 000 of them."""
    random = np.random.default_rng(0)
    logits = random.normal(size=4000)
    labels = (random.random(4000) < expit(logits)).astype(int)
    return labels, expit(2 * logits), expit(2 * logits + 1)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        pytest.param([1, 0], [1.0, 0.0], 0.0, id="certain and right"),
        pytest.param([1, 0], [0.0, 1.0], 1.0, id="certain and wrong"),
        pytest.param([1, 0, 0], [0.5, 0.5, 0.5], 0.25, id="constant one half"),
        pytest.param([1, 0], [0.8, 0.4], 0.1, id="worked by hand: (0.04 + 0.16) / 2"),
    ],
)
def test_the_brier_score_matches_hand_worked_values(labels, scores, expected):
    assert brier_score(labels, scores) == pytest.approx(expected)


def test_the_brier_score_matches_scikit_learn(make_cohort):
    cohort = make_cohort(0)
    assert brier_score(cohort.labels, cohort.first) == pytest.approx(
        metrics.brier_score_loss(cohort.labels, cohort.first)
    )


def test_murphys_parts_match_hand_worked_values():
    # Two bins: scores 0.2 with one positive of four, scores 0.6 with all of two; overall share 1/2.
    found = murphy_decomposition([0, 0, 0, 1, 1, 1], [0.2] * 4 + [0.6] * 2, bins=2)
    assert found.reliability == pytest.approx((4 * 0.05**2 + 2 * 0.4**2) / 6)
    assert found.resolution == pytest.approx((4 * 0.25**2 + 2 * 0.5**2) / 6)
    assert found.uncertainty == pytest.approx(0.25)
    assert found.within == pytest.approx(0.0)
    assert found.brier == pytest.approx((3 * 0.04 + 0.64 + 2 * 0.16) / 6)


@pytest.mark.parametrize("bins", [1, 3, 10])
def test_murphys_parts_add_up_to_the_brier_score(make_cohort, bins):
    cohort = make_cohort(1, decimals=6)
    found = murphy_decomposition(cohort.labels, cohort.first, bins=bins)
    total = found.reliability - found.resolution + found.uncertainty + found.within
    assert total == pytest.approx(brier_score(cohort.labels, cohort.first), abs=1e-14)
    assert min(found.reliability, found.resolution, found.uncertainty) >= 0


def test_the_reliability_curve_matches_scikit_learn(make_cohort):
    cohort = make_cohort(2, decimals=6)
    curve = reliability_curve(cohort.labels, cohort.first, bins=5)
    rate, score = calibration_curve(cohort.labels, cohort.first, n_bins=5)
    np.testing.assert_allclose(curve.rate, rate)
    np.testing.assert_allclose(curve.score, score)
    assert curve.count.sum() == len(cohort.labels)
    expected = [wilson(round(share * count), count) for share, count in zip(curve.rate, curve.count, strict=True)]
    np.testing.assert_allclose(curve.low, [end.low for end in expected])
    np.testing.assert_allclose(curve.high, [end.high for end in expected])


def test_rows_of_one_patient_do_not_narrow_the_reliability_curve():
    labels, scores = [0, 1, 1, 0, 1], [0.32, 0.35, 0.38, 0.31, 0.9]
    once = reliability_curve(labels, scores)
    thrice = reliability_curve(labels * 3, scores * 3, list("abcde") * 3)
    np.testing.assert_allclose((thrice.low, thrice.high), (once.low, once.high))
    assert (once.low[1], once.high[1]) == (wilson(1, 1).low, 1.0)


def test_the_calibration_error_matches_a_hand_worked_value():
    # Bins of width 0.5: |0.2 - 1/3| over three rows and |0.7 - 1/2| over two; a score on the border goes up.
    labels, scores = [0, 1, 0, 1, 0], [0.1, 0.2, 0.3, 0.5, 0.9]
    expected = (3 * abs(0.2 - 1 / 3) + 2 * abs(0.7 - 0.5)) / 5
    assert expected_calibration_error(labels, scores, bins=2) == pytest.approx(expected)


def test_the_calibration_error_falls_when_scores_are_mended(validation):
    labels, sure, shifted = validation
    assert expected_calibration_error(labels, sure) > 0.05
    assert expected_calibration_error(labels, fit_temperature(labels, sure).apply(sure)) < 0.025
    assert expected_calibration_error(labels, fit_platt(labels, shifted).apply(shifted)) < 0.025


def test_the_temperature_that_made_scores_too_sure_is_found(validation):
    labels, sure, _ = validation
    found = fit_temperature(labels, sure)
    assert found.intercept == 0
    assert found.slope == pytest.approx(0.5, abs=0.04)


def test_the_temperature_matches_a_logistic_regression_without_intercept(validation):
    labels, sure, _ = validation
    expected = GLM(labels, logit(sure), family=Binomial()).fit().params[0]
    assert fit_temperature(labels, sure).slope == pytest.approx(expected, abs=1e-5)


def test_platts_line_matches_a_weighted_logistic_regression(validation):
    labels, _, shifted = validation
    logits = logit(shifted)
    positives, negatives = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A target t is a row of label 1 with weight t and one of label 0 with weight 1 - t.
    judge = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.r_[logits, logits][:, None], np.repeat([1, 0], len(labels)), sample_weight=np.r_[target, 1 - target]
    )
    found = fit_platt(labels, shifted)
    assert found.slope == pytest.approx(judge.coef_[0, 0], abs=1e-4)
    assert found.intercept == pytest.approx(judge.intercept_[0], abs=1e-4)


def test_fits_stay_finite_where_the_classes_part():
    labels, scores = [0] * 20 + [1] * 20, np.r_[np.full(20, 0.3), np.full(20, 0.6)]
    temperature, platt = fit_temperature(labels, scores), fit_platt(labels, scores)
    assert temperature.slope == pytest.approx(20, rel=1e-3)
    # Platt's targets 21/22 and 1/22 are met exactly by a line through two points.
    assert platt.apply([0.3, 0.6]) == pytest.approx([1 / 22, 21 / 22], abs=1e-6)


def test_certain_scores_stay_finite():
    assert np.isfinite(logit(Scaling(1.0, 0.0).apply([0.0, 1.0]))).all()
    assert Scaling(1.0, 0.0).apply([0.2, 0.7]) == pytest.approx([0.2, 0.7])


def test_scaling_keeps_the_order(validation):
    labels, _, shifted = validation
    mended = fit_platt(labels, shifted).apply(shifted)
    assert metrics.roc_auc_score(labels, mended) == pytest.approx(metrics.roc_auc_score(labels, shifted))


def test_no_rows_have_no_calibration():
    assert np.isnan(brier_score([], []))
    assert np.isnan(expected_calibration_error([], []))
    assert np.isnan(murphy_decomposition([], []).reliability)
    assert reliability_curve([], []).count.size == 0


def test_constant_scores_fall_into_one_bin():
    curve = reliability_curve([0, 1, 1], [0.4] * 3)
    assert (curve.score.tolist(), curve.count.tolist()) == ([pytest.approx(0.4)], [3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: brier_score([0, 1], [0.5, 1.5]), r"scores must be in \[0, 1\], got 1.5 at row 1"),
        (lambda: brier_score([0, 1], [0.5, np.nan]), "scores must be finite, got nan at row 1"),
        (lambda: expected_calibration_error([0], [0.5], bins=0), "bins must be at least 1, got 0"),
        (lambda: fit_temperature([0, 0], [0.1, 0.2]), "fitting a scaling needs both classes, got no positives"),
        (lambda: fit_platt([], []), "fitting a scaling needs both classes, got no rows"),
        (lambda: Scaling(1.0, 0.0).apply([2.0]), r"scores must be in \[0, 1\], got 2.0 at row 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
