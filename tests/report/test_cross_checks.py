import numpy as np
import pytest

from fistula.evidence.compare import clustered_mcnemar, mcnemar
from fistula.report.cross_checks import PAIR_CHECKS, pair_checks


@pytest.fixture
def checks():
    """Twelve patients of three slices; the first model finds what the second misses, and both raise no alarm."""
    patients = np.repeat([f"p{number}" for number in range(12)], 3)
    labels = np.repeat(np.arange(12) % 2, 3)
    first, second = labels.copy(), labels.copy()
    second[labels == 1] = np.arange(18) % 3 > 0
    by_patient = np.arange(12) % 2, np.linspace(0, 1, 12), np.linspace(1, 0, 12) ** 2, np.unique(patients)
    return pair_checks(by_patient, (labels, first, second, patients)), (labels, first, second, patients)


def test_each_check_stands_under_the_name_of_its_method(checks):
    found, (labels, first, second, patients) = checks
    rows = labels == 1
    durkalski = clustered_mcnemar(first[rows], second[rows], patients[rows], method="durkalski")
    assert tuple(found) == PAIR_CHECKS
    assert found["sensitivity, Durkalski"].p_value == durkalski.p_value < 0.05
    assert found["sensitivity, McNemar mid-p"].p_value == mcnemar(first[rows], second[rows], method="mid_p").p_value
    assert found["sensitivity, bootstrap percentile"].difference.value == pytest.approx(1 / 3)
    assert found["specificity, bootstrap percentile"].difference.value == 0
    assert found["AUROC, DeLong"].difference.value == pytest.approx(
        found["AUROC, bootstrap percentile"].difference.value
    )


def test_where_the_models_never_differ_a_check_says_so(checks):
    found, _ = checks
    assert found["specificity, Durkalski"].difference.reason == "the models do not differ in any patient"
    assert np.isnan(found["specificity, Durkalski"].p_value)
