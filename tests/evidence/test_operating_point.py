import numpy as np
import pytest
from sklearn import metrics

from fistula.evidence.operating_point import argmax, at_least_cost, at_sensitivity, youden
from fistula.evidence.rates.counts import confusion, sensitivity, specificity


def test_youden_matches_hand_worked_values():
    # At 0.35 and at 0.7 sensitivity + specificity is 1.5; the lower one is taken, halfway to the score below.
    found = youden([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert (found.threshold, found.sensitivity, found.specificity) == (pytest.approx(0.225), 1.0, 0.5)


def test_a_perfect_score_is_cut_halfway():
    assert youden([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]).threshold == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 6], ids=["ties", "no ties"])
def test_youden_reaches_the_best_point_of_scikit_learns_curve(make_cohort, seed, decimals):
    cohort = make_cohort(seed, decimals=decimals)
    found = youden(cohort.labels, cohort.first)
    fpr, tpr, _ = metrics.roc_curve(cohort.labels, cohort.first, drop_intermediate=False)
    best = np.flatnonzero(tpr - fpr >= (tpr - fpr).max() - 1e-12)[-1]
    assert found.sensitivity == pytest.approx(tpr[best])
    assert found.specificity == pytest.approx(1 - fpr[best])


@pytest.mark.parametrize("model", ["first", "second"])
def test_youdens_index_matches_stored_values_of_r(reference, model):
    rows, values = reference
    found = youden(rows.labels, getattr(rows, model))
    assert found.sensitivity + found.specificity == pytest.approx(values[f"youden_{model}"])


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(youden, id="youden"),
        pytest.param(lambda labels, scores: at_sensitivity(labels, scores, sensitivity=0.9), id="sensitivity"),
        pytest.param(lambda labels, scores: at_least_cost(labels, scores, false_negative_cost=5), id="cost"),
        pytest.param(lambda labels, scores: at_least_cost(labels, scores, false_negative_cost=1e-9), id="none called"),
    ],
)
@pytest.mark.parametrize("decimals", [1, 6], ids=["ties", "no ties"])
def test_the_rates_of_a_point_are_those_at_its_threshold(make_cohort, rule, decimals):
    cohort = make_cohort(3, decimals=decimals)
    found = rule(cohort.labels, cohort.first)
    counts = confusion(cohort.labels, cohort.first, threshold=found.threshold)
    assert np.isfinite(found.threshold)
    assert found.sensitivity == pytest.approx(float(sensitivity(counts)))
    assert found.specificity == pytest.approx(float(specificity(counts)))


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 1.0])
def test_the_wanted_sensitivity_is_reached_with_the_greatest_specificity(make_cohort, wanted):
    cohort = make_cohort(4)
    found = at_sensitivity(cohort.labels, cohort.first, sensitivity=wanted)
    fpr, tpr, _ = metrics.roc_curve(cohort.labels, cohort.first, drop_intermediate=False)
    assert found.sensitivity >= wanted - 1e-12
    assert found.specificity == pytest.approx(1 - fpr[tpr >= wanted - 1e-12].min())


def test_nine_tenths_of_ten_positives_are_nine():
    labels, scores = [0] * 10 + [1] * 10, np.r_[np.linspace(0, 0.5, 10), np.linspace(0.3, 0.95, 10)]
    assert at_sensitivity(labels, scores, sensitivity=0.9).sensitivity == pytest.approx(0.9)


@pytest.mark.parametrize("cost", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_no_threshold_costs_less(make_cohort, cost, prevalence):
    cohort = make_cohort(5)
    found = at_least_cost(cohort.labels, cohort.first, false_negative_cost=cost, prevalence=prevalence)
    share = cohort.labels.mean() if prevalence is None else prevalence

    def expense(threshold):
        called = cohort.first >= threshold
        missed = 1 - called[cohort.labels == 1].mean()
        alarms = called[cohort.labels == 0].mean()
        return share * cost * missed + (1 - share) * alarms

    cheapest = min(expense(threshold) for threshold in np.r_[cohort.first, np.inf])
    assert expense(found.threshold) == pytest.approx(cheapest)


def test_a_dearer_miss_lowers_the_threshold(make_cohort):
    cohort = make_cohort(5)
    thresholds = [
        at_least_cost(cohort.labels, cohort.first, false_negative_cost=cost).threshold for cost in (0.1, 1, 10, 1000)
    ]
    assert thresholds == sorted(thresholds, reverse=True)


def test_constant_scores_call_all_positive():
    found = youden([0, 1, 0], [0.4, 0.4, 0.4])
    assert (found.threshold, found.sensitivity, found.specificity) == (0.4, 1.0, 0.0)


def test_neighbouring_floats_are_parted():
    # Halfway rounds up for one of the two pairs and down for the other.
    first = 0.3
    second = float(np.nextafter(first, 1))
    third = float(np.nextafter(second, 1))
    assert youden([0, 1], [first, second]).threshold == second
    assert youden([0, 1], [second, third]).threshold == third


def test_calling_no_one_can_cost_least():
    found = at_least_cost([1, 0], [0.2, 0.8], false_negative_cost=0.1)
    assert 0.8 < found.threshold < 0.8 + 1e-9
    assert (found.sensitivity, found.specificity) == (0.0, 1.0)


def test_argmax_is_one_half_whatever_the_rows_and_positive_at_one_half():
    found = argmax([0, 0, 0, 1, 1], [0.1, 0.5, 0.2, 0.5, 0.4])
    assert (found.threshold, found.rule) == (0.5, "argmax")
    assert (found.sensitivity, found.specificity) == (0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: youden([1, 1], [0.1, 0.2]), "an operating point needs both classes, got no negatives"),
        (lambda: youden([], []), "an operating point needs both classes, got no rows"),
        (lambda: youden([0, 1], [0.1, np.nan]), "scores must be finite, got nan at row 1"),
        (lambda: at_sensitivity([0, 1], [0.1, 0.2], sensitivity=95), r"sensitivity must be in \(0, 1\], got 95"),
        (
            lambda: at_least_cost([0, 1], [0.1, 0.2], false_negative_cost=0),
            "false_negative_cost must be positive, got 0",
        ),
        (
            lambda: at_least_cost([0, 1], [0.1, 0.2], false_negative_cost=1, prevalence=1.0),
            r"prevalence must be inside \(0, 1\), got 1.0",
        ),
        (
            lambda: at_least_cost([1, 1], [0.1, 0.2], false_negative_cost=1),
            "an operating point needs both classes, got no negatives",
        ),
    ],
)
def test_what_gives_no_point_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
