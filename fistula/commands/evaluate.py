"""`fistula evaluate`: a study before patients that it never saw."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig

from fistula.audit.audit import Audit
from fistula.audit.meeting import SHARED, meet, population, strangeness
from fistula.cohort.manifest import Cohort, read_cohort
from fistula.errors import ConfigError, count, refuse_other, say_class
from fistula.evidence.estimate import Estimate
from fistula.folder import digests_of, refuse_existing, whole_folder
from fistula.predict.out.write import stamp
from fistula.predict.outside import ScoredCohort, refuse_unlike, score_cohort
from fistula.predict.predictor import Predictor, of_runs
from fistula.predict.runs.ensemble import load_ensemble
from fistula.predict.runs.model import cohort_folder
from fistula.predict.shifts import SHIFTS, score_shifts
from fistula.report.choice import chosen_runs
from fistula.report.contents import Settings
from fistula.report.external import cohorts, shifts
from fistula.report.external.together import outside_together
from fistula.report.numbers import outside_numbers
from fistula.report.pooling import primary_level
from fistula.report.results import results
from fistula.report.sections.all_classes import all_classes
from fistula.report.study import Study, read_study
from fistula.sweep.folder.run import RECORD

SAID = ("macro_auroc", "accuracy", "auroc", "sensitivity", "specificity", "auroc internal minus external")


def run(cfg: DictConfig) -> None:
    """Look at the cohort, score it, and list the result under the study."""
    refuse_other("shared", cfg.shared, SHARED)
    folder = Path(str(cfg.run))
    if (cfg.cohort is None) != bool(cfg.shifts):
        remedy = "shifts=true scores the study's own test patients and takes no cohort"
        raise ConfigError("cohort", "must be given, or shifts=true in its place", remedy=remedy)
    for key in ("name", "out") if cfg.shifts else ():
        if cfg[key] is not None:
            raise ConfigError(key, "is for an external cohort, not for shifts=true", found=cfg[key], remedy="Omit it")
    study = read_study(study_of(folder))
    if cfg.shifts:
        _shift(cfg, folder, study)
        return
    cohort = read_cohort(Path(str(cfg.cohort)))
    name = str(cfg.name or cohort.folder.resolve().name)
    if Path(name).name != name or name.startswith("."):  # a folder that begins with a dot is listed nowhere
        raise ConfigError("name", "must be a name, not a path, and must not begin with a dot", found=name)
    target, out = study.folder / cohorts.FOLDER / name, None if cfg.out is None else Path(str(cfg.out))
    refuse_existing(target, key="name")
    if out is not None:
        refuse_existing(out)
    chosen = chosen_runs(study, folder, only=cfg.only)
    runs = load_ensemble([run.folder for run in chosen], where=f"run={folder}", device=cfg.device)
    notes = refuse_unlike(runs[0], cohort)
    look = Audit()
    meeting = meet(
        study.cohort, cohort, distance=look.near_duplicate_distance, correlation=look.near_duplicate_correlation
    )
    patients = meeting.remaining(cohort, shared=cfg.shared)
    people = population(study.cohort), population(cohort, patients)
    notes += _noted(asdict(meeting), strangeness(*people))
    predictor = of_runs(runs, error=cfg.error)
    scored = score_cohort(predictor, cohort, patients)
    notes += _unfamiliar(scored)
    record = _record(predictor, cohort) | {
        "name": name,
        "configuration": study.configuration_of(chosen[0]).name,
        "audit": asdict(meeting),
        "population": {"inside": people[0], "outside": people[1]},
        "notes": notes,
    }
    with whole_folder(target, key="name") as beside:
        _write(beside, scored, record, study)
    if out is not None:
        with whole_folder(out) as beside:
            shutil.copytree(target, beside, dirs_exist_ok=True)
    _say(json.loads((target / "evaluate.json").read_text(encoding="utf-8")))
    print(f"listed as {target}")
    print(f"next: fistula report study={study.folder}")


def _shift(cfg: DictConfig, folder: Path, study: Study) -> None:
    """Score the study's own test patients under every shift, into the study's folder."""
    target = study.folder / shifts.FOLDER
    refuse_existing(target, key="shifts")
    chosen = chosen_runs(study, folder, only=cfg.only)
    runs = load_ensemble([run.folder for run in chosen], where=f"run={folder}", device=cfg.device)
    found = list(score_shifts(runs, error=cfg.error))
    with whole_folder(target, key="shifts") as beside:
        for name, tables in zip(shifts.TABLES, zip(*found, strict=True), strict=True):
            pl.concat(tables).write_parquet(beside / name)
        record = stamp() | {
            "configuration": study.configuration_of(chosen[0]).name,
            "runs": {run.folder.name: run.record["fingerprint"] for run in runs},
            "error": cfg.error,
            "amounts": {name: {"amounts": amounts, "says": says} for name, (_, amounts, says) in SHIFTS.items()},
            "files": digests_of(beside),
        }
        (beside / shifts.KEPT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{len(SHIFTS)} shifts at 3 strengths, {len(runs)} run{'s' if len(runs) > 1 else ''}; listed as {target}")
    print(f"next: fistula report study={study.folder}")


def study_of(folder: Path) -> Path:
    """The folder of the study that a folder is, or that it is a run of. Raises ConfigError if there is none."""
    if not folder.is_dir():
        raise ConfigError(f"run={folder}", "is not a folder", remedy="Name the folder of a run or of a study")
    return cohort_folder(folder).parent if (folder / RECORD).is_file() else folder


def _noted(meeting: dict[str, Any], strange: list[str]) -> list[str]:
    notes = [f"population differs: {one}" for one in strange]
    if not meeting["same_key"]:
        notes.append(
            "patients of the study cannot be recognized by name: the cohort was ingested with another pseudonym key; "
            "copies of slices were still searched for"
        )
    if meeting["patients"]:
        shared = count(len(meeting["patients"]), "patient")
        notes.append(f"excluded, since shared with the study's cohort: {shared}")
    if meeting["repeated"]:
        notes.append(
            f"{meeting['repeated']} slices have the same pixels as another patient's: the cohort contains copies"
        )
    return notes


def _unfamiliar(scored: ScoredCohort) -> list[str]:
    marked = scored.patients.filter(scored.patients["marks"] != "")
    if marked.is_empty():
        return []
    # How many of a patient's slices is that patient's alone.
    words = sorted({re.sub(r"^\d+ of \d+ ", "", word) for text in marked["marks"] for word in text.split("; ")})
    shown = "; ".join(words[:5]) + ("; ..." if len(words) > 5 else "")
    verb = "looks" if len(marked) == 1 else "look"
    return [f"{len(marked)} of {len(scored.patients)} patients {verb} unlike the study's cohort: {shown}"]


def _record(predictor: Predictor, cohort: Cohort) -> dict[str, Any]:
    runs = predictor.runs
    return {
        **stamp(),
        "cohort_fingerprint": cohort.fingerprint,
        "study_cohort_fingerprint": runs[0].cohort.fingerprint,
        "runs": [
            {
                "name": run.folder.name,
                "fingerprint": run.record["fingerprint"],
                "checkpoint_sha256": run.record.get("checkpoint_sha256"),
            }
            for run in runs
        ],
        "classes": predictor.classes,
        "unit": runs[0].unit,
        "error": predictor.error,
    }


def _write(folder: Path, scored: ScoredCohort, record: dict[str, Any], study: Study) -> None:
    """Fill the folder; the numbers are computed from what was written."""
    scored.predictions.write_parquet(folder / "predictions.parquet")
    scored.patients.write_parquet(folder / "patients.parquet")
    for name, table in (("slices", scored.slices), ("places", scored.places)):
        if table is not None:
            table.write_parquet(folder / f"{name}.parquet")
    record |= {"files": digests_of(folder)}
    (folder / cohorts.KEPT).write_text(json.dumps(record), encoding="utf-8")
    settings = Settings()
    external, primary = cohorts.read_external(study, folder), primary_level(study, settings.primary)
    rows = results(study, resamples=1, scaling=settings.scaling, prevalence=None, only=record["configuration"])
    found = cohorts.outside(study, external, rows, primary=primary, scaling=settings.scaling)
    inside = all_classes(study, rows, level=primary)
    wholes = outside_together(study, found, inside, primary=primary, scaling=settings.scaling)
    # The folder still has the name under which it is written; the numbers have that which it will have.
    numbers = {key.replace(folder.name, record["name"]): value for key, value in outside_numbers(found, wholes).items()}
    record |= {"primary": primary, "numbers": numbers}
    (folder / cohorts.KEPT).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(record: dict[str, Any]) -> None:
    patients, runs = count(record["population"]["outside"]["patients"], "patient"), count(len(record["runs"]), "run")
    print(f"{record['configuration']}, {runs}, on {patients} of {record['name']}")
    for name, number in record["numbers"].items():
        *place, last = name.split(" / ")[2:]
        if len(place) == 2 and last in SAID:
            what = last.replace("_", " ").replace("auroc", "AUROC")
            print(f"  {say_class(place[0])}, per {place[1]}: {what} {Estimate.of_json(number)}")
    for note in record["notes"]:
        print(f"noted: {note}")
