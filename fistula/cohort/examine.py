"""What a folder holds and what is suspicious about it, from headers alone or with every image decoded."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from fistula.cohort.labels import Labels
from fistula.cohort.matching import match
from fistula.cohort.rules import Keep
from fistula.cohort.select import suspected_persons
from fistula.cohort.stacks import volume_notes, with_volumes
from fistula.cohort.survey import DEADLY, Survey, printable
from fistula.cohort.volume import is_risky
from fistula.cohort.workers import Workers, batches_of, in_parallel
from fistula.dicom.burned import looks_like_text
from fistula.dicom.container import Part, open_part
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels import decode
from fistula.dicom.survey import Look
from fistula.dicom.timing import TimeLimit

FILES_A_BATCH = 32
CONFOUNDED = 0.7  # Cramér's V from which two facts are said to go together


def decoded(survey: Survey, look: Look, workers: Workers) -> Survey:
    """The survey with every image decoded: what fails becomes refused, what looks like burned-in text is noted."""
    images = survey.facts.filter(pl.col("outcome") == "image")
    parts = [
        (file, member, frames) for file, member, frames in images.select("file", "member", "frames").unique().rows()
    ]
    places = [(file, Part(survey.paths[file], member), frames) for file, member, frames in sorted(parts)]
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
    notes = pl.when(is_text).then(pl.concat_str(pl.col("notes"), pl.lit("|bright text-like corner"))).otherwise("notes")
    facts = facts.with_columns(
        outcome=pl.when(is_failed).then(pl.lit("refused")).otherwise("outcome"),
        reason=pl.when(is_failed).then("failed").otherwise("reason"),
        remedy=pl.when(is_failed).then("mend").otherwise("remedy"),
        notes=notes.str.strip_chars("|"),
    )
    return Survey(survey.folder, survey.paths, facts.drop("failed", "mend", "is_text"))


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


def file_records(survey: Survey) -> list[dict[str, Any]]:
    """One record a file, or a member of an archive: path, outcome, reason, series (a pseudonym) and frames."""
    facts = survey.facts.unique(["file", "member"], maintain_order=True, keep="first")
    columns = facts.select("file", "member", "outcome", "reason", "series_key", "frames")
    return [
        {
            "path": printable(str(survey.paths[file])) + (f"/{member}" if member else ""),
            "outcome": outcome,
            "reason": reason,
            "series": series,
            "frames": (frames or 1) if outcome == "image" else frames or 0,
        }
        for file, member, outcome, reason, series, frames in columns.iter_rows()
    ]


def series_table(survey: Survey, keep: Keep) -> pl.DataFrame:
    """Volumes of images that are alike, one row a kind, the most slices first.

    Returns:
        series (number of volumes), slices, files, scanner, image type, image, matrix, mm, syntax, what the keep rules
        say, and the first file.
    """
    images = survey.facts.filter(pl.col("outcome") == "image")
    if images.is_empty():
        return pl.DataFrame()
    contrast = pl.when(pl.col("contrast") == "yes").then(pl.lit("with contrast")).otherwise(pl.lit(""))
    images = with_volumes(_named_apart(images)).with_columns(
        maker=_joined("modality", "manufacturer", "scanner"),
        kind=_joined("component", "orientation", contrast),
        matrix=pl.concat_str(pl.col("rows").cast(pl.String), pl.col("columns").cast(pl.String), separator="x"),
        mm=pl.col("spacing_row").round(2).cast(pl.String).fill_null("-"),
        why=keep.reasons(images).fill_null("kept"),
    )
    alike = ["maker", "image_type", "kind", "matrix", "mm", "syntax", "why"]
    return (
        images.group_by(alike, maintain_order=True)
        .agg(
            pl.struct("series_key", "volume").n_unique().alias("series"),
            pl.len().alias("slices"),
            pl.struct("file", "member").n_unique().alias("files"),
            pl.col("file").first().alias("first"),
        )
        .sort("slices", descending=True, maintain_order=True)
        .with_columns(first=pl.col("first").map_elements(survey.name, return_dtype=pl.String()))
        .select("series", "slices", "files", *alike, "first")
    )


def outcomes(survey: Survey) -> list[tuple[str, str, str, int]]:
    """Outcome, reason, remedy and number of files (or members) for all that is no image, the most frequent first."""
    rest = survey.facts.filter(pl.col("outcome") != "image").unique(["file", "member"])
    counts = Counter(rest.select("outcome", "reason", "remedy").rows())
    return [
        (*words, count) for words, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    ]


def suspicions(survey: Survey, *, labels: Labels | None, look: Look) -> list[str]:
    """Sentences on what a person should look at before trusting the images."""
    images = survey.facts.filter(pl.col("outcome") == "image")
    if images.is_empty():
        return []
    found = []
    volumes = with_volumes(_named_apart(images))
    mixed = volumes.group_by("series_key").agg(pl.col("volume").n_unique()).filter(pl.col("volume") > 1)
    found.append((len(mixed), "series mix sequences, orientations or matrices under one SeriesInstanceUID"))
    found.append((int(images["is_burned_in"].sum()), "slices say that text is burned in"))
    found.append((int(images["notes"].str.contains("text-like").sum()), "slices have a bright text-like corner"))
    named = images.filter(pl.col("slice_key") != "")
    found.append((len(named) - named["slice_key"].n_unique(), "slices are copies of an instance that is there already"))
    found.append(
        (suspected_persons(images), "persons (birth date, sex, study date) stand under more than one PatientID")
    )
    found.append(
        (
            int(images["notes"].str.contains("no PatientID").sum()),
            "slices have no PatientID: the study stands for the patient",
        )
    )
    found.append((int(images["is_lossy"].sum()), "slices were compressed with loss"))
    found += [(count, f"volumes have {note}") for note, count in volume_notes(volumes).items()]
    sentences = [f"{count} {text}" for count, text in found if count]
    return sentences + (_confounded(survey, labels, look) if labels is not None else [])


def _confounded(survey: Survey, labels: Labels, look: Look) -> list[str]:
    facts = match(survey, survey.facts.with_columns(file_series="series_key"), labels, look.pseudonyms).filter(
        (pl.col("outcome") == "image") & pl.col("label").is_not_null()
    )
    patients = facts.group_by("patient_key").agg(pl.col("label").max(), pl.col("site", "scanner").mode().sort().first())
    sentences = []
    for fact in ("label", "site"):
        strength = cramers_v(patients[fact].to_list(), patients["scanner"].to_list())
        if strength >= CONFOUNDED:
            sentences.append(f"{fact} goes with the scanner (Cramér's V {strength:.2f} over {len(patients)} patients)")
    return sentences


def cramers_v(first: Sequence[Any], second: Sequence[Any]) -> float:
    """How far two facts determine one another, from 0 (not) to 1 (wholly); 0 where one of them does not vary.

    Source: Cramér (1946), Mathematical Methods of Statistics, 21.9.

    Example:
        >>> cramers_v([0, 0, 1, 1], ["a", "a", "b", "b"])
        1.0
    """
    pairs = [(one, two) for one, two in zip(first, second, strict=True) if one is not None and two not in (None, "")]
    rows, columns = Counter(one for one, _ in pairs), Counter(two for _, two in pairs)
    if min(len(rows), len(columns)) < 2:
        return 0.0
    joint, total = Counter(pairs), len(pairs)
    expected = {(one, two): rows[one] * columns[two] / total for one in rows for two in columns}
    chi_squared = sum((joint[pair] - value) ** 2 / value for pair, value in expected.items())
    return float((chi_squared / total / (min(len(rows), len(columns)) - 1)) ** 0.5)


def _named_apart(images: pl.DataFrame) -> pl.DataFrame:
    """With a slice key of its own for each row, so that copies do not fall together."""
    return images.with_columns(
        slice_key=pl.concat_str("slice_key", pl.int_range(pl.len()).cast(pl.String), separator="#")
    )


def _joined(*columns: str | pl.Expr) -> pl.Expr:
    return pl.concat_str(*columns, separator=" ", ignore_nulls=True).str.strip_chars().str.replace_all(" +", " ")
