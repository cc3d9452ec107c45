"""Write a study's report: one page that needs nothing beside it, its tables, its figures, and its numbers."""

import csv
import json
import shutil
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fistula import __version__
from fistula.errors import ConfigError
from fistula.evidence.standard import METRICS
from fistula.report import figures
from fistula.report.paper import beside_the_paper
from fistula.report.results import Row, results
from fistula.report.study import Study

PAGE = "index.html"
NUMBERS = "report.json"


def write_report(study: Study, *, resamples: int) -> Path:
    """Write `report/` into the study's folder, in place of an earlier one, and give the path of its page.

    Args:
        study: With its finished runs.
        resamples: Of the patients, for balanced accuracy.

    Raises:
        ConfigError: If `report/` is there and is not a report.
    """
    target = study.folder / "report"
    if target.exists() and not (target / NUMBERS).is_file():
        raise ConfigError(target, "already exists and is not a report", remedy="Move it away")
    rows = results(study, resamples=resamples)
    partial = target.with_name(f".report.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir()
    try:
        drawn = _draw(study, rows, partial)
        (partial / PAGE).write_text(_render(study, rows, drawn))
        _write_csv(rows, partial / "results.csv")
        (partial / NUMBERS).write_text(json.dumps(_numbers(study, rows), indent=1, allow_nan=False) + "\n")
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target / PAGE


def _draw(study: Study, rows: list[Row], folder: Path) -> dict[str, Markup]:
    """Save every figure; give the SVG of each, by name. SVG of our own drawing is the only markup not escaped."""
    drawn = {"losses": figures.loss_curves(study)}
    for number, positive in enumerate(study.positives):
        ours = [row for row in rows if row.positive == positive]
        drawn |= {f"roc{number}": figures.roc_overlay(study, positive), f"forest{number}": figures.forest(ours)}
    return {name: Markup(figures.save(figure, folder, name)) for name, figure in drawn.items()}


def _render(study: Study, rows: list[Row], drawn: dict[str, Markup]) -> str:
    environment = Environment(
        loader=PackageLoader("fistula.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pairs = beside_the_paper(study)
    patient_rows = {(row.configuration.name, row.positive): row for row in rows if row.level == "patient"}
    slice_rows = {(row.configuration.name, row.positive): row for row in rows if row.level == "slice"}
    return environment.get_template("index.html").render(
        study=study,
        rows=rows,
        metrics=METRICS,
        figures=drawn,
        answer=_answer(rows),
        paper=[(paper, slice_rows[ours.name, study.positives[0]]) for paper, ours in pairs],
        patient_rows=patient_rows,
        runs=[run for configuration in study.configurations for run in configuration.runs],
        made=datetime.now(UTC).isoformat(timespec="minutes"),
        version=__version__,
    )


def _answer(rows: list[Row]) -> list[str]:
    """Say what the numbers say of the best AUROC by patient, and no more than their intervals carry."""
    defined = [row for row in rows if row.level == "patient" and row.estimates["auroc"].is_defined]
    if not defined:
        return ["No configuration has a defined AUROC by patient; the table says why."]
    best = max(defined, key=lambda row: row.estimates["auroc"].value)
    area = best.estimates["auroc"]
    patients, positives = best.num
    sentences = [
        f"The highest AUROC by patient is {area}, of {best.configuration.name}, on {patients} test patients of whom "
        f"{positives} are positive."
    ]
    others = [row for row in defined if row is not best and row.positive == best.positive]
    if others and area.has_interval:
        inside = [row for row in others if row.estimates["auroc"].value >= area.low]
        sentences.append(
            f"Of the {len(others)} other configurations, {len(inside)} have an AUROC inside that interval: the highest "
            "value was picked among several, and is for that alone too good."
        )
    leaky = sorted({row.configuration.name for row in rows if row.configuration.leaky_by_design})
    if leaky:
        sentences.append(f"Leaky by design, and no evidence for new patients: {', '.join(leaky)}.")
    return sentences


def _numbers(study: Study, rows: list[Row]) -> dict[str, Any]:
    return {
        "study": study.name,
        "cohort_fingerprint": study.cohort.fingerprint,
        "results": [_flat(row) | {"runs": [run.folder.name for run in row.configuration.runs]} for row in rows],
        "unfinished": {run.folder.name: run.record["state"] for run in study.unfinished},
        "version": __version__,
    }


def _write_csv(rows: list[Row], path: Path) -> None:
    lines = []
    for row in rows:
        flat = _flat(row)
        estimates = flat.pop("estimates")
        for metric, estimate in estimates.items():
            flat |= {
                metric if part == "value" else f"{metric}_{part}": estimate[part] for part in ("value", "low", "high")
            }
        lines.append(flat)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def _flat(row: Row) -> dict[str, Any]:
    count, positives = row.num
    estimates = {
        name: {
            key: None if isinstance(value, float) and isnan(value) else value
            for key, value in asdict(row.estimates[name]).items()
        }
        for name in METRICS
    }
    return {
        "configuration": row.configuration.name,
        **row.configuration.factors,
        "leaky_by_design": row.configuration.leaky_by_design,
        "class": row.positive,
        "level": row.level,
        "count": count,
        "positives": positives,
        "estimates": estimates,
    }
