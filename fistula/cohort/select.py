"""From a survey and a table of labels to the slices of a cohort."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fistula.dicom.header.facts import STUDY_STANDS
from fistula.dicom.look import Look
from fistula.errors import DataError, first_of
from fistula.labels.matching import match, refuse_ambiguous, refuse_empty_classes, refuse_unmatched, with_negatives
from fistula.labels.tables.lines import POINTS, Labels
from fistula.source.choose import Policies, choose
from fistula.source.flow import Flow
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.shared_ids import doubts
from fistula.source.survey import Survey


@dataclass(frozen=True)
class Selection:
    """The slices of a cohort."""

    # Every wanted image of every patient who has a label: columns of the survey's facts, `volume`, `patient_label`, and
    # those of `fistula.labels.matching.MATCHED`.
    slices: pl.DataFrame
    negatives: dict[str, dict[str, int]]  # whose slices were made negative; see `with_negatives`
    noted: dict[str, int]  # as in `Chosen`
    beside: pl.DataFrame  # images of the other sequences, where there are several; they have no labels of their own


def select(
    survey: Survey,
    labels: Labels | None,
    *,
    keep: KeepRules | None,
    look: Look,
    policies: Policies,
    patient: PatientRule,
    flow: Flow,
) -> Selection:
    """Choose images and give them their patients and labels; adds to `flow` up to the step `labelled`.

    Without labels, every image that is wanted, with its patient as far as headers and paths tell.

    Raises:
        DataError: If nothing is left, if a policy says so, if a line of the table is not for one image, or if it is
            not sure who the patients are.
    """
    chosen = choose(survey, keep=keep, look=look, policies=policies, flow=flow)
    names = keep.names if keep is not None else [""]
    grid, beside = parted_by_sequence(chosen.wanted, names, flow)
    if labels is None:
        is_told = patient.word != "column"  # which the table has to say
        images = patient.of_headers(survey, grid, look.pseudonyms) if is_told else grid
        return Selection(images, {}, chosen.noted, beside)
    left_out = pl.concat([chosen.left_out, beside.select(chosen.left_out.columns)])
    wanted, others = (
        match(survey, patient.named(survey, rows, look.pseudonyms), labels, look.pseudonyms)
        for rows in (grid, left_out)
    )
    lost = refuse_unmatched(survey, wanted, others, labels, keep, policy=policies.unmatched, pseudonyms=look.pseudonyms)
    noted = chosen.noted | lost
    refuse_ambiguous(wanted, labels)
    _refuse_outside(wanted, labels)
    images = patient.settled(wanted)
    _refuse_shared(images, labels)
    is_other = pl.col("patient_key").ne_missing(pl.col("file_patient"))  # another rule than the study alone
    notes = pl.when(is_other).then(pl.col("notes").str.replace(STUDY_STANDS, "", literal=True)).otherwise("notes")
    images = images.with_columns(notes)
    noted |= doubts(images) if patient.word == "compared" else {}
    if survey.kind != "dicom" and not patient.is_of_path:
        _refuse_nameless(images, labels)
    images = images.with_columns(
        site=pl.coalesce("site", pl.col("site").drop_nulls().unique().first().over("study_key"))
    )
    images, negatives = with_negatives(images, negatives=policies.negatives)
    is_known = (pl.col("label").is_not_null().any().over("patient_key")) & pl.col("patient_key").is_not_null()
    others = images.filter(~is_known)
    images = images.filter(is_known)
    flow.add("labelled", images, unit="slices", excluded={"of a patient without a label": len(others)})
    refuse_empty_classes(images["label"].drop_nulls().to_list(), labels.classes, lost)
    whole = pl.col("label") if labels.level == "patient" else pl.lit(None, pl.Int64())
    images = images.with_columns(patient_label=whole)
    return Selection(images, negatives, {name: count for name, count in noted.items() if count}, beside)


def parted_by_sequence(wanted: pl.DataFrame, names: Sequence[str], flow: Flow) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The images of the first sequence, and those of the others with why as the `reason`; a step where they are."""
    if len(names) == 1:
        return wanted, wanted.clear()
    first = names[0]
    reason = pl.format("of sequence {}, resampled onto {}", "sequence", pl.lit(first))
    beside = wanted.filter(pl.col("sequence") != first).with_columns(reason=reason)
    grid = wanted.filter(pl.col("sequence") == first)
    if grid.is_empty():
        rule = "must keep at least one image: the others are resampled onto its grid"
        raise DataError(f"keep.sequences.{first}", rule, remedy="See fistula doctor")
    flow.add(f"of {first}", grid, unit="slices", excluded=Counter(beside["reason"]))
    return grid, beside


def _refuse_outside(images: pl.DataFrame, labels: Labels) -> None:
    """Refuse a marked point beyond the image as found: it is of another, or its row and column were exchanged."""
    where = {row.line: row.where for row in labels.rows}
    for point in POINTS:
        row, column = pl.col(f"source_{point}_row"), pl.col(f"source_{point}_col")
        is_in = row.is_between(-0.5, pl.col("rows") - 0.5) & column.is_between(-0.5, pl.col("columns") - 0.5)
        outside = images.filter(~is_in).sort("line")  # where there is no point, it is null, and not taken
        for line, *place in outside.select("line", row, column, "rows", "columns").head(1).iter_rows():
            found = "row {:g}, column {:g} of {} x {} pixels".format(*place)
            remedy = "Count rows from the top and columns from the left, the first being 0"
            raise DataError(where[line], f"{point} must lie in its image", found=found, remedy=remedy)


def _refuse_shared(images: pl.DataFrame, labels: Labels) -> None:
    """Refuse a line for a series or study of several people, as where all have one accession number: whose is meant?"""
    if labels.level not in ("series", "study"):
        return
    people = images.drop_nulls("line").group_by("line").agg(pl.col("patient_key").n_unique()).sort("line")
    where = {row.line: row.where for row in labels.rows}
    named = [f"{where[line]} ({count} patients)" for line, count in people.rows() if count > 1]
    if named:
        remedy = "Use identifiers that are of one patient each, or patient_id with labels.level=patient"
        rule = f"every line must be for a {labels.level} of one patient"
        raise DataError(labels.path, rule, found=first_of(named), remedy=remedy)


def _refuse_nameless(images: pl.DataFrame, labels: Labels) -> None:
    """A picture without a patient is of nobody known."""
    nameless = images.filter(pl.col("label").is_not_null() & pl.col("said_patient").is_null())["line"].drop_nulls()
    if len(nameless):
        first = min(nameless.to_list())
        origin = next((row.origin for row in labels.rows if row.line == first), "")
        remedy = "A file name does not say which images are of one person: patient=folder:1 or a pattern may"
        raise DataError(origin or f"{labels.path}, line {first}", "must have a patient_id", remedy=remedy)
