import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from fistula.evidence.probability.decision import decision_curve


def test_net_benefit_matches_hand_worked_values():
    # Ten rows, four positive. At 0.5 three positives and one negative are called: 3/10 - 1/10 × 1.
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.5, 0.2, 0.6, 0.4, 0.3, 0.2, 0.1, 0.1]
    curve = decision_curve(labels, scores, thresholds=[0.2, 0.5])
    assert curve.model.tolist() == pytest.approx([4 / 10 - 4 / 10 * 0.25, 3 / 10 - 1 / 10])
    assert curve.everyone.tolist() == pytest.approx([4 / 10 - 6 / 10 * 0.25, 4 / 10 - 6 / 10])


def test_at_a_low_threshold_the_model_acts_on_everyone(make_cohort):
    cohort = make_cohort(0)
    curve = decision_curve(cohort.labels, np.clip(cohort.first, 0.05, 1), thresholds=[0.01, 0.05])
    np.testing.assert_allclose(curve.model, curve.everyone)


def test_a_perfect_model_gains_the_prevalence_at_every_threshold():
    labels = np.array([0, 0, 0, 1])
    thresholds = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(decision_curve(labels, labels, thresholds=thresholds).model, 0.25)
    np.testing.assert_allclose(decision_curve(labels, labels, thresholds=thresholds, prevalence=0.1).model, 0.1)


def test_acting_on_everyone_breaks_even_at_the_prevalence():
    curve = decision_curve([0, 1], [0.2, 0.9], thresholds=[0.3], prevalence=0.3)
    assert curve.everyone[0] == pytest.approx(0)


def test_calibrated_probabilities_keep_their_benefit_at_another_prevalence():
    """Normal scores whose log likelihood ratio they are: at a prevalence of 0.2 the best decision is known."""
    random = np.random.default_rng(0)
    labels = (random.random(200_000) < 0.5555).astype(int)
    evidence = 1.5 * random.normal(size=labels.size) + np.where(labels == 1, 1.125, -1.125)
    probability = expit(evidence + logit(labels.mean()))
    thresholds = np.array([0.1, 0.2, 0.3])
    # By the normal distribution: acting where the evidence exceeds the threshold's log odds less those of 0.2.
    cut = logit(thresholds) - logit(0.2)
    hits, alarms = norm.sf(cut, 1.125, 1.5), norm.sf(cut, -1.125, 1.5)
    expected = 0.2 * hits - 0.8 * alarms * thresholds / (1 - thresholds)
    found = decision_curve(labels, probability, thresholds=thresholds, prevalence=0.2)
    np.testing.assert_allclose(found.model, expected, atol=0.003)
    unmoved = decision_curve(labels, probability, thresholds=thresholds, prevalence=0.2, prior=0.2)
    assert (unmoved.model < found.model - 0.01).all()


def test_probabilities_of_another_prevalence_than_the_rows_are_moved_from_there():
    # Odds of 1 and 4 at a prevalence of 0.5 are 1/4 and 1 at 0.2: probabilities of 0.2 and 0.5, on the threshold.
    curve = decision_curve([0, 1, 1], [0.5, 0.8, 0.8], thresholds=[0.19, 0.4, 0.51], prevalence=0.2, prior=0.5)
    assert curve.model.tolist() == pytest.approx([0.2 - 0.8 * 0.19 / 0.81, 0.2, 0])


def test_the_cohorts_own_prevalence_is_the_default(make_cohort):
    cohort = make_cohort(1)
    stated = decision_curve(cohort.labels, cohort.first, thresholds=[0.2, 0.6], prevalence=cohort.labels.mean())
    np.testing.assert_allclose(decision_curve(cohort.labels, cohort.first, thresholds=[0.2, 0.6]).model, stated.model)


def test_the_interval_is_that_of_a_difference_of_two_proportions():
    """At the threshold where a false positive costs as much as the prevalence makes a true one worth: Newcombe's."""
    labels, scores = (
        np.repeat([1, 0], [70, 80]),
        np.r_[np.repeat([0.6, 0.2], [56, 14]), np.repeat([0.6, 0.2], [48, 32])],
    )
    curve = decision_curve(labels, scores, np.arange(150), thresholds=[0.5], prevalence=0.5)
    assert 2 * curve.model[0] == pytest.approx(0.2)
    assert (2 * curve.low[0], 2 * curve.high[0]) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert np.isnan(decision_curve(labels, scores, thresholds=[0.5]).low).all()


def test_slices_of_one_patient_are_no_more_certain_than_the_patient():
    labels, scores = np.tile([0, 0, 0, 1, 1, 1], 5), np.tile([0.1, 0.2, 0.7, 0.3, 0.8, 0.9], 5)
    patients = np.arange(30)
    alone, slices = (
        decision_curve(np.repeat(labels, n), np.repeat(scores, n), np.repeat(patients, n), thresholds=[0.25, 0.5])
        for n in (1, 8)
    )
    assert (slices.low <= alone.low + 1e-12).all()
    assert (slices.high >= alone.high - 1e-12).all()


@pytest.mark.parametrize("labels", [[], [0, 0], [1]], ids=["empty", "no positives", "no negatives"])
def test_a_missing_class_has_no_net_benefit(labels):
    curve = decision_curve(labels, np.full(len(labels), 0.5), thresholds=[0.2, 0.4], prevalence=0.5)
    assert np.isnan(curve.model).all()
    assert np.isnan(curve.everyone).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.5, 1.0]}, r"thresholds must be inside \(0, 1\), got 1.0"),
        ({"prevalence": 0}, r"prevalence must be inside \(0, 1\), got 0"),
        ({"prior": 1}, r"prior must be inside \(0, 1\), got 1"),
        ({"scores": [0.2, np.nan]}, "scores must be finite, got nan at row 1"),
        ({"scores": [0.2, -1.0]}, r"scores must be in \[0, 1\], got -1.0 at row 1"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    settings = {"scores": [0.2, 0.9], "thresholds": [0.5]} | changes
    with pytest.raises(ValueError, match=message):
        decision_curve([0, 1], settings.pop("scores"), **settings)
