"""From a survey and a table of labels to the slices that are to be read, with the flow of what was left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from fistula.cohort.flow import Flow
from fistula.cohort.labels import Labels
from fistula.cohort.matching import match, refuse_empty_classes, refuse_files, refuse_unmatched, with_negatives
from fistula.cohort.rules import Keep
from fistula.cohort.stacks import with_volumes
from fistula.cohort.survey import Survey
from fistula.dicom.container import Part
from fistula.dicom.survey import Look, source_hash
from fistula.errors import ConfigError, DataError

CHOICES: dict[str, tuple[str, ...]] = dict.fromkeys(("unreadable", "unmatched"), ("refuse", "exclude"))
CHOICES["negatives"] = ("none", "other_patients", "rest")


@dataclass(frozen=True)
class Policies:
    """What to do with what does not fit: `refuse` it (stop with an error) or `exclude` it (count it and go on).

    Attributes:
        unreadable: Images that cannot be read.
        unmatched: Labels for images that are not there.
        negatives: Which slices without a label are negative: `none`, those of `other_patients`, or the `rest`.
    """

    unreadable: str = "refuse"
    unmatched: str = "refuse"
    negatives: str = "none"

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(key, f"must be {' or '.join(choices)}", found=getattr(self, key))


def select(
    survey: Survey, labels: Labels, *, keep: Keep | None, look: Look, policies: Policies, flow: Flow
) -> tuple[pl.DataFrame, dict[str, dict[str, int]], dict[str, int]]:
    """Choose slices; adds to `flow` up to the step `labelled`.

    Args:
        survey: What is below the source.
        labels: The table.
        keep: Which images are the wanted sequence; None keeps all, as for pictures.
        look: Names and limits.
        policies: What to refuse.
        flow: Gets a step for each thing looked at.

    Returns:
        Rows of the survey's facts with `volume` and the columns of `fistula.cohort.matching.MATCHED`: every wanted
        slice of every patient who has a label; whose slices were made negative, see `with_negatives`; and counts of
        what is worth knowing but was no reason to leave anything out.

    Raises:
        DataError: If nothing is left, or if a policy says so.
    """
    facts = match(survey, labels, look.pseudonyms)
    images = readable_images(survey, facts, keep=keep, policies=policies, flow=flow)
    noted = {"labels for no image": refuse_unmatched(facts, labels, policy=policies.unmatched)}
    images, left_out = wanted_images(survey, images, keep)
    noted["labels for images left out"] = int(left_out["label"].is_not_null().sum())
    images, copies = without_copies(survey, images, look)
    reasons = Counter(left_out["reason"]) + copies
    flow.add("right sequence", unit="slices", count=len(images), excluded=reasons)
    images = images.with_columns(patient_key=pl.coalesce("said_patient", "patient_key"))
    images = with_volumes(images)
    images, negatives = with_negatives(images, negatives=policies.negatives)
    is_known = pl.col("label").is_not_null().any().over("patient_key")
    others = images.filter(~is_known)
    images = images.filter(is_known)
    why = "of a patient without a label"
    flow.add("labelled", unit="slices", count=len(images), excluded={why: len(others)} if len(others) else {})
    refuse_empty_classes(images["label"].drop_nulls().to_list(), labels.classes)
    noted["persons suspected under two ids"] = suspected_persons(images)
    return images, negatives, {name: count for name, count in noted.items() if count}


def suspected_persons(facts: pl.DataFrame) -> int:
    """How many birth date, sex and study date together stand under more than one patient."""
    named = facts.filter(pl.col("person_key").fill_null("") != "")
    return len(named.group_by("person_key").agg(pl.col("patient_key").n_unique()).filter(pl.col("patient_key") > 1))


def readable_images(
    survey: Survey, facts: pl.DataFrame, *, keep: Keep | None, policies: Policies, flow: Flow
) -> pl.DataFrame:
    """The rows that are images; steps found, readable and image."""
    files = facts.unique("file", maintain_order=True)
    flow.add("found", unit="files", count=len(files))
    refused = facts.filter(pl.col("outcome") == "refused")
    refused_files = refused.unique(["file", "member"], maintain_order=True)
    if keep is not None and len(refused):
        # What the rules would have left out anyway stops nobody.
        known = pl.col("modality").is_not_null() & keep.reasons(refused).is_not_null()
        refused = refused.filter(~known)
    refuse_files(survey, refused, key="unreadable", policy=policies.unreadable, rule="every image must be readable")
    readable = files.filter(pl.col("outcome") != "refused")
    flow.add("readable", unit="files", count=len(readable), excluded=Counter(refused_files["reason"]))
    image_files = readable.filter(pl.col("outcome") == "image")
    skipped = facts.filter(pl.col("outcome") == "skipped").unique(["file", "member"])
    flow.add("image", unit="files", count=len(image_files), excluded=Counter(skipped["reason"]))
    images = facts.filter(pl.col("outcome") == "image")
    if images.is_empty():
        kind = "DICOM image" if keep is not None else "PNG or JPEG picture"
        reasons = _counts(Counter(refused_files["reason"]) + Counter(skipped["reason"]))
        remedy = "Name the folder that holds the images (fistula doctor source=... says what is in it)"
        raise DataError(f"source={survey.folder}", f"must hold at least one {kind}", found=reasons, remedy=remedy)
    return images


def wanted_images(survey: Survey, images: pl.DataFrame, keep: Keep | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part the images by the keep rules: those wanted, and those left out with the `reason`; None wants all.

    Raises:
        DataError: If none is wanted.
    """
    if keep is None:
        return images, images.clear()
    images = images.with_columns(reason=keep.reasons(images))
    wanted, left_out = images.filter(pl.col("reason").is_null()), images.filter(pl.col("reason").is_not_null())
    if wanted.is_empty():
        found = _counts(Counter(left_out["reason"]))
        remedy = "Change the rules (keep.component=[magnitude], say) or take every image (keep=all)"
        raise DataError(f"source={survey.folder}", "no image passes the keep rules", found=found, remedy=remedy)
    return wanted.with_columns(reason=pl.lit("")), left_out


def without_copies(survey: Survey, images: pl.DataFrame, look: Look) -> tuple[pl.DataFrame, Counter[str]]:
    """Keep one of several objects with the same identity: the one with the smallest hash, wherever it lies."""
    unnamed = images["slice_key"] == ""
    if unnamed.any():
        places = [
            look.pseudonyms("place", f"{survey.name(file, member)}#{frame}") if key == "" else key
            for file, member, frame, key in images.select("file", "member", "frame", "slice_key").iter_rows()
        ]
        images = images.with_columns(slice_key=pl.Series(places, dtype=pl.String()))
    copies = images.filter(pl.col("slice_key").is_duplicated())
    if copies.is_empty():
        return images, Counter()
    parts = {row: Part(survey.paths[row[0]], row[1]) for row in copies.select("file", "member").unique().rows()}
    hashes = {row: source_hash(part, look) for row, part in parts.items()}
    copies = copies.with_columns(hash=pl.Series([hashes[row] for row in copies.select("file", "member").rows()]))
    same = pl.col("hash").n_unique().over("slice_key") == 1
    why = pl.when(same).then(pl.lit("a copy of another file")).otherwise(pl.lit("another file has its SOPInstanceUID"))
    copies = copies.with_columns(why=why).sort("slice_key", "hash", "file")
    dropped = copies.filter(pl.col("slice_key").is_duplicated() & ~pl.col("slice_key").is_first_distinct())
    kept = images.join(
        dropped.select("file", "member", "frame"), on=["file", "member", "frame"], how="anti", maintain_order="left"
    )
    return kept, Counter(dropped["why"])


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} of: {reason}" for reason, count in ordered[:6]) or "nothing"
