"""The model card: what a network is, what it learned from, how well it does, and what it is not for."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from fistula.evidence.estimate import Estimate
from fistula.predict.runs.model import LoadedRun
from fistula.viewer.page import template

SHOWN = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "brier")


def model_card(runs: Sequence[LoadedRun], export: dict[str, Any] | None = None) -> str:
    """Markdown from what the runs and their cohort recorded; of an exported model also what `export.json` holds."""
    run, slices = runs[0], runs[0].cohort.labelled
    sites, scanners = (", ".join(sorted(set(slices[name].drop_nulls()))) for name in ("site", "scanner"))
    card = template("predict", "model_card.md").render(
        runs=runs,
        first=run,
        export=export,
        slices=slices,
        mean="" if len(runs) == 1 else f": the mean of its {len(runs)} runs'",
        ingested=_say_ingest(run.cohort.record),
        counts=", ".join(f"{name}: {int((slices['label'] == i).sum())}" for i, name in enumerate(run.classes)),
        sites=sites or "not stated",
        scanners=scanners or "not stated",
        splits=map(_say_split, runs),
        metrics=[row for run in runs for row in _metrics(run)],
    )
    return card + "\n"


def _say_ingest(ingest: dict[str, Any]) -> str:
    intensity = ingest.get("intensity", {})
    named = (
        str(intensity.get("_target_", "not recorded")).rpartition(".")[2] if isinstance(intensity, dict) else intensity
    )
    return f"{ingest.get('spacing_mm', '?')} mm a pixel, intensity {named}"


def _say_split(run: LoadedRun) -> str:
    audit = run.record.get("audit") or {}
    leak = f" **The audit of this split found leaks ({audit['verdict']}).**" if audit.get("is_marked") else ""
    if run.record.get("leaky_by_design"):
        leak = " **Leaky by design: patients overlap between sets.**"
    stored = run.predictions.group_by("part").agg(pl.col("patient_key").n_unique()).sort("part", descending=True)
    learned = run.learned["patient_key"].n_unique()
    parts = ", ".join([f"train {learned}", *(f"{part} {count}" for part, count in stored.iter_rows())])
    split = f"{run.record['factors'].get('split')}, fold {run.record['fold']}"
    return f"Split of `{run.name}`: {split}; patients by set: {parts}.{leak}"


def _metrics(run: LoadedRun) -> Iterator[tuple[str, str, str, str]]:
    metrics = run.record["metrics"]
    for name, parts in ({"": metrics} if "test" in metrics else metrics).items():
        for level, found in parts["test"].items():
            for metric in SHOWN:
                if metric in found:
                    yield run.name, f"{name} {level}".strip(), metric, str(Estimate.of_json(found[metric]))
