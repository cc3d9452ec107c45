"""Judge: scikit-learn's measures of the rows without each patient in turn."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t as student
from sklearn import metrics

from fistula.evidence import jackknife
from fistula.evidence.jackknife import patient_jackknife
from fistula.evidence.weighted import STATISTICS, gather

MEASURES = ("average_precision", "partial_auroc", "f1", "matthews")
JUDGES = {
    "average_precision": lambda labels, scores: metrics.average_precision_score(labels, scores),
    "partial_auroc": lambda labels, scores: metrics.roc_auc_score(labels, scores, max_fpr=0.2),
    "f1": lambda labels, scores: metrics.f1_score(labels, scores >= 0.5),
    "matthews": lambda labels, scores: metrics.matthews_corrcoef(labels, scores >= 0.5),
}


@pytest.fixture
def study():
    """30 patients of 4 slices, of whom 12 have positive ones."""
    random, patients = np.random.default_rng(4), np.repeat(np.arange(30), 4)
    labels = (patients < 12).astype(int)
    return labels, expit(random.normal(size=30)[patients] + random.normal(size=120) + 2 * labels - 1), patients


@pytest.mark.parametrize("name", MEASURES)
def test_values_and_intervals_are_those_of_scikit_learn_without_each_patient_in_turn(study, name):
    labels, scores, patients = study
    judge, floor = JUDGES[name], -1.0 if name == "matthews" else 0.0
    found = patient_jackknife(*study, threshold=0.5, statistics=[name])[name]
    value = judge(labels, scores)
    assert found.value == pytest.approx(value)
    kept = [patients != patient for patient in range(30)]
    logits = logit((np.array([judge(labels[rows], scores[rows]) for rows in kept]) - floor) / (1 - floor))
    parts = logits[:12], logits[12:]
    error = np.sqrt(sum((len(part) - 1) * np.var(part) for part in parts))
    ends = logit((value - floor) / (1 - floor)) + np.array([-1, 1]) * student.ppf(0.975, 29) * error
    assert (found.low, found.high) == pytest.approx(tuple(floor + (1 - floor) * expit(ends)))


def test_average_precision_of_few_patients_is_covered():
    """40 patients, 8 of them positive, of one slice: percentiles of a bootstrap cover in 83% to 89%; 400 intervals."""

    def draw(patients):
        labels = (np.arange(patients) < patients / 5).astype(int)
        return labels, random.normal(size=patients) + 1.466 * labels, np.arange(patients)

    random = np.random.default_rng(0)
    whole = gather(*draw(100_000), threshold=None, statistics=["average_precision"])
    truth = STATISTICS["average_precision"](whole, np.ones((1, 100_000)))[0]
    drawn = [patient_jackknife(*draw(40), threshold=None, statistics=["average_precision"]) for _ in range(400)]
    found = [one["average_precision"] for one in drawn]
    assert 0.93 < np.mean([one.low <= truth <= one.high for one in found]) < 0.99


def test_of_many_patients_groups_are_left_out_with_about_the_same_result(study, monkeypatch):
    random, patients = np.random.default_rng(1), np.arange(900)
    labels = (patients < 300).astype(int)
    scores = random.normal(size=900) + labels
    (one, _), (grouped, _) = (
        patient_jackknife(labels, scores, patients, threshold=0.5, statistics=MEASURES[::2]).values()
        for _ in (monkeypatch.setattr(jackknife, "_GROUPS", 900), monkeypatch.setattr(jackknife, "_GROUPS", 100))
    )
    assert grouped.value == one.value
    assert grouped.high - grouped.low == pytest.approx(one.high - one.low, rel=0.15)


def test_copied_slices_and_the_order_of_rows_change_nothing(study):
    labels, scores, patients = study
    once = patient_jackknife(*study, threshold=0.5, statistics=MEASURES)
    mixed = np.random.default_rng(0).permutation(np.repeat(np.arange(120), 5))
    other = patient_jackknife(labels[mixed], scores[mixed], patients[mixed], threshold=0.5, statistics=MEASURES)
    for name in MEASURES:
        assert (other[name].value, other[name].low, other[name].high) == pytest.approx(
            (once[name].value, once[name].low, once[name].high)
        )


@pytest.mark.parametrize(
    ("labels", "scores", "name", "said"),
    [
        pytest.param([1, 1, 0, 0], [4, 3, 2, 1], "average_precision", "1.000 (n/a: no variability", id="perfect"),
        pytest.param([1, 1, 0, 0], [1, 1, 1, 1], "average_precision", "0.500 (n/a: no variability", id="constant"),
        pytest.param([1, 1, 1, 1], [1, 2, 3, 4], "f1", "0.857 (n/a: no negatives)", id="no negatives"),
        pytest.param([1, 0, 0, 0], [1, 2, 3, 4], "f1", "all positives are of one patient", id="one positive"),
        pytest.param([0, 0, 0, 0], [1, 2, 3, 4], "average_precision", "n/a: no positives", id="no positives"),
        pytest.param([1, 1, 0, 0], [1, 1, 1, 4], "matthews", "undefined without some of the patients", id="one calls"),
    ],
)
def test_what_has_no_interval_says_why(labels, scores, name, said):
    assert said in str(patient_jackknife(labels, scores, range(4), threshold=2, statistics=[name])[name])


def test_the_only_patient_with_slices_of_both_classes_still_counts_for_the_spread():
    labels, patients = np.array([1, 0, 1, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 2, 3, 4, 5, 6])
    scores = np.array([1, 8, 7, 9, 6, 2, 3, 4.0])
    found = patient_jackknife(labels, scores, patients, threshold=None, statistics=["average_precision"])
    assert found["average_precision"].low < 0.5 < found["average_precision"].value
