"""From a tree of files and a table of labels to a cohort folder."""

import json
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fistula.cohort.contact_sheet import write_contact_sheet
from fistula.cohort.flow import Flow
from fistula.cohort.intensity import Intensity
from fistula.cohort.labels import Labels, read_labels
from fistula.cohort.manifest import EXTRA, FORMAT, SCHEMA, manifest_fingerprint
from fistula.cohort.matching import refuse_empty_classes, refuse_files
from fistula.cohort.order import in_order, with_points
from fistula.cohort.pictures import survey_pictures
from fistula.cohort.pixels import Grid
from fistula.cohort.reading import read_into, volumes_of
from fistula.cohort.reuse import Earlier
from fistula.cohort.rules import Keep
from fistula.cohort.select import Policies, select
from fistula.cohort.stacks import plane_notes, volume_notes
from fistula.cohort.store import PixelStore, disk_errors
from fistula.cohort.survey import FACTS, Survey, survey_folder
from fistula.cohort.volume import RESULTS, Plan, is_risky
from fistula.cohort.workers import Workers
from fistula.dicom.survey import Look
from fistula.dicom.syntax import decoder_version
from fistula.folder import refuse_existing, whole_folder

PACKAGES = ("fistula", "pydicom", "numpy", "pillow", "polars")
UNSTORED = ("file", "member")  # these name files


@dataclass(frozen=True)
class Recipe:
    """How a cohort is made; two ingests with equal recipes may share their work.

    Attributes:
        keep: Which images are wanted.
        intensity: One of `fistula.cohort.intensity`.
        grid: The pixels of a slice.
        policies: What to refuse.
        look: Names and limits.
        settings: The same as plain values, for ingest.json.
    """

    keep: Keep
    intensity: Intensity
    grid: Grid
    policies: Policies
    look: Look
    settings: dict[str, Any]


def ingest(
    source: Path,
    labels_file: Path,
    out: Path,
    *,
    recipe: Recipe,
    workers: Workers,
    classes: list[str] | None = None,
    reuse: Path | None = None,
) -> dict[str, Any]:
    """Write the cohort folder `out`, whole or not at all.

    Args:
        source: Folder of DICOM files, or of the pictures that the table names.
        labels_file: Table of labels, see `fistula.cohort.labels.read_labels`.
        out: Folder to write; must not exist.
        recipe: How.
        workers: Processes.
        classes: Class names where labels are words.
        reuse: A cohort written from an earlier state of the same tree by an equal recipe; what did not change since
            is taken from it.

    Returns:
        What `ingest.json` holds.

    Raises:
        FistulaError: If anything is not what it has to be; nothing is then written.
    """
    refuse_existing(out)
    labels = read_labels(labels_file, classes=classes, negatives=recipe.policies.negatives)
    earlier = Earlier.open(reuse, recipe.settings, recipe.look.pseudonyms) if reuse is not None else None
    survey = _survey(source, labels, recipe, workers, earlier)
    flow = Flow()
    keep = None if labels.are_images else recipe.keep
    chosen, negatives, noted = select(survey, labels, keep=keep, look=recipe.look, policies=recipe.policies, flow=flow)
    chosen = chosen.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    with whole_folder(out) as folder, disk_errors(out):
        with PixelStore(folder / "pixels.unordered", recipe.grid.size) as store:
            results = _read(survey, chosen, labels, recipe, workers, store, earlier)
            kept = _kept(survey, chosen, results, labels, recipe, flow)
            manifest = in_order(with_points(kept, recipe.grid.size))
            store.finish(folder / "pixels.npy", manifest["at"].to_list())
        record = _record(manifest, labels, recipe, flow, noted) | {"negatives": negatives}
        _write(folder, manifest, survey, record)
    return record


def _survey(source: Path, labels: Labels, recipe: Recipe, workers: Workers, earlier: Earlier | None) -> Survey:
    if labels.are_images:
        return survey_pictures(source, recipe.look.pseudonyms)
    return survey_folder(source, recipe.look, workers, known=earlier.facts if earlier else None)


def _read(
    survey: Survey,
    chosen: pl.DataFrame,
    labels: Labels,
    recipe: Recipe,
    workers: Workers,
    store: PixelStore,
    earlier: Earlier | None,
) -> pl.DataFrame:
    """Columns of `RESULTS` for every chosen slice, its pixels in `store` at `at`."""
    plan = Plan(recipe.grid, recipe.intensity, recipe.look, are_images=labels.are_images)
    frames = [pl.DataFrame(schema=RESULTS)]
    if earlier is not None:
        frames.append(earlier.results(chosen, store))
        chosen = chosen.filter(~pl.col("row").is_in(frames[-1]["row"].to_list()))
    volumes = volumes_of(survey, chosen)
    is_dangerous = is_risky(chosen) and not labels.are_images
    frames.append(read_into(store, volumes, plan, workers, is_risky=is_dangerous))
    return pl.concat(frames)


def _kept(
    survey: Survey, chosen: pl.DataFrame, results: pl.DataFrame, labels: Labels, recipe: Recipe, flow: Flow
) -> pl.DataFrame:
    """The chosen slices that have pixels; the flow's last step."""
    joined = chosen.drop("reason", "remedy").join(results, on="row", how="left", maintain_order="left")
    failed = joined.filter(pl.col("at").is_null())
    rule = "the pixels of every chosen image must be readable"
    refuse_files(survey, failed, key="unreadable", policy=recipe.policies.unreadable, rule=rule)
    has_label = pl.col("label").is_not_null().any().over("patient_key")
    kept = joined.filter(pl.col("at").is_not_null()).filter(has_label)
    flow.add("kept", unit="slices", count=len(kept), excluded=Counter(failed["reason"]))
    refuse_empty_classes(kept["label"].drop_nulls().to_list(), labels.classes)
    return kept.with_columns(sequence=pl.lit(""), patient_label=pl.lit(None, pl.Int64()))


def _record(
    manifest: pl.DataFrame, labels: Labels, recipe: Recipe, flow: Flow, noted: dict[str, int]
) -> dict[str, Any]:
    decoders = Counter(manifest["decoder"])
    notes = Counter(word for text in manifest["notes"].drop_nulls() for word in text.split("|") if word)
    syntaxes = Counter(manifest["syntax"].drop_nulls())
    return {
        "format": FORMAT,
        "classes": labels.classes,
        "label_level": "slice",
        "fingerprint": manifest_fingerprint(manifest.select(list(SCHEMA))),
        "source_kind": "pictures" if labels.are_images else "dicom",
        "slices": len(manifest),
        "labelled": int(manifest["label"].is_not_null().sum()),
        "patients": manifest["patient_key"].n_unique(),
        "by_class": {name: int((manifest["label"] == index).sum()) for index, name in enumerate(labels.classes)},
        "flow": flow.steps,
        "noted": noted | dict(notes.most_common()),
        "volumes_noted": volume_notes(manifest) | plane_notes(manifest),
        "decoders": {decoder_version(name): count for name, count in decoders.items()},
        "syntaxes": dict(syntaxes.most_common()),
        "versions": {name: version(name) for name in PACKAGES},
        "key_name": recipe.look.pseudonyms.key_name,
        **recipe.settings,
    }


def _write(folder: Path, manifest: pl.DataFrame, survey: Survey, record: dict[str, Any]) -> None:
    facts = survey.facts.select([column for column in FACTS if column not in UNSTORED])
    for name, table in (("manifest.parquet", manifest.select(*SCHEMA, *EXTRA)), ("survey.parquet", facts)):
        with (folder / name).open("wb") as file:  # Python's own writing gives a full disk its own error
            table.write_parquet(file)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    write_contact_sheet(folder / "contact_sheet.png", pixels, manifest["label"].to_list(), record["classes"])
    (folder / "ingest.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
