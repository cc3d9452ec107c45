import numpy as np
import pytest
from sklearn import metrics

from fistula.evidence.weighted import STATISTICS, gather, roc_heights

JUDGES = {
    "auroc": lambda labels, scores, called: metrics.roc_auc_score(labels, scores),
    "average_precision": lambda labels, scores, called: metrics.average_precision_score(labels, scores),
    "partial_auroc": lambda labels, scores, called: metrics.roc_auc_score(labels, scores, max_fpr=0.2),
    "sensitivity": lambda labels, scores, called: metrics.recall_score(labels, called),
    "specificity": lambda labels, scores, called: metrics.recall_score(labels, called, pos_label=0),
    "balanced_accuracy": lambda labels, scores, called: metrics.balanced_accuracy_score(labels, called),
    "f1": lambda labels, scores, called: metrics.f1_score(labels, called),
    "matthews": lambda labels, scores, called: metrics.matthews_corrcoef(labels, called),
}


def test_every_statistic_has_a_judge():
    assert set(JUDGES) == set(STATISTICS)


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("decimals", [1, 6], ids=["ties", "no ties"])
def test_weights_are_the_same_as_repeated_patients(make_cohort, name, decimals):
    cohort = make_cohort(3, decimals=decimals)
    keys, codes = np.unique(cohort.patients, return_inverse=True)
    weights = np.random.default_rng(0).integers(0, 4, size=(6, len(keys)))
    rows = gather(cohort.labels, cohort.first, cohort.patients, threshold=0.5, statistics=[name])
    found = STATISTICS[name](rows, weights.astype(float))
    for value, row in zip(found, weights, strict=True):
        chosen = np.repeat(np.arange(len(codes)), row[codes])
        labels, scores = cohort.labels[chosen], cohort.first[chosen]
        assert value == pytest.approx(JUDGES[name](labels, scores, scores >= 0.5), abs=1e-12)


@pytest.mark.parametrize("model", ["first", "second"])
def test_the_partial_auroc_matches_stored_values_of_r(reference, model):
    rows, values = reference
    gathered = gather(rows.labels, getattr(rows, model), np.arange(80), threshold=None, statistics=["partial_auroc"])
    found = STATISTICS["partial_auroc"](gathered, np.ones((1, 80)))[0]
    assert found == pytest.approx(values[f"partial_standard_{model}"], abs=1e-12)


@pytest.mark.parametrize("name", JUDGES)
def test_statistics_of_no_rows_are_nan(name):
    rows = gather([], [], [], threshold=0.5, statistics=[name])
    assert np.isnan(STATISTICS[name](rows, np.ones((2, 0)))).all()


def test_blocks_do_not_change_the_result(make_cohort, monkeypatch):
    cohort = make_cohort(3)
    rows = gather(cohort.labels, cohort.first, cohort.patients, threshold=None, statistics=["auroc"])
    weights = np.random.default_rng(0).integers(1, 4, size=(7, len(rows.strata))).astype(float)
    whole = STATISTICS["auroc"](rows, weights), roc_heights(rows, weights, np.array([0.2, 0.4]))
    monkeypatch.setattr("fistula.evidence.weighted._BLOCK", 3 * len(rows.labels))
    np.testing.assert_array_equal(STATISTICS["auroc"](rows, weights), whole[0])
    np.testing.assert_array_equal(roc_heights(rows, weights, np.array([0.2, 0.4])), whole[1])


def test_patients_are_put_in_the_class_of_their_rows():
    rows = gather([0, 1, 0, 1, 1], [0.1] * 5, ["n", "b", "b", "p", "p"], threshold=None, statistics=["auroc"])
    assert dict(zip(["b", "n", "p"], rows.strata.tolist(), strict=True)) == {"n": 0, "b": 1, "p": 2}


@pytest.mark.parametrize("name", ["auroc", "average_precision", "partial_auroc"])
def test_ranks_are_taken_within_runs(make_cohort, name):
    cohort = make_cohort(5)
    runs = np.unique(cohort.patients, return_inverse=True)[1] % 2
    whole = gather(cohort.labels, cohort.first, cohort.patients, runs, threshold=None, statistics=[name])
    parts, pairs = [], []
    for run in (0, 1):
        labels, scores = cohort.labels[runs == run], cohort.first[runs == run]
        parts.append(JUDGES[name](labels, scores, None))
        pairs.append(labels.sum() * (1 - labels).sum())
    found = STATISTICS[name](whole, np.ones((1, len(whole.strata))))[0]
    assert found == pytest.approx(np.average(parts, weights=pairs))
