"""From a survey to the images that are wanted, in volumes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.dicom.look import Look
from fistula.errors import DataError, refuse_other
from fistula.source.copies import without_copies
from fistula.source.flow import Flow
from fistula.source.rules import KeepRules
from fistula.source.several.lattice import aligned
from fistula.source.survey import Survey, those
from fistula.source.volumes import STACKED, with_volumes

NONE_KEPT = "no image passes the keep rules"
HIDDEN = ("born", "height", "second", "study_day")
# What the other images of a series state and one does not: its values, or its size, are in other units.
LACKING = {"is_rescaled": "rescale slope and intercept", "spacing_row": "pixel spacing"}
LACKING["is_scaled"] = "scale slope of Philips"
UNLIKE = [f"without the {what} that its series has" for what in LACKING.values()]
CHOICES: dict[str, tuple[str, ...]] = dict.fromkeys(("unreadable", "unmatched"), ("refuse", "exclude"))
CHOICES |= {"missing": ("refuse", "mask"), "other_frame": ("refuse", "join")}
CHOICES |= {"same_uid": ("refuse", "separate"), "negatives": ("none", "other_patients", "rest")}


@dataclass(frozen=True)
class Policies:
    """What to do with what does not fit: `refuse` it (stop with an error) or `exclude` it (count it and go on)."""

    unreadable: str = "refuse"  # images that cannot be read
    unmatched: str = "refuse"  # labels for images that are not there, or that the keep rules leave out
    # Different pictures under one SOPInstanceUID: `refuse`, or `separate`, each an image of its own.
    same_uid: str = "refuse"
    # Which slices without a label are negative: `none`, those of `other_patients`, or the `rest`.
    negatives: str = "none"
    # What of a study that lacks a sequence: `refuse`, or `mask`, blank there and known as blank.
    missing: str = "refuse"
    # A sequence with another frame of reference: `refuse`, or `join`, its positions taken as they are.
    other_frame: str = "refuse"

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            refuse_other(key, getattr(self, key), choices)


@dataclass(frozen=True)
class Chosen:
    """Images of a survey, parted by the keep rules; labels have no say in it."""

    # Rows of the survey's facts, copies removed, with `volume` and `sequence`, and series and patient as the file has
    # them in `file_series` and `file_patient`.
    wanted: pl.DataFrame
    left_out: pl.DataFrame  # the others and what could not be read, with their `reason`
    noted: dict[str, int]  # counts of what is worth knowing but was no reason to leave anything out


def choose(survey: Survey, *, keep: KeepRules | None, look: Look, policies: Policies, flow: Flow) -> Chosen:
    """Choose the wanted images; adds to `flow` up to the step `right sequence`.

    Without rules, as for pictures and volumes, it keeps all.

    Raises:
        DataError: If nothing is left, or if a policy says so.
    """
    images, refused = _readable(survey, keep=keep, policies=policies, flow=flow)
    wanted, others = _wanted(survey, images, keep)
    for column, what in LACKING.items():
        wanted, unlike = _without_unlike(survey, wanted, policies, column, what)
        others = pl.concat([others, unlike[others.columns]])
    wanted, copies, shared = without_copies(survey, wanted, look, policies.same_uid)
    flow.add("right sequence", wanted, unit="slices", excluded=Counter(others["reason"]) + copies)
    noted = {
        "copies of another file": copies.total(),
        "images that share their SOPInstanceUID with another, each taken as one of its own": shared,
    } | survey.noted
    # The table names the series as the file does; one cut into a series a slice is put together again.
    wanted = with_volumes(of_study(_as_filed(wanted)))
    return Chosen(wanted, _as_filed(pl.concat([refused, others])), noted)


def _as_filed(facts: pl.DataFrame) -> pl.DataFrame:
    """With series and patient as the files name them, whatever becomes of them."""
    return facts.hstack([facts[f"{key}_key"].alias(f"file_{key}") for key in ("series", "patient")])


def of_study(images: pl.DataFrame) -> pl.DataFrame:
    """Images without PatientID are of the patient whose PatientID alone the others of their study have."""
    if images["is_named"].all() or not images["is_named"].any():
        return images
    ids = images.filter("is_named").group_by("study_key").agg(own=pl.col("patient_key").unique())
    ids = ids.filter(pl.col("own").list.len() == 1).explode("own")
    images = images.join(ids, on="study_key", how="left", maintain_order="left")
    known = pl.when("is_named").then("patient_key").otherwise(pl.coalesce("own", "patient_key"))
    is_named = pl.col("is_named") | pl.col("own").is_not_null()
    is_own = pl.col("is_named") | pl.col("own").is_null()  # what lies on another's secret scales says nothing here
    scaled = pl.when(is_own).then(pl.col(HIDDEN))
    return images.with_columns(scaled, patient_key=known, is_named=is_named).drop("own")


def refuse_unreadable(survey: Survey, facts: pl.DataFrame, policies: Policies, rule: str) -> None:
    """Refuse the rows of `facts`, naming the first of their files, unless there are none or they may be excluded."""
    if facts.is_empty() or policies.unreadable == "exclude":
        return
    named = facts.unique("file", maintain_order=True).select("file", "member", "reason").head(3)
    first = [
        survey.name(file, member) + (f" ({reason})" if reason else "") for file, member, reason in named.iter_rows()
    ]
    remedies = [text for text in facts["remedy"].drop_nulls().unique(maintain_order=True) if text][:1]
    found = f"{len(facts)}: {', '.join(first)}{', ...' if len(facts) > len(first) else ''}"
    remedy = ". ".join([*remedies, "Correct them, or exclude them with unreadable=exclude"])
    raise DataError(survey.where, rule, found=found, remedy=remedy)


def that_matter(refused: pl.DataFrame, keep: KeepRules | None) -> pl.DataFrame:
    """Of files that cannot be read those that the rules would not have left out anyway, as far as headers tell."""
    if keep is None or refused.is_empty():
        return refused
    return refused.filter(~(pl.col("modality").is_not_null() & keep.reasons(refused).is_not_null()))


def _readable(
    survey: Survey, *, keep: KeepRules | None, policies: Policies, flow: Flow
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that are images and those refused; steps found, readable, image and slices.

    A member of an archive counts as a file.
    """
    facts = survey.facts
    is_first = facts.select(pl.struct("file", "member").is_first_distinct()).to_series() if len(facts) > 1 else None
    files = facts if is_first is None else those(facts, is_first)
    flow.add("found", files, unit="files")
    refused = those(facts, facts["outcome"] == "refused")
    matters = that_matter(refused, keep)
    refuse_unreadable(survey, matters, policies, "every image must be readable")
    of = {name: those(files, files["outcome"] == name) for name in ("image", "skipped", "refused")}
    readable = those(files, files["outcome"] != "refused")
    flow.add("readable", readable, unit="files", excluded=Counter(of["refused"]["reason"]))
    flow.add("image", of["image"], unit="files", excluded=Counter(of["skipped"]["reason"]))
    images = survey.images
    flow.add("slices", images, unit="slices")
    if images.is_empty():
        kind = {"dicom": "DICOM image", "volumes": "NIfTI or NRRD volume"}.get(survey.kind, "picture")
        reasons = _counts(Counter(of["refused"]["reason"]) + Counter(of["skipped"]["reason"]))
        remedies = [text for text in facts["remedy"].drop_nulls().unique(maintain_order=True) if text]
        what = "Name the folder that holds the images" if of["refused"].is_empty() else "Export them again"
        remedy = remedies[0] if len(remedies) == 1 else f"{what} (fistula doctor source=... says what is in it)"
        raise DataError(survey.where, f"must hold at least one {kind}", found=reasons, remedy=remedy)
    return images, refused


def _wanted(survey: Survey, images: pl.DataFrame, keep: KeepRules | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the images by the keep rules: those wanted, and those left out with the `reason`; None wants all."""
    if keep is None:
        return images.with_columns(sequence=pl.lit("")), images.clear()
    images = aligned(images)  # a stack at 45 degrees is of one plane
    reasons = keep.reasons(images)
    images = images.with_columns(reasons.alias("reason"))
    wanted, left_out = those(images, reasons.is_null()), those(images, reasons.is_not_null())
    if wanted.is_empty():
        found = _counts(Counter(left_out["reason"]))
        options = " ".join(keep.widened(left_out, among=left_out))
        remedy = f"{options} keeps them all (fistula doctor shows what is there)" if options else "See fistula doctor"
        raise DataError(survey.where, NONE_KEPT, found=found, remedy=remedy)
    name = keep.sequence_of(wanted) if keep.named else pl.lit("")
    return wanted.with_columns_seq(reason=pl.lit(""), sequence=name), left_out


def _without_unlike(
    survey: Survey, wanted: pl.DataFrame, policies: Policies, column: str, what: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the images without what the others of their series state; `column` says whether they do."""
    stated = pl.col("num_rescale") if column == "is_rescaled" else pl.col(column).is_not_null()
    if wanted.select(stated.n_unique()).item() == 1:
        return wanted, wanted.clear()
    series = ["series_key", "modality", "image_type"]
    is_unlike = (stated < stated.max().over(series)) & pl.col(column).cast(pl.Boolean).any().over(series)
    if column == "spacing_row":  # in ultrasound and on film, calibrated images may lie beside others
        is_unlike &= pl.col("modality").is_in(STACKED)
    unlike = wanted.filter(is_unlike).with_columns(reason=pl.lit(f"without the {what} that its series has"))
    refuse_unreadable(survey, unlike, policies, f"images of a series must all state a {what}, or none")
    return (wanted.filter(~is_unlike), unlike) if len(unlike) else (wanted, unlike)


def _counts(counts: Mapping[Any, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return ", ".join(f"{reason} ({count})" for reason, count in ordered[:6]) or "nothing"
