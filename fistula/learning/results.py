"""What a run's stored scores say: decisions at its operating point, and the metrics of each part."""

from collections.abc import Callable
from dataclasses import asdict
from math import isnan
from typing import Any

import polars as pl
from numpy.typing import NDArray

from fistula.evidence.aggregate import patient_scores
from fistula.evidence.estimate import Estimate
from fistula.evidence.operating_point import OperatingPoint
from fistula.evidence.standard import standard_metrics

PATIENT_RULE = "mean"  # a patient's score is the mean of the slices'
ChooseThreshold = Callable[[NDArray, NDArray], OperatingPoint]


def summarize(predictions: pl.DataFrame, *, classes: list[str], choose_threshold: ChooseThreshold) -> dict[str, Any]:
    """Operating points and metrics of a run, computed from its stored scores in float64, for `run.json`.

    With two classes, the operating point is chosen on the slices of val and applied to test. With more, each class
    in turn is held against the rest, and has an operating point and metrics of its own, under its name.

    Args:
        predictions: As in `predictions.parquet`.
        classes: Names in the order of the labels.
        choose_threshold: Called with labels and scores of val.

    Returns:
        ``operating_point``, ``metrics`` by part, level and name (for more than two classes each by class first), and
        ``warnings``.
    """
    if len(classes) == 2:
        return _summarize_binary(predictions, choose_threshold)
    one_vs_rest = {
        name: _summarize_binary(
            predictions.with_columns((pl.col("label") == label).cast(pl.Int64), score=pl.col(f"score_{name}")),
            choose_threshold,
        )
        for label, name in enumerate(classes)
    }
    return {
        "operating_point": {name: summary["operating_point"] for name, summary in one_vs_rest.items()},
        "metrics": {name: summary["metrics"] for name, summary in one_vs_rest.items()},
        "warnings": [f"{name}: {text}" for name, summary in one_vs_rest.items() for text in summary["warnings"]],
    }


def flat_metrics(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Values alone, by ``part/level/name``; NaN where undefined."""
    flat: dict[str, float] = {}
    for key, node in metrics.items():
        if "value" in node:
            flat[f"{prefix}{key}"] = float("nan") if node["value"] is None else node["value"]
        else:
            flat |= flat_metrics(node, f"{prefix}{key}/")
    return flat


def _summarize_binary(predictions: pl.DataFrame, choose_threshold: ChooseThreshold) -> dict[str, Any]:
    val = predictions.filter(pl.col("part") == "val")
    point = choose_threshold(val["label"].to_numpy(), val["score"].to_numpy())
    metrics = {part: _metrics(predictions.filter(pl.col("part") == part), point.threshold) for part in ("val", "test")}
    return {
        "operating_point": {name: _json(value) for name, value in asdict(point).items()} | {"part": "val"},
        "metrics": metrics,
        "warnings": _constant(predictions.filter(pl.col("part") == "test"), point.threshold),
    }


def _metrics(part: pl.DataFrame, threshold: float) -> dict[str, Any]:
    labels, scores, patients = (part[name].to_numpy() for name in ("label", "score", "patient_key"))
    keys, patient_labels, means = patient_scores(labels, scores, patients, rule=PATIENT_RULE)

    def called(values: NDArray) -> NDArray:
        return (values >= threshold).astype(int)

    return {
        "slice": _estimates(standard_metrics(labels, scores, called(scores), patients)),
        "patient": _estimates(standard_metrics(patient_labels.astype(int), means, called(means), keys)),
    }


def _constant(test: pl.DataFrame, threshold: float) -> list[str]:
    positive = (test["score"] >= threshold).unique().to_list()
    if len(positive) > 1:
        return []
    return [f"constant prediction: every test slice is called {'positive' if positive[0] else 'negative'}"]


def _estimates(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: {key: _json(value) for key, value in asdict(e).items()} for name, e in estimates.items()}


def _json(value: Any) -> Any:
    """JSON has no NaN: an undefined number is null, beside its reason."""
    return None if isinstance(value, float) and isnan(value) else value
