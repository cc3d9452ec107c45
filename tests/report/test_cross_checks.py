import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fistula.evidence.design.compare import mcnemar
from fistula.report.sections.cross_checks import PAIR_CHECKS, pair_checks


@pytest.fixture
def checks():
    """Twelve patients of three slices; the first model finds what the second misses, and both raise no alarm."""
    patients = np.repeat([f"p{number}" for number in range(12)], 3)
    labels = np.repeat(np.arange(12) % 2, 3)
    first, second = labels.copy(), labels.copy()
    second[labels == 1] = np.arange(18) % 3 > 0
    scores = np.linspace(0, 1, 36), np.linspace(1, 0, 36) ** 2
    found = pair_checks(labels, scores, (first, second), patients, np.zeros(36), resamples=100)
    return found, (labels, first, second, patients)


def test_each_check_stands_under_the_name_of_its_method(checks):
    found, (labels, first, second, _) = checks
    rows = labels == 1
    assert tuple(found) == PAIR_CHECKS
    assert found["sensitivity, McNemar exact"].p_value == mcnemar(first[rows], second[rows]).p_value == 2 / 2**6
    assert found["specificity, McNemar exact"].p_value == 1
    areas = [roc_auc_score(labels, scores) for scores in (np.arange(36), -np.arange(36))]
    assert found["AUROC, bootstrap"].difference.value == pytest.approx(areas[0] - areas[1])
