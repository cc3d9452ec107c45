import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fistula.evidence.operating_point import youden
from fistula.learning.training.results import flat_metrics, summarize


def predictions(val_scores, test_scores, labels):
    """Two slices a patient, the same labels in val and test."""
    patients = [f"p{index // 2}" for index in range(len(labels))]
    parts = {"val": (val_scores, "v"), "test": (test_scores, "t")}
    return pl.concat(
        pl.DataFrame(
            {
                "slice_key": [f"{prefix}{index}" for index in range(len(labels))],
                "patient_key": [prefix + patient for patient in patients],
                "part": [part] * len(labels),
                "label": labels,
                "score": scores,
            }
        )
        for part, (scores, prefix) in parts.items()
    )


LABELS = [0, 0, 0, 0, 1, 1, 1, 1]
VAL = [0.1, 0.2, 0.3, 0.2, 0.6, 0.7, 0.9, 0.8]
TEST = [0.1, 0.5, 0.2, 0.3, 0.9, 0.4, 0.6, 0.7]


def test_the_threshold_comes_from_val_and_is_applied_to_test_untouched():
    summary = summarize(predictions(VAL, TEST, LABELS), classes=["0", "1"], choose_threshold=youden)
    assert summary["operating_point"]["threshold"] == pytest.approx(0.45)  # halfway from 0.3 to 0.6
    metrics = flat_metrics(summary["metrics"])
    # Worked by hand at 0.45: 3 of 4 positives, 3 of 4 negatives.
    assert metrics["test/slice/sensitivity"] == 0.75
    assert metrics["test/slice/specificity"] == 0.75
    assert metrics["test/slice/balanced_accuracy"] == 0.75
    assert metrics["test/slice/auroc"] == pytest.approx(roc_auc_score(LABELS, TEST))
    assert metrics["val/slice/auroc"] == 1.0


def test_patients_are_scored_by_the_mean_of_their_slices_unless_told_otherwise():
    summary = summarize(predictions(VAL, TEST, LABELS), classes=["0", "1"], choose_threshold=youden)
    means = np.array(TEST).reshape(-1, 2).mean(axis=1)
    assert summary["aggregation"] == "mean"
    assert flat_metrics(summary["metrics"])["test/patient/auroc"] == pytest.approx(roc_auc_score([0, 0, 1, 1], means))


def test_the_threshold_of_patients_is_chosen_on_the_patients_of_val_by_the_rule_stated_beforehand():
    """On val a positive patient has one high slice, which the mean misses; on test the mean would be the better."""
    val, test = [0.5, 0.6, 0.6, 0.5, 0.1, 0.9, 0.0, 0.8], [0.1, 0.8, 0.8, 0.1, 0.7, 0.7, 0.7, 0.6]
    table = predictions(val, test, LABELS)
    summary = summarize(table, classes=["0", "1"], choose_threshold=youden, aggregation="max")
    assert summary["aggregation"] == "max"
    # Highest of the patients of val: 0.6 and 0.6 against 0.9 and 0.8; halfway is 0.7.
    assert summary["patient_operating_point"]["threshold"] == pytest.approx(0.7)
    metrics = flat_metrics(summary["metrics"])
    assert metrics["test/patient/auroc"] == 0.0
    assert metrics["test/patient/sensitivity"] == 1.0  # 0.7 and 0.7 reach it
    assert metrics["test/patient/specificity"] == 0.0
    said = summarize(table, classes=["0", "1"], choose_threshold=youden)
    assert said["aggregation"] == "mean"
    assert flat_metrics(said["metrics"])["test/patient/auroc"] == 1.0


@pytest.mark.parametrize("aggregation", ["mean", "noisy_or"])
def test_nothing_that_test_holds_moves_what_is_chosen(aggregation):
    random = np.random.default_rng(0)
    chosen = []
    for _ in range(3):
        table = predictions(VAL, random.permutation(TEST).tolist(), LABELS)
        flipped = pl.when(pl.col("part") == "test").then(1 - pl.col("label")).otherwise(pl.col("label"))
        for rows in (table, table.with_columns(label=flipped)):
            summary = summarize(rows, classes=["0", "1"], choose_threshold=youden, aggregation=aggregation)
            chosen.append({key: summary[key] for key in ("operating_point", "aggregation", "patient_operating_point")})
    assert all(choice == chosen[0] for choice in chosen)
    assert chosen[0]["patient_operating_point"]["part"] == "val"


def test_where_every_patient_of_val_is_positive_the_slices_threshold_serves_for_their_mean():
    table = predictions(VAL, TEST, [0, 1, 0, 1, 0, 1, 0, 1])
    summary = summarize(table, classes=["0", "1"], choose_threshold=youden)
    assert summary["aggregation"] == "mean"
    assert summary["patient_operating_point"]["threshold"] == summary["operating_point"]["threshold"]
    assert summary["patient_operating_point"]["rule"] == "youden, by slice"
    assert summary["patient_operating_point"]["sensitivity"] is None


@pytest.mark.parametrize(("score", "word"), [(0.9, "positive"), (0.1, "negative")])
def test_a_constant_prediction_is_named(score, word):
    """Row 8 of the paper's table calls every slice positive: sensitivity 100, specificity 0."""
    summary = summarize(predictions(VAL, [score] * 8, LABELS), classes=["0", "1"], choose_threshold=youden)
    assert summary["warnings"] == [f"constant prediction: all test slices are classified as {word}"]
    assert flat_metrics(summary["metrics"])["test/slice/balanced_accuracy"] == 0.5


def test_an_undefined_metric_is_null_with_its_reason_and_not_a_number_in_the_flat_form():
    only_negative = predictions(VAL, TEST, LABELS).filter((pl.col("part") == "val") | (pl.col("label") == 0))
    summary = summarize(only_negative, classes=["0", "1"], choose_threshold=youden)
    auroc = summary["metrics"]["test"]["slice"]["auroc"]
    assert auroc["value"] is None
    assert "positive" in auroc["reason"]
    assert np.isnan(flat_metrics(summary["metrics"])["test/slice/auroc"])


def test_more_classes_are_each_held_against_the_rest():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 4)
    table = predictions([0.0] * 12, [0.0] * 12, labels.tolist()).drop("score")
    scores = random.dirichlet(np.ones(3), size=24)
    names = ["none", "simple", "complex"]
    table = table.with_columns(**{f"score_{name}": scores[:, index] for index, name in enumerate(names)})
    summary = summarize(table, classes=names, choose_threshold=youden)
    metrics = flat_metrics(summary["metrics"])
    for index, name in enumerate(names):
        assert metrics[f"{name}/test/slice/auroc"] == pytest.approx(roc_auc_score(labels == index, scores[12:, index]))
