import numpy as np
import pytest
from sklearn import metrics

from fistula.evidence.ranking.placements import place
from fistula.evidence.ranking.roc import auroc, mean_roc_curve, roc_curve


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        pytest.param([0, 0, 1, 1], [1, 2, 3, 4], 1.0, id="perfect"),
        pytest.param([1, 1, 0, 0], [1, 2, 3, 4], 0.0, id="inverted"),
        pytest.param([0, 1, 0, 1], [7, 7, 7, 7], 0.5, id="constant scores"),
        pytest.param([0, 0, 1, 1], [1, 2, 2, 3], 0.875, id="worked by hand: (1 + 1/2 + 1 + 1) / 4"),
    ],
)
def test_auroc_matches_hand_worked_values(labels, scores, expected):
    assert auroc(labels, scores) == expected


@pytest.mark.parametrize("labels", [[], [0, 0], [1]], ids=["empty", "no positives", "no negatives"])
def test_the_area_of_a_missing_class_is_nan(labels):
    assert np.isnan(auroc(labels, np.zeros(len(labels))))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_areas_and_curves_match_scikit_learn(make_cohort, seed, decimals):
    cohort = make_cohort(seed, decimals=decimals)
    labels, scores = cohort.labels, cohort.first
    assert auroc(labels, scores) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-14)
    for found, expected in zip(
        roc_curve(labels, scores), metrics.roc_curve(labels, scores, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-15)


def test_auroc_depends_on_order_alone_and_turns_with_the_scores(make_cohort):
    cohort = make_cohort(1)
    area = auroc(cohort.labels, cohort.first)
    assert auroc(cohort.labels, np.exp(5 * cohort.first)) == area
    assert auroc(cohort.labels, -cohort.first) == pytest.approx(1 - area, abs=1e-15)
    assert auroc(1 - cohort.labels, cohort.first) == pytest.approx(1 - area, abs=1e-15)


def test_a_threshold_of_the_curve_gives_its_rates(make_cohort):
    cohort = make_cohort(2, decimals=1)
    for fpr, tpr, threshold in zip(*roc_curve(cohort.labels, cohort.first), strict=True):
        called = cohort.first >= threshold
        assert called[cohort.labels == 1].mean() == pytest.approx(tpr, abs=1e-15)
        assert called[cohort.labels == 0].mean() == pytest.approx(fpr, abs=1e-15)


@pytest.mark.parametrize("function", [auroc, roc_curve])
def test_nan_scores_are_refused(function):
    with pytest.raises(ValueError, match="scores must be finite, got nan at row 1"):
        function([0, 1], [0.5, np.nan])


def test_the_area_of_the_mean_curve_is_the_auroc_within_runs(make_cohort):
    cohort = make_cohort(4)
    runs = np.unique(cohort.patients, return_inverse=True)[1] % 3
    fpr, tpr = mean_roc_curve(cohort.labels, cohort.first, runs)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= -1e-12).all()
    expected = place(cohort.labels, cohort.first, cohort.patients, runs).aurocs[0]
    assert np.trapezoid(tpr, fpr) == pytest.approx(expected, abs=1e-12)
    alone, other = (
        mean_roc_curve(cohort.labels, cohort.first, np.zeros(len(runs))),
        roc_curve(cohort.labels, cohort.first),
    )
    assert np.interp(0.33, *alone) == pytest.approx(np.interp(0.33, *other[:2]))


def test_runs_of_one_class_have_no_mean_curve():
    assert [part.size for part in mean_roc_curve([1, 1, 0], [0.1, 0.2, 0.3], [0, 0, 1])] == [0, 0]
