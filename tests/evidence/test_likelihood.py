import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import proportion_confint

from fistula.evidence.rates.counts import Confusion
from fistula.evidence.rates.likelihood import likelihood_ratios, predictive_values


def table(tp, fp, tn, fn):
    return Confusion(*map(np.float64, (tp, fp, tn, fn)))


@pytest.mark.parametrize("cells", [(80, 10, 90, 20), (7, 3, 12, 5), (1, 1, 1, 1)])
def test_likelihood_ratios_match_risk_ratios_of_statsmodels(cells):
    tp, fp, tn, fn = cells
    positive, negative = likelihood_ratios(table(*cells))
    for found, rows in ((positive, [[tp, fn], [fp, tn]]), (negative, [[fn, tp], [tn, fp]])):
        expected = Table2x2(np.array(rows, dtype=float), shift_zeros=False)
        assert found.value == pytest.approx(expected.riskratio, rel=1e-12)
        assert (found.low, found.high) == pytest.approx(expected.riskratio_confint(), rel=1e-9)


def test_likelihood_ratios_match_scikit_learn():
    labels, called = [1] * 100 + [0] * 100, [1] * 80 + [0] * 20 + [1] * 10 + [0] * 90
    positive, negative = likelihood_ratios(table(80, 10, 90, 20))
    assert (positive.value, negative.value) == pytest.approx(metrics.class_likelihood_ratios(labels, called))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param((0, 0, 0, 0), ("n/a: no positives",) * 2, id="empty"),
        pytest.param((3, 0, 0, 1), ("n/a: no negatives",) * 2, id="one class"),
        pytest.param(
            (3, 2, 0, 0),
            ("1.00 (0.44 to 2.92)", "n/a: no negative calls"),
            id="all are called positive",
        ),
        pytest.param(
            (4, 0, 4, 0),
            (
                "infinite (n/a: no false positives)",
                "0.00 (0.00 to 0.56)",
            ),
            id="perfect",
        ),
    ],
)
def test_likelihood_ratios_of_empty_cells_say_why(cells, expected):
    assert tuple(f"{ratio:.2f}" for ratio in likelihood_ratios(table(*cells))) == expected


def test_predictive_values_follow_bayes_at_a_stated_prevalence():
    positive, negative = predictive_values(table(80, 10, 90, 20), prevalence=0.1)
    assert positive.value == pytest.approx(0.8 * 0.1 / (0.8 * 0.1 + 0.1 * 0.9))
    assert negative.value == pytest.approx(0.9 * 0.9 / (0.9 * 0.9 + 0.2 * 0.1))
    assert positive.low < positive.value < positive.high
    assert negative.low < negative.value < negative.high


def test_predictive_values_at_the_cohorts_own_prevalence_are_its_shares():
    positive, negative = predictive_values(table(30, 20, 60, 10), prevalence=40 / 120)
    assert positive.value == pytest.approx(30 / 50)
    assert negative.value == pytest.approx(60 / 70)


def test_the_interval_of_a_predictive_value_is_mercaldos_logit_interval():
    positive, negative = predictive_values(table(30, 20, 60, 10), prevalence=0.2)
    sensitivity, specificity, positives, negatives = 0.75, 0.75, 40, 80
    of_positive = (1 - sensitivity) / sensitivity / positives + specificity / (1 - specificity) / negatives
    of_negative = sensitivity / (1 - sensitivity) / positives + (1 - specificity) / specificity / negatives
    for found, variance in ((positive, of_positive), (negative, of_negative)):
        centre = np.log(found.value / (1 - found.value))
        ends = 1 / (1 + np.exp(-(centre + np.array([-1, 1]) * 1.959963984540054 * np.sqrt(variance))))
        assert (found.low, found.high) == pytest.approx(tuple(ends), rel=1e-12)


@pytest.mark.parametrize("cells", [(9, 0, 10, 1), (20, 12, 28, 0), (4, 0, 4, 0), (5, 9, 0, 0)])
def test_an_empty_cell_has_the_interval_of_newcombes_ratio(cells):
    """MOVER-R in full, of Wilson's intervals from statsmodels; the logarithm would take a rate of 1 as known."""
    tp, fp, tn, fn = cells
    for found, above, below in zip(likelihood_ratios(table(*cells)), (tp, fn), (fp, tn), strict=True):
        if above == below == 0:
            assert not found.is_defined
            continue
        (one, low, high), (other, least, most) = (
            (count / total, *proportion_confint(count, total, method="wilson"))
            for count, total in ((above, tp + fn), (below, fp + tn))
        )
        inner, outer = least * (2 * other - least), most * (2 * other - most)
        ends = (
            (one * other - np.sqrt((one * other) ** 2 - low * (2 * one - low) * outer)) / outer,
            (one * other + np.sqrt((one * other) ** 2 - high * (2 * one - high) * inner)) / inner if below else np.inf,
        )
        assert (found.low, found.high) == pytest.approx(ends, rel=1e-9)


def test_a_perfect_decision_has_predictive_values_with_an_interval():
    positive, negative = predictive_values(table(4, 0, 4, 0), prevalence=0.3)
    assert (positive.value, positive.high) == (negative.value, negative.high) == (1, 1)
    # Wilson's interval of 4 of 4 begins at 0.510, and that of 0 of 4 ends at 0.490.
    root = np.sqrt(0.510 * (2 - 0.510))
    assert positive.low == pytest.approx(1 / (1 + 0.7 / 0.3 * 0.490 / root), abs=1e-3)
    assert negative.low == pytest.approx(1 / (1 + 0.3 / 0.7 * 0.490 / root), abs=1e-3)


@pytest.mark.parametrize("prevalence", [0, 1, 12])
def test_an_impossible_prevalence_is_refused(prevalence):
    with pytest.raises(ValueError, match=rf"prevalence must be inside \(0, 1\), got {prevalence}"):
        predictive_values(table(1, 1, 1, 1), prevalence=prevalence)
