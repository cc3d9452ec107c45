"""What a run's stored scores say: decisions at its operating point, and the metrics of each part."""

from collections.abc import Callable
from dataclasses import asdict, replace
from math import nan
from typing import Any

import polars as pl
from numpy.typing import NDArray

from fistula.evidence.aggregate import patient_scores
from fistula.evidence.estimate import json_number
from fistula.evidence.operating_point import OperatingPoint
from fistula.evidence.rates.counts import call_positive
from fistula.evidence.standard import standard_metrics

ChooseThreshold = Callable[[NDArray, NDArray], OperatingPoint]


def summarize(
    predictions: pl.DataFrame, *, classes: list[str], choose_threshold: ChooseThreshold, aggregation: str = "mean"
) -> dict[str, Any]:
    """Operating points and metrics of a run, computed from its stored scores in float64, for `run.json`.

    With two classes, one operating point is chosen on the slices of val, another on its patients, whose scores are
    made of their slices' by a rule stated beforehand; both are applied to test untouched. Where patients were scored,
    the two are one, and no metric is of slices. With more classes, each in turn is held against the rest, and has its
    own of everything, under its name; a patient is of the last class that a slice has.

    Scores are as in `predictions.parquet`, classes in the order of the labels, `aggregation` is of `aggregate.RULES`.

    Returns:
        ``operating_point``, ``aggregation``, ``patient_operating_point``, ``metrics`` by part, level and name (for more
        than two classes each by class first), and ``warnings``.
    """
    whole = predictions.with_columns(of_patient=pl.col("label").max().over("patient_key", "part"))
    if len(classes) == 2:
        return _summarize_binary(whole, choose_threshold, aggregation)
    one_vs_rest = {
        name: _summarize_binary(
            whole.with_columns((pl.col("label", "of_patient") == label).cast(pl.Int64), score=pl.col(f"score_{name}")),
            choose_threshold,
            aggregation,
        )
        for label, name in enumerate(classes)
    }
    by_class = {
        key: {name: summary[key] for name, summary in one_vs_rest.items()}
        for key in ("operating_point", "aggregation", "patient_operating_point", "metrics")
    }
    return by_class | {
        "warnings": [f"{name}: {text}" for name, summary in one_vs_rest.items() for text in summary["warnings"]]
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


def _summarize_binary(predictions: pl.DataFrame, choose_threshold: ChooseThreshold, aggregation: str) -> dict[str, Any]:
    parts = {part: predictions.filter(pl.col("part") == part) for part in ("val", "test")}
    of_slices = predictions["slice_key"].null_count() < len(predictions)
    point = choose_threshold(parts["val"]["label"].to_numpy(), parts["val"]["score"].to_numpy())
    of_patients = _choose_for_patients(parts["val"], choose_threshold, point, aggregation)
    return {
        "operating_point": _point(point),
        "aggregation": aggregation,
        "patient_operating_point": _point(of_patients),
        "metrics": {
            name: {
                **({"slice": _metrics(*_columns(part), threshold=point.threshold)} if of_slices else {}),
                "patient": _metrics(*_by_patient(part, aggregation), threshold=of_patients.threshold),
            }
            for name, part in parts.items()
        },
        "warnings": _constant(parts["test"], point.threshold, "slice" if of_slices else "patient"),
    }


def _choose_for_patients(
    val: pl.DataFrame, choose_threshold: ChooseThreshold, of_slices: OperatingPoint, aggregation: str
) -> OperatingPoint:
    """The operating point of a patient's score, from val alone.

    Where all patients of val are of one class (each has slices of both, say), nothing can be chosen on them: then it is
    the slices' threshold, on whose scale the mean is.
    """
    labels, scores, _ = _by_patient(val, aggregation)
    if labels.all() or not labels.any():
        return replace(of_slices, rule=f"{of_slices.rule}, by slice", sensitivity=nan, specificity=nan)
    return choose_threshold(labels, scores)


def _columns(part: pl.DataFrame) -> tuple[NDArray, NDArray, NDArray]:
    return part["label"].to_numpy(), part["score"].to_numpy(), part["patient_key"].to_numpy()


def _by_patient(part: pl.DataFrame, rule: str) -> tuple[NDArray, NDArray, NDArray]:
    labels, scores, patients = (part[name].to_numpy() for name in ("of_patient", "score", "patient_key"))
    keys, labels, scores = patient_scores(labels, scores, patients, rule=rule)
    return labels.astype(int), scores, keys


def _metrics(labels: NDArray, scores: NDArray, patients: NDArray, *, threshold: float) -> dict[str, Any]:
    found = standard_metrics(labels, scores, call_positive(scores, threshold).astype(int), patients)
    return {name: estimate.as_json() for name, estimate in found.items()}


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {name: json_number(value) for name, value in asdict(point).items()} | {"part": "val"}


def _constant(test: pl.DataFrame, threshold: float, scored: str) -> list[str]:
    positive = (test["score"] >= threshold).unique().to_list()
    if len(positive) > 1:
        return []
    return [f"constant prediction: all test {scored}s are classified as {'positive' if positive[0] else 'negative'}"]
