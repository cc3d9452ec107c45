import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.rates.counts import RATES, Confusion, clopper_pearson, confusion, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (1, 7), (96, 99), (94, 99), (10, 10), (400, 1048)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_intervals_of_a_proportion_match_statsmodels(successes, trials, level):
    for function, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
        estimate = function(successes, trials, level)
        low, high = proportion_confint(successes, trials, alpha=1 - level, method=name)
        assert estimate.value == successes / trials
        assert estimate.low == pytest.approx(low, abs=1e-12)
        assert estimate.high == pytest.approx(high, abs=1e-12)


def test_the_intervals_of_the_papers_best_experiment_are_wide():
    assert f"{wilson(96, 99):.1%}" == "97.0% (91.5% to 99.0%)"
    assert f"{wilson(94, 99):.1%}" == "94.9% (88.7% to 97.8%)"


@pytest.mark.parametrize("function", [wilson, clopper_pearson])
def test_a_proportion_of_nothing_is_undefined(function):
    assert str(function(0, 0)) == "n/a: no trials"


@pytest.mark.parametrize("function", [wilson, clopper_pearson])
@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (float("nan"), 5)])
def test_an_impossible_proportion_is_refused(function, successes, trials):
    with pytest.raises(ValueError, match="expected 0 <= successes <= trials, got"):
        function(successes, trials)


@pytest.mark.parametrize("seed", range(4))
def test_rates_match_scikit_learn(make_cohort, seed):
    cohort = make_cohort(seed)
    called = cohort.first >= 0.6
    counts = confusion(cohort.labels, cohort.first, threshold=0.6)
    tn, fp, fn, tp = metrics.confusion_matrix(cohort.labels, called).ravel()
    assert (counts.tp, counts.fp, counts.tn, counts.fn) == (tp, fp, tn, fn)
    expected = {
        "sensitivity": metrics.recall_score(cohort.labels, called),
        "specificity": metrics.recall_score(cohort.labels, called, pos_label=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(cohort.labels, called),
        "f1": metrics.f1_score(cohort.labels, called),
        "matthews": metrics.matthews_corrcoef(cohort.labels, called),
    }
    found = {name: float(function(counts)) for name, (function, _) in RATES.items()}
    assert found == pytest.approx(expected, abs=1e-14)


def test_a_score_at_the_threshold_is_called_positive():
    counts = confusion([1, 0, 1, 0], [0.5, 0.5, 0.49, 0.49], threshold=0.5)
    assert (counts.tp, counts.fp, counts.tn, counts.fn) == (1, 1, 1, 1)


def test_a_threshold_of_nan_is_refused():
    with pytest.raises(ValueError, match="threshold must be a number, got NaN"):
        confusion([1, 0], [0.2, 0.3], threshold=float("nan"))


@pytest.mark.parametrize(
    ("cells", "undefined"),
    [
        pytest.param((0, 0, 0, 0), set(RATES), id="empty"),
        pytest.param((0, 2, 3, 0), {"sensitivity", "balanced_accuracy", "matthews"}, id="no positives"),
        pytest.param((2, 0, 0, 1), {"specificity", "balanced_accuracy", "matthews"}, id="no negatives"),
        pytest.param((0, 0, 3, 2), {"matthews"}, id="none is called positive"),
        pytest.param((3, 2, 0, 0), {"matthews"}, id="all are called positive"),
    ],
)
def test_rates_without_a_denominator_are_nan_and_never_zero(cells, undefined):
    counts = Confusion(*map(np.float64, cells))
    assert {name for name, (function, _) in RATES.items() if np.isnan(function(counts))} == undefined


def test_rates_of_many_tables_are_those_of_each(make_cohort):
    tables = np.random.default_rng(0).integers(0, 4, size=(50, 4)).astype(float)
    for function, _ in RATES.values():
        together = function(Confusion(*tables.T))
        alone = [float(function(Confusion(*row))) for row in tables]
        np.testing.assert_array_equal(together, alone)


def test_the_papers_auc_is_balanced_accuracy():
    best = Confusion(*map(np.float64, (96, 5, 94, 3)))
    assert round(float(RATES["balanced_accuracy"][0](best)), 3) == 0.960
