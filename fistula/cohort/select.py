"""From a survey to the images that are wanted, in volumes; and, with a table of labels, to the slices of a cohort."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.cohort.copies import without_copies
from fistula.cohort.flow import Flow
from fistula.cohort.labels import Labels
from fistula.cohort.matching import (
    match,
    refuse_ambiguous,
    refuse_empty_classes,
    refuse_files,
    refuse_unmatched,
    with_negatives,
)
from fistula.cohort.patients import PatientRule
from fistula.cohort.rules import Keep
from fistula.cohort.stacks import with_volumes
from fistula.cohort.survey import Survey
from fistula.dicom.survey import Look
from fistula.errors import ConfigError, DataError

CHOICES: dict[str, tuple[str, ...]] = dict.fromkeys(("unreadable", "unmatched"), ("refuse", "exclude"))
CHOICES |= {"same_uid": ("refuse", "separate"), "negatives": ("none", "other_patients", "rest")}


@dataclass(frozen=True)
class Policies:
    """What to do with what does not fit: `refuse` it (stop with an error) or `exclude` it (count it and go on).

    Attributes:
        unreadable: Images that cannot be read.
        unmatched: Labels for images that are not there, or that the keep rules leave out.
        same_uid: Different pictures under one SOPInstanceUID: `refuse`, or `separate`, each an image of its own.
        negatives: Which slices without a label are negative: `none`, those of `other_patients`, or the `rest`.
    """

    unreadable: str = "refuse"
    unmatched: str = "refuse"
    same_uid: str = "refuse"
    negatives: str = "none"

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(key, f"must be {' or '.join(choices)}", found=getattr(self, key))


@dataclass(frozen=True)
class Chosen:
    """Images of a survey, parted by the keep rules; labels have no say in it.

    Attributes:
        wanted: Rows of the survey's facts, copies removed, with `volume`, and the series as the
            file has it in `file_series`.
        left_out: The others and what could not be read, with their `reason`.
        noted: Counts of what is worth knowing but was no reason to leave anything out.
    """

    wanted: pl.DataFrame
    left_out: pl.DataFrame
    noted: dict[str, int]


def choose(survey: Survey, *, keep: Keep | None, look: Look, policies: Policies, flow: Flow) -> Chosen:
    """Choose the wanted images; adds to `flow` up to the step `right sequence`.

    Args:
        survey: What is below the source.
        keep: Which images are the wanted sequence; None keeps all, as for pictures.
        look: Names and limits.
        policies: What to refuse.
        flow: Gets a step for each thing looked at.

    Raises:
        DataError: If nothing is left, or if a policy says so.
    """
    images, refused = _readable(survey, keep=keep, policies=policies, flow=flow)
    wanted, others = _wanted(survey, images, keep)
    wanted, copies = without_copies(survey, wanted, look, policies.same_uid)
    flow.add("right sequence", wanted, unit="slices", excluded=Counter(others["reason"]) + copies)
    noted = {"copies of another file": copies.total(), "persons suspected under two ids": suspected_persons(wanted)}
    # The table names the series as the file does; one cut into a series a slice is put together again.
    wanted = with_volumes(wanted.with_columns(file_series="series_key"))
    return Chosen(wanted, pl.concat([refused, others]).with_columns(file_series="series_key"), noted)


@dataclass(frozen=True)
class Selection:
    """The slices of a cohort.

    Attributes:
        slices: Every wanted image of every patient who has a label: columns of the survey's facts, `volume`,
            `patient_label`, and those of `fistula.cohort.matching.MATCHED`.
        negatives: Whose slices were made negative; see `with_negatives`.
        noted: As in `Chosen`.
    """

    slices: pl.DataFrame
    negatives: dict[str, dict[str, int]]
    noted: dict[str, int]


def select(
    survey: Survey,
    labels: Labels,
    *,
    keep: Keep | None,
    look: Look,
    policies: Policies,
    patient: PatientRule,
    flow: Flow,
) -> Selection:
    """Choose images and give them their patients and labels; adds to `flow` up to the step `labelled`.

    Raises:
        DataError: If nothing is left, if a policy says so, if a line of the table is not for one image, or if it is
            not sure who the patients are.
    """
    chosen = choose(survey, keep=keep, look=look, policies=policies, flow=flow)
    wanted, others = (
        match(survey, patient.named(survey, rows, look.pseudonyms), labels, look.pseudonyms)
        for rows in (chosen.wanted, chosen.left_out)
    )
    noted = chosen.noted | refuse_unmatched(wanted, others, labels, keep, policy=policies.unmatched)
    refuse_ambiguous(wanted, labels)
    images = patient.settled(wanted)
    if labels.are_images and not patient.is_of_path:
        _refuse_nameless(images, labels)
    images = images.with_columns(
        site=pl.coalesce("site", pl.col("site").drop_nulls().unique().first().over("study_key"))
    )
    images, negatives = with_negatives(images, negatives=policies.negatives)
    is_known = (pl.col("label").is_not_null().any().over("patient_key")) & pl.col("patient_key").is_not_null()
    others = images.filter(~is_known)
    images = images.filter(is_known)
    flow.add("labelled", images, unit="slices", excluded={"of a patient without a label": len(others)})
    refuse_empty_classes(images["label"].drop_nulls().to_list(), labels.classes)
    whole = pl.col("label") if labels.level == "patient" else pl.lit(None, pl.Int64())
    images = images.with_columns(patient_label=whole)
    return Selection(images, negatives, {name: count for name, count in noted.items() if count})


def _refuse_nameless(images: pl.DataFrame, labels: Labels) -> None:
    """A picture without a patient is of nobody known."""
    nameless = images.filter(pl.col("label").is_not_null() & pl.col("said_patient").is_null())["line"].drop_nulls()
    if len(nameless):
        remedy = "A file name does not say which pictures are of one person: patient=folder:1 or a pattern may"
        raise DataError(f"{labels.path}, line {min(nameless.to_list())}", "must have a patient_id", remedy=remedy)


def suspected_persons(facts: pl.DataFrame) -> int:
    """How many birth date, sex and study date together stand under more than one patient."""
    named = facts.filter(pl.col("person_key").fill_null("") != "")
    return len(named.group_by("person_key").agg(pl.col("patient_key").n_unique()).filter(pl.col("patient_key") > 1))


def _readable(
    survey: Survey, *, keep: Keep | None, policies: Policies, flow: Flow
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that are images and those refused; steps found, readable, image and slices.

    A member of an archive counts as a file.
    """
    facts = survey.facts
    files = facts.unique(["file", "member"], maintain_order=True)
    flow.add("found", files, unit="files")
    refused = facts.filter(pl.col("outcome") == "refused")
    matters = refused
    if keep is not None and len(refused):
        # What the rules would have left out anyway stops nobody.
        matters = refused.filter(~(pl.col("modality").is_not_null() & keep.reasons(refused).is_not_null()))
    refuse_files(survey, matters, key="unreadable", policy=policies.unreadable, rule="every image must be readable")
    of = {name: files.filter(pl.col("outcome") == name) for name in ("image", "skipped", "refused")}
    readable = files.filter(pl.col("outcome") != "refused")
    flow.add("readable", readable, unit="files", excluded=Counter(of["refused"]["reason"]))
    flow.add("image", of["image"], unit="files", excluded=Counter(of["skipped"]["reason"]))
    images = facts.filter(pl.col("outcome") == "image")
    flow.add("slices", images, unit="slices")
    if images.is_empty():
        kind = "DICOM image" if keep is not None else "PNG or JPEG picture"
        reasons = _counts(Counter(of["refused"]["reason"]) + Counter(of["skipped"]["reason"]))
        remedy = "Name the folder that holds the images (fistula doctor source=... says what is in it)"
        raise DataError(f"source={survey.folder}", f"must hold at least one {kind}", found=reasons, remedy=remedy)
    return images, refused


def _wanted(survey: Survey, images: pl.DataFrame, keep: Keep | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the images by the keep rules: those wanted, and those left out with the `reason`; None wants all."""
    if keep is None:
        return images, images.clear()
    images = images.with_columns(reason=keep.reasons(images))
    wanted, left_out = images.filter(pl.col("reason").is_null()), images.filter(pl.col("reason").is_not_null())
    if wanted.is_empty():
        found = _counts(Counter(left_out["reason"]))
        remedy = f"{' '.join(keep.widened(left_out))} keeps them all (fistula doctor shows what is there)"
        raise DataError(f"source={survey.folder}", "no image passes the keep rules", found=found, remedy=remedy)
    return wanted.with_columns(reason=pl.lit("")), left_out


def _counts(counts: Mapping[Any, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return ", ".join(f"{count} of: {reason}" for reason, count in ordered[:6]) or "nothing"
