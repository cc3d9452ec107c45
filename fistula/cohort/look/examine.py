"""What a folder holds and what is suspicious about it, from headers alone or with every image decoded."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl

from fistula.cohort.look.confounding import CONFOUNDED, find_confounding
from fistula.cohort.look.stacks import volume_notes
from fistula.dicom.container import Part, open_part
from fistula.dicom.look import Look
from fistula.dicom.out.reference import read_reference
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.burned import TEXT_LIKE, looks_like_text
from fistula.dicom.pixels.decode import decode
from fistula.dicom.timing import TimeLimit
from fistula.labels.matching import match
from fistula.labels.tables.lines import Labels
from fistula.source.choose import of_study
from fistula.source.rules import KeepRules
from fistula.source.shared_ids import doubts
from fistula.source.slices import is_risky
from fistula.source.survey import DEADLY, Survey, spelt_out
from fistula.source.volumes import with_volumes
from fistula.source.workers import Workers, batches_of, in_parallel

FILES_A_BATCH = 32


def with_decoding(survey: Survey, look: Look, workers: Workers) -> Survey:
    """The survey with every image decoded: what fails becomes refused, what looks like burned-in text is noted."""
    images = survey.images
    parts = images.select("file", "member", "frames").unique().rows()
    places = [(file, survey.part(file, member), frames) for file, member, frames in sorted(parts)]
    batches = batches_of(places, size=lambda item: 1, target=FILES_A_BATCH)
    rows: list[tuple] = []
    work = partial(_decode_batch, look=look)
    for found in in_parallel(work, batches, workers, title="decoding", is_risky=is_risky(images), lost=_lost):
        rows += found
    schema = {
        "file": pl.Int64(),
        "member": pl.String(),
        "failed": pl.String(),
        "mend": pl.String(),
        "is_text": pl.Boolean(),
    }
    tried = pl.DataFrame(rows, schema=schema, orient="row")
    facts = survey.facts.join(tried, on=["file", "member"], how="left", maintain_order="left")
    is_failed = pl.col("failed").is_not_null()
    is_text = pl.col("is_text").fill_null(value=False)
    notes = pl.when(is_text).then(pl.concat_str(pl.col("notes"), pl.lit(f"|{TEXT_LIKE}"))).otherwise("notes")
    facts = facts.with_columns(
        outcome=pl.when(is_failed).then(pl.lit("refused")).otherwise("outcome"),
        reason=pl.when(is_failed).then("failed").otherwise("reason"),
        remedy=pl.when(is_failed).then("mend").otherwise("remedy"),
        notes=notes.str.strip_chars("|"),
    )
    return replace(survey, facts=facts.drop("failed", "mend", "is_text"))


def _lost(item: tuple[int, Part, int]) -> list[tuple]:
    return [(item[0], item[1].member, DEADLY, "Export it again, uncompressed", False)]


def _decode_batch(batch: Sequence[tuple[int, Part, int]], *, look: Look) -> list[tuple]:
    return [(file, part.member, *_try(part, frames, look)) for file, part, frames in batch]


def _try(part: Part, frames: int, look: Look) -> tuple[str | None, str | None, bool]:
    is_text = False
    try:
        with TimeLimit(look.seconds):
            with open_part(part, limit=look.limit) as file:
                dataset = read_dataset(file, limit=look.limit)
            for picture in decode(dataset, range(frames)):
                is_text = is_text or looks_like_text(picture.values)
    except NotTaken as outcome:
        return outcome.reason, outcome.remedy, is_text
    return None, None, is_text


def file_records(survey: Survey, look: Look, *, identifiers: bool) -> list[dict[str, Any]]:
    """One record a file, or a member of an archive: path, outcome, reason, series (a pseudonym) and frames.

    With `identifiers` also the patient, description and UIDs as the file has them.
    """
    facts = survey.facts.unique(["file", "member"], maintain_order=True, keep="first")
    columns = facts.select("file", "member", "outcome", "reason", "series_key", "frames")
    records = [
        {
            "path": spelt_out(str(survey.paths[file])) + (f"/{member}" if member else ""),
            "outcome": outcome,
            "reason": reason,
            "series": series,
            "frames": (frames or 1) if outcome == "image" else frames or 0,
        }
        for file, member, outcome, reason, series, frames in columns.iter_rows()
    ]
    if identifiers:
        for record, (file, member) in zip(records, columns.select("file", "member").iter_rows(), strict=True):
            found = read_reference(survey.part(file, member), limit=look.limit)
            record |= {name: spelt_out(value) for name, value in found._asdict().items()}
    return records


def series_table(survey: Survey, keep: KeepRules | None, look: Look) -> pl.DataFrame:
    """Volumes of images that are alike, one row a kind, the most slices first; for this machine's screen alone.

    Returns:
        series (number of volumes), patients (how many, and the first of them as the files name them), slices, files,
        scanner, image type, description, image (component, plane, tilt), matrix, mm (between pixels and between
        slices), syntax, what the keep rules say, and the first file.
    """
    images = survey.images
    if images.is_empty():
        return pl.DataFrame()
    contrast = pl.when(pl.col("contrast") == "yes").then(pl.lit("with contrast")).otherwise(pl.lit(""))
    local = _local(survey, images, look)
    images = with_volumes(_named_apart(of_study(images)).join(local, on="series_key", maintain_order="left"))
    gap = pl.col("position_mm").sort().diff().filter(pl.col("position_mm").sort().diff() > 0).median()
    tilt = pl.col("tilt_degrees").round(0).cast(pl.Int64).cast(pl.String) + "°"
    images = images.with_columns(gap=gap.over("series_key", "volume").round(1).cast(pl.String)).with_columns(
        maker=_joined("modality", "manufacturer", "scanner"),
        kind=_joined("component", "orientation", tilt.fill_null(""), contrast),
        matrix=pl.concat_str(pl.col("rows").cast(pl.String), pl.col("columns").cast(pl.String), separator="x"),
        mm=pl.col("spacing_row").round(2).cast(pl.String).fill_null("-") + " / " + pl.col("gap").fill_null("-"),
        why=pl.lit("kept") if keep is None else keep.reasons(images).fill_null(_kept_as(images, keep)),
    )
    names = pl.col("patients").list.set_difference([""])  # pictures and volumes name nobody
    alike = ["maker", "image_type", "description", "kind", "matrix", "mm", "syntax", "why"]
    return (
        images.group_by(alike, maintain_order=True)
        .agg(
            pl.struct("series_key", "volume").n_unique().alias("series"),
            pl.col("patient").unique(maintain_order=True).alias("patients"),
            pl.len().alias("slices"),
            pl.struct("file", "member").n_unique().alias("files"),
            pl.col("file").first().alias("first"),
        )
        .sort("slices", descending=True, maintain_order=True)
        .with_columns(first=pl.col("first").map_elements(survey.name, return_dtype=pl.String()))
        .with_columns(
            patients=pl.when(names.list.len() > 0)
            .then(pl.col("patients").list.len().cast(pl.String) + ": " + names.list.head(3).list.join(", "))
            .otherwise(pl.lit("not named"))
        )
        .select("series", "patients", "slices", "files", *alike, "first")
    )


def _kept_as(images: pl.DataFrame, keep: KeepRules) -> pl.Series:
    name = keep.sequence_of(images).fill_null("")
    return pl.select(pl.when(name != "").then(pl.format("kept as {}", name)).otherwise(pl.lit("kept"))).to_series()


def outcomes(survey: Survey) -> list[tuple[str, str, str, int, str]]:
    """Outcome, reason, remedy, number and first of the files or members that are no image, the most frequent first."""
    rest = survey.facts.filter(pl.col("outcome") != "image").unique(["file", "member"], maintain_order=True)
    words = ("outcome", "reason", "remedy")
    groups = rest.group_by(words, maintain_order=True).agg(pl.len(), pl.col("file").first(), pl.col("member").first())
    found = [(*said, count, spelt_out(survey.name(file, member))) for *said, count, file, member in groups.rows()]
    return sorted(found, key=lambda row: (row[0], -row[3], row[1:3]))


def suspicions(survey: Survey, *, labels: Labels | None, look: Look) -> list[str]:
    """Sentences on what a person should look at before trusting the images."""
    images = survey.images
    if images.is_empty():
        return []
    nameless = images["notes"].str.contains("no PatientID")
    images = of_study(images)
    found = []
    volumes = with_volumes(_named_apart(images))
    mixed = volumes.group_by("series_key").agg(pl.col("volume").n_unique()).filter(pl.col("volume") > 1)
    found.append((len(mixed), "series that mix sequences, orientations or matrices under one SeriesInstanceUID"))
    found.append((int(images["is_burned_in"].sum()), "slices marked as having text burned in"))
    found.append((int(images["notes"].str.contains("text-like").sum()), "slices with a bright text-like corner"))
    named = images.filter(pl.col("slice_key") != "")
    found.append((len(named) - named["slice_key"].n_unique(), "slices that are copies of another instance"))
    is_study = int((nameless & ~images["is_named"]).sum())
    found.append((is_study, "slices without a PatientID, whose study is used as the patient"))
    found.append((int(nameless.sum()) - is_study, "slices without a PatientID, of a study with one, which is used"))
    found += [(count, text) for text, count in survey.noted.items()]
    found.append((int(images["is_lossy"].sum()), "slices compressed with loss"))
    found += [(count, f"volumes with {note}") for note, count in volume_notes(volumes).items()]
    found += [(count, text) for text, count in doubts(images).items()]
    sentences = [f"{text}: {count}" for count, text in found if count]
    return sentences + (_confounded(survey, labels, look) if labels is not None else [])


def _confounded(survey: Survey, labels: Labels, look: Look) -> list[str]:
    facts = match(survey, survey.facts.with_columns(file_series="series_key"), labels, look.pseudonyms).filter(
        (pl.col("outcome") == "image") & pl.col("label").is_not_null()
    )
    found = find_confounding(facts, level=CONFOUNDED, pairs=(("label", "scanner"), ("site", "scanner")))
    return [
        f"{'the class' if one.between[0] == 'label' else one.between[0]} is associated with the {one.between[1]} "
        f"(Cramér's V {one.cramers_v:.2f} over {one.patients} patients)"
        for one in found
        if one.is_warning
    ]


def _local(survey: Survey, images: pl.DataFrame, look: Look) -> pl.DataFrame:
    """Of each series, what its first file says that may name a person: patient and description."""
    first = images.unique("series_key", keep="first", maintain_order=True).select("series_key", "file", "member")
    named = [
        (series, *read_reference(survey.part(file, member), limit=look.limit)[-2:])
        for series, file, member in first.rows()
    ]
    columns = {"series_key": pl.String(), "patient": pl.String(), "description": pl.String()}
    return pl.DataFrame([tuple(map(spelt_out, row)) for row in named], schema=columns, orient="row")


def _named_apart(images: pl.DataFrame) -> pl.DataFrame:
    """With a slice key of its own for each row, so that copies do not fall together."""
    return images.with_columns(
        slice_key=pl.concat_str("slice_key", pl.int_range(pl.len()).cast(pl.String), separator="#")
    )


def _joined(*columns: str | pl.Expr) -> pl.Expr:
    return pl.concat_str(*columns, separator=" ", ignore_nulls=True).str.strip_chars().str.replace_all(" +", " ")
