import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from fistula.evidence.standard import METRICS, standard_metrics


def cohort(seed=0):
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(30), 5)
    labels = (patients < 15).astype(int)
    scores = labels + random.normal(size=30)[patients] + random.normal(size=150)
    return labels, scores, (scores > 0.4).astype(int), patients


def test_values_are_those_of_an_independent_library():
    labels, scores, called, patients = cohort()
    found = {name: estimate.value for name, estimate in standard_metrics(labels, scores, called, patients).items()}
    assert tuple(found) == METRICS
    assert found == {
        "sensitivity": pytest.approx(recall_score(labels, called)),
        "specificity": pytest.approx(recall_score(1 - labels, 1 - called)),
        "balanced_accuracy": pytest.approx(balanced_accuracy_score(labels, called)),
        "auroc": pytest.approx(roc_auc_score(labels, scores)),
    }


def test_every_interval_holds_its_value_and_is_wider_than_if_slices_were_patients():
    labels, scores, called, patients = cohort()
    clustered = standard_metrics(labels, scores, called, patients)
    naive = standard_metrics(labels, scores, called, np.arange(len(labels)))
    for name in METRICS:
        assert clustered[name].low < clustered[name].value < clustered[name].high
        assert clustered[name].high - clustered[name].low > naive[name].high - naive[name].low


def test_one_class_leaves_what_needs_both_undefined_with_the_reason():
    found = standard_metrics([1, 1], [0.2, 0.3], [0, 1], ["a", "b"])
    assert found["sensitivity"].value == 0.5
    assert str(found["specificity"]).startswith("n/a: ")
    assert str(found["auroc"]).startswith("n/a: no negatives")
