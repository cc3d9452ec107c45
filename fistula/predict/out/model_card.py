"""The model card: what a network is, what it learned from, how well it does, and what it is not for."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from fistula.evidence.estimate import Estimate
from fistula.predict.runs.model import LoadedRun

GIVEN, ALSO = ("positions", "covariates"), ("weights", "alone")
SHOWN = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "brier")


def model_card(runs: Sequence[LoadedRun], export: dict[str, Any] | None = None) -> str:
    """Markdown from what the runs and their cohort recorded; nothing in it is written by hand.

    Of an exported model it holds what `export.json` does.

    Source:
        Mitchell et al. (2019), Model cards for model reporting, FAT*.
    """
    run = runs[0]
    record = run.record
    manifest = run.cohort.labelled
    sites = ", ".join(sorted(set(manifest["site"].drop_nulls()))) or "not stated"
    scanners = ", ".join(sorted(set(manifest["scanner"].drop_nulls()))) or "not stated"
    counts = ", ".join(f"{name}: {int((manifest['label'] == i).sum())}" for i, name in enumerate(run.classes))
    mean = "" if len(runs) == 1 else f": the mean of its {len(runs)} runs'"
    lines = [
        f"# {run.name if len(runs) == 1 else f'Ensemble of {len(runs)} runs: ' + run.name.partition('-fold')[0]}",
        "",
        "**Not a medical device.** For research only; its output must not be used for decisions about patients.",
        "",
        "## Model",
        "",
        f"- Network: {run.config.model.architecture}, weights before training: {record.get('weights', 'not recorded')}",
        *_graph(run, export, mean=mean),
        *(
            f"- Run `{run.name}`: fingerprint `{run.record['fingerprint']}`,"
            f" weights SHA-256 `{run.record['checkpoint_sha256']}`"
            for run in runs
        ),
        f"- Made with: {', '.join(f'{name} {text}' for name, text in record.get('versions', {}).items())}",
        *([] if export is None else [_parity(export, of="runs" if mean else "run")]),
        "",
        "## Training data",
        "",
        f"- {len(manifest)} slices of {manifest['patient_key'].n_unique()} patients ({counts})",
        f"- Sites: {sites}; scanners: {scanners}",
        f"- Cohort fingerprint: `{run.cohort.fingerprint}`",
        *(f"- {_say_split(run)}" for run in runs),
        "",
        "## Performance",
        "",
        *(
            []
            if len(runs) == 1
            else [
                "**Each run by itself, not the ensemble: some of its runs may know a patient of the cohort.**",
                "",
            ]
        ),
        "On the test set of each run; 95% CIs treat patients as independent, and the threshold was chosen on validation"
        " data.",
        "",
        "| run | level | metric | value |",
        "| --- | --- | --- | --- |",
        *(row for run in runs for row in _metrics(run)),
        "",
        *([] if export is None else _int8(export)),
        "## Not intended for",
        "",
        "- Other sequences, planes, body regions or scanners than those above: `fistula predict` refuses or marks them"
        + ("." if export is None else "; this file by itself cannot."),
        "- Patients of its own cohort: their scores are optimistically biased.",
        "- Use without validation at the site concerned.",
    ]
    return "\n".join(lines) + "\n"


def _shape(said: dict[str, Any]) -> str:
    named = f" of {', '.join(said['names'])}" if "names" in said else ""
    return f"({', '.join(map(str, said['shape']))}){named}"


def _graph(run: LoadedRun, export: dict[str, Any] | None, *, mean: str) -> list[str]:
    if export is None:
        return [f"- Slices: {_say_ingest(run.cohort.record)}", f"- Scores: of {', '.join(run.classes)}{mean}"]
    shape = export["input"]["shape"]
    array = f"uint8 `({', '.join(map(str, shape))})`"
    neighbours = " Each slice comes with its two neighbors in the series; at either end, the slice itself is repeated."
    whole, whose = ("all those of one patient, ", "the patient for ") if "positions" in export else ("", "")
    if named := export["input"].get("channels"):
        neighbours = f" Channels: {'; '.join(named)}."
    given, also = ([name for name in names if name in export] for names in (GIVEN, ALSO))
    return [
        f"- Input: `slices`, {whole}{array}, as `fistula ingest` writes them: {_say_ingest(run.cohort.record)}."
        f"{neighbours if len(shape) == 4 else ''} Resizing, normalization and softmax are part of the graph.",
        *(f"- Input: `{name}`, float32 `{_shape(export[name])}`: {export[name]['values']}" for name in given),
        f"- Output: `probabilities`, float32, of {whose}{', '.join(run.classes)}{mean}",
        *(f"- Output: `{name}`, float32 `{_shape(export[name])}`: {export[name]['values']}" for name in also),
    ]


def _parity(export: dict[str, Any], *, of: str) -> str:
    return f"- Largest difference from the probabilities of the {of}: {export['parity']['largest_difference']:.1e}"


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


def _metrics(run: LoadedRun) -> list[str]:
    metrics = run.record["metrics"]
    by_class = {"": metrics} if "test" in metrics else metrics
    rows = []
    for name, parts in by_class.items():
        for level, found in parts["test"].items():
            for metric in SHOWN:
                if metric in found:
                    of = " ".join(filter(None, (name, level)))
                    rows.append(f"| {run.name} | {of} | {metric} | {Estimate.of_json(found[metric])} |")
    return rows


def _int8(export: dict[str, Any]) -> list[str]:
    found = export["int8"]
    if found is None:
        return []
    return [
        f"In 8-bit integers (`{found['file']}`, {found['bytes'] / found['bytes_before']:.0%} of the size): per-slice"
        f" AUROC {found['auroc']:.3f} instead of {found['auroc_before']:.3f} on {found['test_slices']} test slices,"
        f" probabilities off by up to {found['largest_difference']:.3f}.",
        "",
    ]
