import numpy as np
import pytest

from fistula.evidence.inputs import (
    check_labels,
    check_probabilities,
    check_scores,
    class_reason,
    patient_codes,
    sum_by_patient,
)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        pytest.param(lambda: check_labels([0, 2]), "labels must be 0 or 1, got 2 at row 1", id="a third class"),
        pytest.param(lambda: check_labels([0.0, np.nan]), "labels must be 0 or 1, got nan at row 1", id="no label"),
        pytest.param(lambda: check_labels([[0, 1]]), r"labels must be one-dimensional, got shape \(1, 2\)", id="shape"),
        pytest.param(lambda: check_scores([0.1, np.nan], rows=2), "scores must be finite, got nan at row 1", id="NaN"),
        pytest.param(lambda: check_scores([np.inf], rows=1), "scores must be finite, got inf at row 0", id="infinite"),
        pytest.param(lambda: check_scores([0.1], rows=2), r"scores must have shape \(2,\) .* got \(1,\)", id="length"),
        pytest.param(lambda: check_probabilities([1.5], rows=1), r"must be in \[0, 1\], got 1.5 at row 0", id="logit"),
        pytest.param(lambda: patient_codes(["a"], rows=2), r"patients must have shape \(2,\)", id="patients"),
    ],
)
def test_what_may_not_enter_is_refused_by_name_and_row(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_labels_may_be_booleans_integers_or_floats():
    for kind in (bool, np.int64, np.float32):
        assert check_labels(np.array([0, 1, 1], dtype=kind)).tolist() == [False, True, True]


def test_sums_go_to_the_patient_of_each_row():
    keys, codes = patient_codes(["b", "a", "b"], rows=3)
    assert keys.tolist() == ["a", "b"]
    assert sum_by_patient(np.array([1.0, 2.0, 4.0]), codes, patients=2).tolist() == [2.0, 5.0]


@pytest.mark.parametrize(
    ("labels", "reason"), [([], "no rows"), ([0, 0], "no positives"), ([1], "no negatives"), ([0, 1], "")]
)
def test_a_missing_class_is_named(labels, reason):
    assert class_reason(np.array(labels, dtype=bool)) == reason
