"""What the methods paragraph says of a study: its splits and intensities, and what was chosen how."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from fistula.report.study import Configuration, Study

RULES = {"mean": "mean", "max": "highest", "top_k": "mean of the three highest", "noisy_or": "noisy-or"}


def read_coverage() -> dict[str, Any]:
    """How often intervals cover the true value, as `benchmarks/coverage.py` found and wrote it."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("coverage.json").read_text(encoding="utf-8"))
    return found


def splits(study: Study) -> list[tuple[str, str]]:
    """Name and fingerprint of each split, once."""
    found = {(str(c.factors.get("split", "split")), c.split): None for c in study.configurations}
    return list(found)


def validated(study: Study) -> list[tuple[int, int]]:
    """Of each run, how many patients its validation set has, and how many of them are of the rarest class there."""
    found = []
    for run in study.runs:
        rows = run.predictions.filter(pl.col("part") == "val").group_by("patient_key").agg(pl.col("label").max())
        by_class = [len(rows.filter(pl.col("label") == label)) for label in range(len(study.cohort.classes))]
        if len(rows):
            found.append((len(rows), min(by_class)))
    return found


def say_sets(study: Study) -> tuple[str, str]:
    """In words, on how many patients each run was trained, and on how many it was validated; empty if not known."""
    trained = [run.record["train_patients"] for run in study.runs if run.record.get("train_patients")]
    held = validated(study)
    of_rarest = f"{_span([rarest for _, rarest in held])} of the smallest class" if held else ""
    return (
        f"{_span(trained)} patients" if trained else "",
        f"{_span([patients for patients, _ in held])} patients, {of_rarest}" if held else "",
    )


def _span(numbers: list[int]) -> str:
    """A number, or the least and the greatest of several.

    Example:
        >>> _span([7, 7]), _span([30, 29])
        ('7', '29 to 30')
    """
    return f"{min(numbers)}" if len(set(numbers)) == 1 else f"{min(numbers)} to {max(numbers)}"


def say_scored(study: Study) -> tuple[str, bool, bool]:
    """What has a score of its own, in words; whether slices make some of them; whether networks score patients."""
    levels = {configuration.levels[0] for configuration in study.configurations}
    words = " and ".join(f"{level}s" for level in sorted(levels, reverse=True))
    return words, "slice" in levels, "patient" in levels


def say_intensity(recorded: object) -> str:
    """How intensities were mapped, as the cohort's record says it: a name, or a name with its settings."""
    if not isinstance(recorded, dict):
        return f"intensity {recorded}"
    settings = ", ".join(f"{key} {value}" for key, value in recorded.items() if key != "_target_")
    name = str(recorded.get("_target_", "mapping")).rpartition(".")[2]
    return f"intensity {name} ({settings})" if settings else f"intensity {name}"


def is_fixed(study: Study) -> bool:
    """Whether no threshold was chosen: a score of 0.5 decides in every run."""
    return threshold_rules(study) == ["argmax"]


def say_epoch(study: Study) -> str:
    """Which epoch of a run was scored."""
    watched = {str(run.record["identity"].get("checkpoint.monitor", "")) for run in study.runs}
    if watched == {"epoch"}:
        return "the last epoch"
    best = "the best epoch on validation data"
    return f"{best}, or the last one where a run was set to that," if "epoch" in watched else best


def threshold_rules(study: Study) -> list[str]:
    """What chose the operating points, once each."""
    points = [run.record["operating_point"] for run in study.runs]
    if len(study.cohort.classes) > 2:
        points = [point for by_class in points for point in by_class.values()]
    return sorted({str(point.get("rule", "rule not recorded")) for point in points})


def say_aggregation(study: Study, configuration: Configuration, positive: str) -> str:
    """How a configuration's runs make a patient's score of its slices': a rule, or each with how many runs have it."""
    if "slice" not in configuration.levels:
        return "the network's own"
    counts = Counter(RULES[study.aggregation(run, positive)] for run in configuration.runs)
    if len(counts) == 1:
        return next(iter(counts))
    return (
        ", ".join(f"{rule} in {count}" for rule, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        + f" of {len(configuration.runs)} runs"
    )
