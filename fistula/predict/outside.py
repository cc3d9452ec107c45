"""Score a labelled cohort that no run of a study saw, as the study's own was scored, with nothing fitted anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import LACKS, Cohort, lacking
from fistula.cohort.order import turn_in_stack
from fistula.errors import DataError
from fistula.learning.data.bags import with_labels_of_bags
from fistula.learning.data.channels import may_lack, with_constants
from fistula.learning.places.points import PLACES, places_table
from fistula.learning.training.scoring import table_of
from fistula.predict.predictor import Prediction, Predictor
from fistula.predict.runs.known import refuse_other_covariates
from fistula.predict.runs.model import LoadedRun
from fistula.predict.source import ORDER, Slices
from fistula.source.flow import Flow
from fistula.source.intensity import option_of

ALIKE = ("intensity", "size", "spacing_mm", "fit")  # of ingest.json: what makes pixels
SAID = ("keep", "negatives", "label_level")  # what may differ, and is then said
PLANES = ("orientation", "modality")
CHUNK = 1024  # slices at a time
STACK = ("series_key", "volume", "turn", "image_number", "orientation")  # where a slice lies
FACTS = ("site", "manufacturer", "scanner", "age", "sex")


@dataclass(frozen=True)
class ScoredCohort:
    """What the runs say of a cohort."""

    # As a run's `predictions.parquet`, with ``part`` external and ``run``, the name of the run.
    predictions: pl.DataFrame
    slices: pl.DataFrame | None  # scores of single slices, likewise, where patients were scored; else None
    # One row a patient: ``patient_key``, `FACTS`, and ``marks``, ``possible`` and ``answer`` as `fistula predict` gives
    # them.
    patients: pl.DataFrame
    # As a run's `places.parquet`, of the mean of the runs' maps; and `STACK` (with the ``turn`` of `turn_in_stack`),
    # the slice's ``label`` and its mean ``score``. None for runs that find no places.
    places: pl.DataFrame | None


def refuse_unlike(run: LoadedRun, cohort: Cohort) -> list[str]:
    """Compare how a cohort was read with how the run's own was.

    Gives what differs and may.

    Raises:
        DataError: If its classes are others, its pixels were made otherwise, or it shows another plane or modality.
    """
    own, other, where = run.cohort.record, cohort.record, f"cohort={cohort.folder}"
    if run.classes != cohort.classes:
        rule = f"must have the classes of the study, in their order: {', '.join(run.classes)}"
        remedy = "Ingest it with classes=[...] as the study's cohort"
        raise DataError(where, rule, found=", ".join(cohort.classes), remedy=remedy)
    if (kind := other.get("source_kind")) != own.get("source_kind"):  # no key: it follows from the files
        rule = f"must be of the study's kind of files, {own.get('source_kind')}"
        raise DataError(where, rule, found=str(kind), remedy="Ingest a source of that kind")
    wanted, found = _differing(own, other, ALIKE)
    if wanted:
        # Another option of a group has other keys, of which nothing is said.
        groups = tuple(f"{key}." for key in wanted if "." not in key)
        keys = [key for key in wanted if not key.startswith(groups)]
        typed = " ".join(f"{key}={one}" for key, one in wanted.items() if key in keys or one != "null")
        rule = f"must be read as the study's cohort: {', '.join(keys)}"
        remedy = f"Ingest it as the study's cohort was, with {typed}"
        raise DataError(where, rule, found=", ".join(found[key] for key in keys), remedy=remedy)
    refuse_other_covariates(run, cohort)
    _refuse_other_sequences(run, cohort)
    for column in PLANES:
        known = set(run.cohort.manifest[column].drop_nulls())
        strange = set(cohort.manifest[column].drop_nulls()) - known
        if known and strange:
            rule = f"must show what the networks were trained on: {column} {', '.join(sorted(known))}"
            remedy = "Leave those images out (keep=...) and ingest it again"
            raise DataError(where, rule, found=", ".join(sorted(strange)), remedy=remedy)
    wanted, found = _differing(own, other, SAID)
    return [f"{key} differs from that of the study's cohort: {found[key]}, not {one}" for key, one in wanted.items()]


def _refuse_other_sequences(run: LoadedRun, cohort: Cohort) -> None:
    """Names decide, never the order; but a slice is one of the first, and what lacks must have been learned from."""
    first, where = run.cohort.sequences[:1], f"cohort={cohort.folder}"
    if first and (cohort.sequences[:1] != first or not set(run.sequences) <= set(cohort.sequences)):
        names = ", ".join(dict.fromkeys([*first, *run.sequences]))
        rule = f"must have the sequences that the run uses: {names}, {first[0]} first"
        remedy = "Ingest it with keep.sequences as the study's cohort"
        raise DataError(where, rule, found=", ".join(cohort.sequences) or "no names", remedy=remedy)
    lacks = lacking(cohort.manifest, cohort.sequences)
    volumes = lacks.group_by("patient_key", "series_key", "volume").agg(pl.col(f"^{LACKS}.*$").min())
    for name in may_lack(run.sequences, run.classifier.backbone.num_slices):
        lost = volumes.filter(pl.col(f"{LACKS}{name}") == 1)["patient_key"].n_unique()
        if lost and run.cohort.record.get("missing") != "mask":
            rule = f"must have {name} of every patient: the run was not trained on patients without it"
            raise DataError(where, rule, found=f"{lost} who lack it", remedy="Ingest it with missing=refuse")


def score_cohort(predictor: Predictor, cohort: Cohort, patients: Sequence[str]) -> ScoredCohort:
    """Score the labelled slices of some patients of a cohort, or these patients where the runs score patients.

    The cohort is one that `refuse_unlike` lets pass.

    Raises:
        DataError: If the runs look at neighbours, and a slice has no position.
    """
    runs = predictor.runs
    table = cohort.grid.with_columns(turn=turn_in_stack())
    table = table.filter(pl.col("patient_key").is_in(patients))
    number, grades = len(cohort.classes), runs[0].has_grades
    table = with_labels_of_bags(table, runs[0].unit, num_classes=number, are_grades=grades)
    chosen, answers, scores, places = [], [], [], []
    spacing = float(cohort.record.get("spacing_mm", 0)) or None
    for rows in _chunks(table):
        slices = _as_slices(predictor, cohort, rows)
        alone, bags, noted, marks = predictor.scored(slices)
        # As within the study: slices that are in no bag with a label are neighbours, and not scored.
        counted = np.flatnonzero(rows["of_bag"].is_not_null().to_numpy())
        slices = replace(slices, table=slices.table[counted.tolist()], pixels=slices.pixels[counted], beside=None)
        alone, noted, marks = alone[:, counted], noted[counted], marks[counted]
        if kinds := runs[0].classifier.head.kinds:
            places.append(_places(slices.table, alone, marks.double().numpy(), kinds, spacing_mm=spacing))
        answers.append(predictor.decide(slices, alone, bags, noted))
        chosen.append(slices.table)
        scores.append((alone, bags.get("patient_key")))
    return _tables(runs, pl.concat(chosen), answers, scores, pl.concat(places) if places else None)


def _places(
    table: pl.DataFrame,
    alone: NDArray[np.float64],
    marks: NDArray[np.float64],
    kinds: tuple[str, ...],
    *,
    spacing_mm: float | None,
) -> pl.DataFrame:
    """Places of slices, as `ScoredCohort.places` has them; a slice without a label stands with its patient's."""
    slices = table.with_columns(
        pl.coalesce("label", "of_bag").alias("label"),
        pl.Series("score", alone[..., 1].mean(axis=0)),
        copy=pl.lit(0, pl.Int64),
        fold=pl.lit(None, pl.Int64),
        part=pl.lit("external"),
    )
    return places_table(slices, marks, kinds, spacing_mm=spacing_mm).select(*PLACES, *STACK, "label", "score")


def _tables(
    runs: Sequence[LoadedRun],
    table: pl.DataFrame,
    answers: list[Prediction],
    scores: list[tuple[NDArray[np.float64], NDArray[np.float64] | None]],
    places: pl.DataFrame | None,
) -> ScoredCohort:
    facts = table.group_by("patient_key").agg(pl.col(*FACTS).drop_nulls().first()).sort("patient_key")
    said = pl.concat([answer.patients for answer in answers]).select("patient_key", "marks", "possible", "answer")
    alone = np.concatenate([of_slices for of_slices, _ in scores], axis=1)
    by_slice = _long(runs, table.select("slice_key", "patient_key", "label"), alone)
    patients = facts.join(said, on="patient_key", maintain_order="left")
    pooled = [of_bags for _, of_bags in scores if of_bags is not None]
    if not pooled:
        return ScoredCohort(by_slice, None, patients, places)
    keys = pl.concat([answer.patients.select("patient_key") for answer in answers])
    labels = table.group_by("patient_key").agg(label=pl.col("of_bag").first())
    bags = keys.join(labels, on="patient_key", maintain_order="left").select(
        pl.lit(None, pl.String).alias("slice_key"), "patient_key", "label"
    )
    return ScoredCohort(_long(runs, bags, np.concatenate(pooled, axis=1)), by_slice, patients, places)


def _long(runs: Sequence[LoadedRun], units: pl.DataFrame, probabilities: NDArray[np.float64]) -> pl.DataFrame:
    """One row a unit and run, with the columns of `predictions.parquet` and ``run``."""
    found, rows = [], units.with_columns(copy=pl.lit(0, pl.Int64))
    for run, values in zip(runs, probabilities, strict=True):
        table = table_of(rows, values, run.classes, fold=int(run.record["fold"]), part="external")
        found.append(table.with_columns(run=pl.lit(run.folder.name)))
    first = ("slice_key", "copy", "patient_key", "run")
    return pl.concat(found).select(*first, pl.exclude(first))


def _chunks(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Whole patients, about `CHUNK` slices at a time, each in the order in which slices lie."""
    held, size = [], 0
    for patient in table.sort(ORDER, nulls_last=True).partition_by("patient_key", maintain_order=True):
        held.append(patient)
        size += len(patient)
        if size >= CHUNK:
            yield pl.concat(held)
            held, size = [], 0
    if held:
        yield pl.concat(held)


def _as_slices(predictor: Predictor, cohort: Cohort, rows: pl.DataFrame) -> Slices:
    """Rows of a cohort as `fistula predict` has new slices."""
    names = predictor.runs[0].sequences
    beside = cohort.beside(rows["slice_key"]).filter(pl.col("sequence").is_in(names))
    own = np.concatenate([rows["row"].to_numpy(), beside["row"].to_numpy()])
    lacking = [pl.lit(None, pl.String).alias(name) for name in predictor.looks.words if name not in rows.columns]
    return Slices(
        table=rows.with_columns(*lacking, series_uid="series_key", spacing_row="pixel_spacing_mm"),
        pixels=with_constants(cohort.pixels[own], names),
        left_out=pl.DataFrame(),
        flow=Flow(),
        parts=[],
        knows_patients=True,
        beside=beside if names else None,
    )


def _differing(own: dict[str, Any], other: dict[str, Any], keys: tuple[str, ...]) -> tuple[dict[str, str], ...]:
    """What differs between two records of ingest, key by key as a user types it: of the first, and of the second."""
    written = [{name: text for key in keys for name, text in _typed(key, one.get(key))} for one in (own, other)]
    names = [name for name in dict.fromkeys([*written[0], *written[1]]) if len({one.get(name) for one in written}) > 1]
    return tuple({name: one.get(name, "null") for name in names} for one in written)


def _typed(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from [(key, option_of(one))] if name == "_target_" else _typed(f"{key}.{name}", one)
    elif isinstance(value, list):
        words = [str(one) or '""' for one in value]
        yield key, f"[{','.join(words)}]"
    else:
        yield key, "null" if value is None else str(value)
