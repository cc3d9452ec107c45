"""From a tree of files and a table of labels to a cohort folder."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fistula.cohort.look.confounding import auroc_alone
from fistula.cohort.look.contact_sheet import write_contact_sheet
from fistula.cohort.look.early import early_warnings, lacking_warnings, unit_warnings
from fistula.cohort.look.stacks import plane_notes, volume_notes
from fistula.cohort.manifest import (
    BESIDE,
    EXTRA,
    FORMAT,
    SCHEMA,
    covariates_of,
    lacking,
    manifest_fingerprint,
    of_first,
)
from fistula.cohort.order import in_order, with_points
from fistula.cohort.select import Selection, select
from fistula.dicom.look import Look
from fistula.dicom.pixels.syntax import decoder_version
from fistula.errors import DataError
from fistula.folder import refuse_existing, whole_folder
from fistula.labels.matching import refuse_empty_classes
from fistula.labels.tables.covariates import COVARIATE
from fistula.labels.tables.lines import Labels
from fistula.source.choose import Policies, refuse_unreadable
from fistula.source.flow import Flow
from fistula.source.grid import Grid, crop_notes
from fistula.source.intensity import Intensity
from fistula.source.patients import PatientRule
from fistula.source.read import read_in_order
from fistula.source.rules import KeepRules
from fistula.source.several.pairing import pairs_of, rows_beside
from fistula.source.several.resample import resampled
from fistula.source.slices import Plan
from fistula.source.store import PixelStore
from fistula.source.survey import Survey, survey_source
from fistula.source.workers import Workers

PACKAGES = ("fistula", "pydicom", "numpy", "pillow", "polars")
READABLE = "the pixels of every chosen image must be readable"
WHOLE = 0.999  # share of a slice from which another sequence reaches all of it


@dataclass(frozen=True)
class Recipe:
    """How a cohort is made."""

    keep: KeepRules  # which images are wanted
    intensity: Intensity  # one of `fistula.source.intensity`
    grid: Grid  # the pixels of a slice
    policies: Policies  # what to refuse
    patient: PatientRule  # what names the patient of an image
    look: Look  # names and limits
    settings: dict[str, Any]  # the same as plain values, for ingest.json


def ingest(
    source: Path, labels: Labels | Callable[[Survey], Labels], out: Path, *, recipe: Recipe, workers: Workers
) -> dict[str, Any]:
    """Write the cohort folder `out`, whole or not at all.

    Args:
        source: Folder of DICOM files, or of the volumes or pictures that the table names.
        labels: A table of labels, see `fistula.labels.tables.read.read_labels`; or what makes one of what lies there.
        out: Folder to write; must not exist.
        recipe: How.
        workers: Processes.

    Returns:
        What `ingest.json` holds.

    Raises:
        FistulaError: If anything is not what it has to be; nothing is then written.
    """
    refuse_existing(out)
    if isinstance(labels, Labels):
        survey = survey_source(source, recipe.look, workers, kind=labels.kind, named=labels.paths)
    else:
        survey = survey_source(source, recipe.look, workers, kind=None)
        labels = labels(survey)
    flow = Flow()
    selection = select(
        survey,
        labels,
        keep=recipe.keep if survey.kind == "dicom" else None,
        look=recipe.look,
        policies=recipe.policies,
        patient=recipe.patient,
        flow=flow,
    )
    names, where = recipe.keep.names, f"source={source}"
    if survey.kind != "dicom" and len(names) > 1:
        raise DataError(where, "must hold DICOM for keep.sequences, which selects series", found=survey.kind)
    pairs, noted, _ = pairs_of(selection.slices, selection.beside, names, recipe.policies, where=where)
    selection.noted.update(noted)
    plan = Plan(recipe.grid, recipe.intensity, recipe.look, kind=survey.kind)

    def ordered(read: pl.DataFrame, failed: pl.DataFrame) -> pl.DataFrame:
        kept = _kept(survey, read, failed, labels, recipe, flow)
        flow.count_patients(selection.slices, labels.classes)
        return in_order(with_points(kept, recipe.grid.size))

    def resampled_onto(table: pl.DataFrame, store: PixelStore) -> pl.DataFrame:
        read, failed = resampled(survey, pairs, table, selection.beside, plan, workers, store)
        refuse_unreadable(survey, failed, recipe.policies, READABLE)
        return rows_beside(read, table, selection.beside, recipe.look.pseudonyms)

    with whole_folder(out) as folder:
        beside = resampled_onto if len(names) > 1 else None
        reading = read_in_order(survey, selection.slices, plan, workers, folder, order=ordered, beside=beside)
        with reading as (manifest, _):
            record = _record(manifest, labels, recipe, flow, selection, survey.kind)
        _write(folder, manifest, record)
    return record


def _kept(
    survey: Survey, read: pl.DataFrame, failed: pl.DataFrame, labels: Labels, recipe: Recipe, flow: Flow
) -> pl.DataFrame:
    """The slices that have pixels, of patients who still have a label; the flow's last step."""
    refuse_unreadable(survey, failed, recipe.policies, READABLE)
    kept = read.filter(pl.col("label").is_not_null().any().over("patient_key"))
    lost = {"of a patient without a readable slice with a label": len(read) - len(kept)}
    flow.add("kept", kept, unit="slices", excluded=Counter(failed["reason"]) + Counter(lost))
    unread = {"labels for images that could not be read": failed["label"].count()}
    refuse_empty_classes(kept["label"].drop_nulls().to_list(), labels.classes, unread)
    return kept


def _record(
    manifest: pl.DataFrame, labels: Labels, recipe: Recipe, flow: Flow, selection: Selection, kind: str
) -> dict[str, Any]:
    grid, sequences = of_first(manifest), recipe.keep.names
    lacks = lacking(manifest, sequences)
    decoders = Counter(manifest["decoder"])
    notes = Counter(word for text in manifest["notes"].drop_nulls() for word in text.split("|") if word)
    syntaxes = Counter(manifest["syntax"].drop_nulls())
    return {
        "format": FORMAT,
        "classes": labels.classes,
        "label_level": labels.level,
        "ignored_columns": list(labels.ignored),
        "covariates": labels.covariates,
        "negatives": selection.negatives,
        "patient": recipe.patient.word,
        "fingerprint": manifest_fingerprint(manifest),
        "covariates_known": {
            name: manifest.filter(pl.col(f"{COVARIATE}{name}").is_not_null())["patient_key"].n_unique()
            for name in labels.covariates
        },
        "source_kind": kind,
        "slices": len(grid),
        "labelled": int(manifest["label"].is_not_null().sum()),
        "patients": manifest["patient_key"].n_unique(),
        "by_class": {name: int((manifest["label"] == index).sum()) for index, name in enumerate(labels.classes)},
        "flow": flow.steps,
        "noted": labels.noted | selection.noted | dict(notes.most_common()),
        "volumes_noted": volume_notes(grid) | plane_notes(grid) | crop_notes(grid, recipe.grid.size),
        "early": early_warnings(grid, labels.classes)
        + unit_warnings(grid, recipe.intensity)
        + lacking_warnings(lacks, labels.classes, sequences),
        "alone": auroc_alone(grid),
        "decoders": {decoder_version(name): count for name, count in decoders.items()},
        "syntaxes": dict(syntaxes.most_common()),
        "versions": {name: version(name) for name in PACKAGES},
        "key_name": recipe.look.pseudonyms.key_name,
        **recipe.settings,
        **(_of_sequences(manifest, lacks, recipe) if len(sequences) > 1 else {}),
    }


def _of_sequences(manifest: pl.DataFrame, lacks: pl.DataFrame, recipe: Recipe) -> dict[str, Any]:
    """How sequences were joined, and of how many slices and patients each is there."""
    there = manifest.filter(pl.col("covered").fill_null(1.0) > 0)
    whole = pl.col("covered") < WHOLE
    counts = {
        name: {
            "slices": int((there["sequence"] == name).sum()),
            "partly": len(there.filter((pl.col("sequence") == name) & whole)),
            "patients": there.filter(pl.col("sequence") == name)["patient_key"].n_unique(),
        }
        for name in recipe.keep.names
    }
    return {
        "missing": recipe.policies.missing,
        "other_frame": recipe.policies.other_frame,
        "sequences": counts,
        "alone": auroc_alone(lacks),
    }


def _columns(manifest: pl.DataFrame) -> list[str]:
    return [*SCHEMA, *covariates_of(manifest), *(name for name in BESIDE if name in manifest.columns)]


def _write(folder: Path, manifest: pl.DataFrame, record: dict[str, Any]) -> None:
    with (folder / "manifest.parquet").open("wb") as file:  # Python's own writing gives a full disk its own error
        manifest.select(*_columns(manifest), *EXTRA).write_parquet(file)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    write_contact_sheet(folder / "contact_sheet.png", pixels, manifest["label"].to_list(), record["classes"])
    (folder / "ingest.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
