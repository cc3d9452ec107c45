from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fistula.predict.runs.familiar import known_patients, scored_patients
from fistula.predict.scores import group_scores, slice_scores


def run_of(classes=("0", "1"), threshold=0.5, patient_threshold=None, rule="mean"):
    return SimpleNamespace(
        classes=list(classes),
        threshold=threshold,
        patient_threshold=threshold if patient_threshold is None else patient_threshold,
        rule=lambda name: rule,
    )


def both(scores):
    scores = np.asarray(scores, dtype=float)
    return np.stack([1 - scores, scores], axis=-1)


TABLE = pl.DataFrame({"slice_key": list("abc"), "patient_key": ["p", "p", "q"]})


def test_a_run_of_its_own_decides_at_its_own_threshold():
    found = slice_scores(TABLE, both([[0.2, 0.3, 0.9]]), [run_of(threshold=0.3)])
    assert found["score"].to_list() == [0.2, 0.3, 0.9]
    assert found["decision"].to_list() == ["0", "1", "1"]
    assert found["score_low"].null_count() == 3


def test_an_ensemble_decides_by_the_mean_distance_from_the_runs_own_thresholds():
    runs = [run_of(threshold=0.9), run_of(threshold=0.1)]
    found = slice_scores(TABLE, both([[0.8, 0.95, 0.5], [0.15, 0.3, 0.0]]), runs)
    # a: -0.10 and +0.05; b: +0.05 and +0.20; c: -0.40 and -0.10
    assert found["decision"].to_list() == ["0", "1", "0"]
    assert found["score"].to_list() == pytest.approx([0.475, 0.625, 0.25])
    assert found["score_low"].to_list() == [0.15, 0.3, 0.0]
    assert found["score_high"].to_list() == [0.8, 0.95, 0.5]


@pytest.mark.parametrize(("rule", "expected"), [("mean", [0.5, 0.9]), ("max", [0.8, 0.9]), ("noisy_or", [0.84, 0.9])])
def test_a_patient_is_what_the_runs_rule_makes_of_its_slices(rule, expected):
    run = run_of(rule=rule, threshold=0.99, patient_threshold=0.6)
    found, aggregated = group_scores(TABLE, both([[0.2, 0.8, 0.9]]), [run], by="patient_key")
    assert found["patient_key"].to_list() == ["p", "q"]
    assert found["slices"].to_list() == [2, 1]
    assert found["score"].to_list() == pytest.approx(expected)
    assert found["decision"].to_list() == [str(int(value >= 0.6)) for value in expected]
    np.testing.assert_allclose(aggregated.sum(axis=2), 1)


def test_of_three_classes_the_likeliest_is_the_decision():
    probabilities = np.array([[[0.1, 0.3, 0.6], [0.5, 0.4, 0.1], [0.2, 0.5, 0.3]]])
    run = run_of(classes=("none", "low", "high"))
    slices = slice_scores(TABLE, probabilities, [run])
    assert slices["decision"].to_list() == ["high", "none", "low"]
    assert slices["score_high"].to_list() == [0.6, 0.1, 0.3]
    patients, _ = group_scores(TABLE, probabilities, [run], by="patient_key")
    assert patients["score_none"].to_list() == pytest.approx([0.3, 0.2])
    assert patients["decision"].to_list() == ["low", "low"]


def learned(patients, parts, *, labels=None, scores=None):
    """A run with one slice a patient; a part of None is what it trained on."""
    keys = [f"slice {index}" for index in range(len(patients))]
    manifest = pl.DataFrame({"slice_key": keys, "patient_key": patients})
    stored = manifest.with_columns(
        part=pl.Series(parts),
        copy=0,
        label=pl.Series(labels or [0] * len(keys)),
        score=pl.Series(scores or [0.5] * len(keys)),
    ).filter(pl.col("part").is_not_null())
    kept = manifest.filter(~pl.col("slice_key").is_in(stored["slice_key"].implode()))
    return SimpleNamespace(learned=kept, predictions=stored, **vars(run_of()))


def test_a_patient_is_known_by_what_gives_most_away():
    first = learned(["p", "p", "q", "r", "s"], [None, "test", "val", "test", "test"])
    second = learned(["p", "p", "q", "r", "s"], ["test", "test", "test", "val", "test"])
    assert known_patients([first, second]) == {
        "p": "trained on",
        "q": "validated on",
        "r": "validated on",
        "s": "tested on",
    }


def test_calibration_takes_each_runs_own_test_patients_and_every_patient_once():
    first = learned(["p", "q", "q"], ["test", "test", "test"], labels=[0, 0, 1], scores=[0.1, 0.2, 0.6])
    second = learned(["p", "q", "q"], ["test", "val", "val"], scores=[0.3, 0.5, 0.5])
    found = scored_patients([first, second]).calibration
    rows = sorted(zip(found.models, found.scores, found.labels, found.weights, strict=True))
    assert rows == [(0, pytest.approx(0.4), 1, 1.0), (0, 0.9, 0, 0.5), (1, 0.7, 0, 0.5)]


def test_of_three_classes_a_patient_is_known_for_the_last_that_a_slice_has():
    run = learned(["p", "q", "q"], ["test", "test", "test"], labels=[2, 0, 1])
    run.classes = ["none", "low", "high"]
    run.predictions = run.predictions.with_columns(
        score_none=pl.Series([0.1, 0.6, 0.2]),
        score_low=pl.Series([0.2, 0.3, 0.8]),
        score_high=pl.Series([0.7, 0.1, 0.0]),
    )
    found = scored_patients([run]).calibration
    assert found.labels.tolist() == [2, 1]
    np.testing.assert_allclose(found.scores, [0.7, 0.55])
    assert found.weights.tolist() == [1, 1]
