import numpy as np
import pytest
from scipy.special import expit, logit

from fistula.evidence.probability.recalibration import move_level, recalibrations


def drawn(shift, slope, patients=400):
    random = np.random.default_rng(0)
    truth_logit = random.normal(0, 1.5, patients)
    labels = (random.random(patients) < expit(truth_logit)).astype(int)
    return labels, expit(slope * truth_logit + shift), np.arange(patients)


def test_moving_the_level_makes_the_mean_the_share():
    labels, probabilities, _ = drawn(2.0, 1.0)
    moved = expit(logit(probabilities) + move_level(labels, probabilities))
    assert moved.mean() == pytest.approx((labels.sum() + 0.5) / (len(labels) + 1), abs=1e-9)


def test_a_wrong_level_is_mended_by_moving_it_and_a_wrong_slope_is_not():
    shifted = {one.patients: one for one in recalibrations(*drawn(2.0, 1.0))}
    assert set(shifted) == {10, 20, 50, 100, 200}
    assert shifted[200].intercept < shifted[200].before - 0.05
    assert shifted[200].gap_intercept < 0.05 < shifted[200].gap_before
    steep = {one.patients: one for one in recalibrations(*drawn(0.0, 4.0))}
    assert steep[200].line < steep[200].intercept - 0.01
    # Two numbers from ten patients cost more than one does.
    assert shifted[10].line > shifted[10].intercept


def test_probabilities_that_mean_what_they_say_gain_nothing():
    found = recalibrations(*drawn(0.0, 1.0))
    assert all(one.line > one.before - 0.002 for one in found)


def test_the_change_is_the_difference_of_the_scores_and_its_interval_narrows_with_patients():
    found = {patients: recalibrations(*drawn(1.0, 1.0, patients), repeats=40)[0] for patients in (100, 400)}
    for one in found.values():
        assert one.intercept_change.value == pytest.approx(one.intercept - one.before)
        assert one.line_change.value == pytest.approx(one.line - one.before)
    few, many = (found[patients].intercept_change for patients in (100, 400))
    assert (few.high - few.low) > 1.1 * (many.high - many.low)


def test_moving_the_level_of_what_is_calibrated_costs_the_variance_of_a_share():
    # The draws' share of positives scatters by share * (1 - share) / k around that of the others: so much is lost.
    labels, patients = np.repeat([0, 1], 100), np.arange(200)
    told = recalibrations(labels, np.full(200, 0.5), patients, repeats=200)
    for one in told:
        # By hand: the share of k drawn of n = 200 has variance (1 / k)(n - k)/(n - 1)/4, drawn in by (k / (k + 1))^2;
        # the others lie on the other side, k / (n - k) as far.
        scatter = (200 - one.patients) / 199 / one.patients / 4
        drawn_in, other = one.patients / (one.patients + 1), one.patients / (200 - one.patients)
        expected = scatter * (drawn_in**2 + 2 * drawn_in * other)
        assert one.intercept_change.value == pytest.approx(expected, rel=0.2)
        assert one.intercept_change.low < expected < one.intercept_change.high


def test_patients_are_drawn_whole_and_too_few_are_not_drawn():
    labels, probabilities, patients = drawn(0.0, 1.0, patients=24)
    assert [one.patients for one in recalibrations(labels, probabilities, patients)] == [10]
    assert recalibrations(labels, probabilities, patients // 6) == []
    assert recalibrations(np.zeros(50), np.full(50, 0.1), np.arange(50)) == []
