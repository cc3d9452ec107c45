"""Bring labels and images together, and say precisely what has no partner, or more than one."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from fistula.dicom.container import as_written
from fistula.dicom.identity import Pseudonyms
from fistula.errors import DataError, classes_as_typed, first_of
from fistula.labels.tables.covariates import COVARIATE
from fistula.labels.tables.lines import POINTS, Labels, Row
from fistula.labels.tables.spreadsheet import unpointed
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey

MATCHED = {
    "label": pl.Int64(),
    "site": pl.String(),
    "split": pl.String(),
    **{f"source_{point}_{axis}": pl.Float64() for point in POINTS for axis in ("row", "col")},  # in the source image
    "line": pl.Int64(),
    "said_patient": pl.String(),  # pseudonym of the patient that the table names
}
# Which fact a column is held against, and as the pseudonym of what.
FACT_OF = {
    "sop_instance_uid": ("instance_key", "instance"), "series_instance_uid": ("file_series", "series"),
    "study_instance_uid": ("study_key", "study"), "accession_number": ("accession_key", "accession"),
    "patient_id": ("patient_key", "patient"), "slice_key": ("slice_key", ""), "patient_key": ("patient_key", ""),
}  # fmt: skip
MOST_LISTED = 12  # classes of which each is counted in a message
MOST_DIGITS = 20  # of an identifier that may have lost its first zeros in a spreadsheet
# Which value of `negatives` makes whose slices negative.
NEGATIVES_OF = {"other patients": ("other_patients", "rest"), "labelled patients": ("rest",)}


def match(survey: Survey, facts: pl.DataFrame, labels: Labels, pseudonyms: Pseudonyms) -> pl.DataFrame:
    """Facts with the columns of `MATCHED` and those of covariates, null where the table has no line for the image.

    A line without a frame number is for all frames of its object.
    """
    lines = labels.rows if len(facts) else ()
    rows = {_key(row.name, labels.key, pseudonyms, row.frame): row for row in lines}
    matched: list[tuple] = []
    is_path = labels.key == ("path",)
    for record in facts.select(
        "file", "member", "frame", "instance_number", *{fact for fact, _ in FACT_OF.values()}
    ).iter_rows(named=True):
        frame = (record["frame"] or 0) + 1
        names = _paths(record, survey) if is_path else [_name(record, labels.key)]
        found = (rows.get((*name, which)) for name in names for which in (frame, None))
        row = next((one for one in found if one is not None), None)
        matched.append(_columns(row, pseudonyms, covariates=len(labels.covariates)))
    schema = MATCHED | {f"{COVARIATE}{name}": pl.Float64() for name in labels.covariates}
    site = pl.col("site").min().over(pl.col("site").str.to_lowercase())  # Berlin and BERLIN are one
    return facts.hstack(pl.DataFrame(matched, schema=schema, orient="row").with_columns(site))


def with_negatives(facts: pl.DataFrame, *, negatives: str) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Give slices that the table does not label the label 0, as `negatives` says.

    `other_patients` are the slices of patients without any labelled one (a labelled patient's own other slices stay in
    no class: the paper's rule), `rest` those as well, and `none` is no slice. Gives the facts, and whose slices were
    made negative: slices and patients of each.
    """
    is_open, is_control = pl.col("label").is_null(), pl.col("label").is_null().all().over("patient_key")
    whose = {"other patients": is_control, "labelled patients": is_open & ~is_control}
    whose = {name: rows for name, rows in whose.items() if negatives in NEGATIVES_OF[name]}
    counts = {}
    for name, rows in whose.items():
        found = facts.filter(rows)
        counts[name] = {"slices": len(found), "patients": found["patient_key"].n_unique()}
    if whose:
        is_negative = pl.any_horizontal(*whose.values())
        facts = facts.with_columns(label=pl.when(is_negative).then(pl.lit(0, pl.Int64())).otherwise("label"))
    return facts, counts


def refuse_ambiguous(images: pl.DataFrame, labels: Labels) -> None:
    """Raise DataError if a line names several images (wanted, without copies), unless all frames of an object."""
    if labels.level != "slice":
        return
    counted = pl.struct("file", "member").n_unique() if labels.has_frames else pl.len()
    # A line may be for a range of image numbers, and then for one image of each.
    by = ["line", "instance_number"] if "instance_number" in labels.key else ["line"]
    counts = images.drop_nulls("line").group_by(by).agg(len=counted).filter(pl.col("len") > 1).sort(by)
    if counts.is_empty():
        return
    where = {row.line: row.where for row in labels.rows}
    named = [f"{where[line]} ({count} images)" for line, count in counts.select("line", "len").iter_rows()]
    found = f"{len(counts)} lines for {counts['len'].sum()} images: {first_of(named)}"
    remedy = "Name images by sop_instance_uid, path or series_instance_uid, and frames by frame_number as well"
    raise DataError(labels.path, "every line must be for one image", found=found, remedy=remedy)


def refuse_unmatched(
    survey: Survey,
    wanted: pl.DataFrame,
    others: pl.DataFrame,
    labels: Labels,
    keep: KeepRules | None,
    *,
    policy: str,
    pseudonyms: Pseudonyms,
) -> dict[str, int]:
    """Count labels of no image, and of images that the keep rules leave out; refuse them unless `policy` is `exclude`.

    `wanted` are the images that the rules keep, `others` the rest with its `reason`, both matched; lines without a
    label are passed over.

    Raises:
        DataError: With how many, and the first of them.
    """
    named = list({row.line: row for row in labels.rows if row.label is not None}.values())  # a range has several
    used, seen = set(wanted["line"].drop_nulls()), set(others["line"].drop_nulls())
    found_lines, dropped_lines = used | seen, seen - used
    unused = [row for row in named if row.line not in found_lines]
    unused += _missing_ends(labels, pl.concat([wanted, others], how="diagonal_relaxed"))
    dropped = [row for row in named if row.line in dropped_lines]
    if unused and policy == "refuse":
        there = pl.concat([wanted, others], how="diagonal_relaxed")
        remedy = f"{_hint(unused[0], labels, survey, there, pseudonyms)}, or set unmatched=exclude"
        found = f"{len(unused)} without one: {_first(unused)}"
        raise DataError(labels.path, "every label must belong to an image in the source", found=found, remedy=remedy)
    if dropped and policy == "refuse" and keep is not None:
        rows = others.filter(pl.col("line").is_in([row.line for row in dropped]))
        why = Counter(rows.unique("line")["reason"])
        reasons = ", ".join(f"{reason} ({count})" for reason, count in why.most_common(4))
        images = rows.filter(pl.col("outcome") == "image")
        rule = "every label must belong to an image that the keep rules keep"
        there = pl.concat([wanted, others.filter(pl.col("outcome") == "image")], how="diagonal_relaxed")
        options = " ".join(keep.widened(images, among=there)) if len(images) else ""
        remedy = f"{options} keeps them; unmatched=exclude excludes them" if options else "Or set unmatched=exclude"
        found = f"{len(dropped)} of {len(named)} left out ({reasons}): {_first(dropped)}"
        raise DataError(labels.path, rule, found=found, remedy=remedy)
    return {"labels for no image": len(unused), "labels for images left out": len(dropped)}


def _missing_ends(labels: Labels, there: pl.DataFrame) -> list[Row]:
    """Of ranges of images the first or last where that is not there: a series of which some has not come.

    A range may have gaps, for scanners leave numbers out.
    """
    lines: dict[int, list[Row]] = {}
    for row in labels.rows:
        if row.label is not None:
            lines.setdefault(row.line, []).append(row)
    ranges = {line: rows for line, rows in lines.items() if len(rows) > 1}
    if not ranges:
        return []
    is_numbered = "instance_number" in labels.key
    number = pl.col("instance_number") if is_numbered else pl.col("frame") + 1
    found = there.filter(pl.col("line").is_in(list(ranges))).group_by("line").agg(number.min(), last=number.max())
    return [
        end
        for line, *numbers in found.sort("line").iter_rows()
        for end, number_found in zip((ranges[line][0], ranges[line][-1]), numbers, strict=True)
        if number_found != (int(end.name[-1]) if is_numbered else end.frame)
    ]


def _hint(row: Row, labels: Labels, survey: Survey, there: pl.DataFrame, pseudonyms: Pseudonyms) -> str:
    """What may be wrong with a line that names no image."""
    column, name = labels.key[0], row.name[0]
    if column == "path":
        others = survey.facts.filter(pl.col("outcome") != "image").select("file", "reason", "remedy")
        for file, reason, remedy in others.iter_rows():
            if unicodedata.normalize("NFC", survey.name(file)) == name:
                return f"It is {reason}. {remedy or 'It cannot be used'}"
        return "A path begins below source and has its ending: check source and the table"
    if column in ("patient_id", "accession_number") and (plain := unpointed(name)).isdigit():
        fact, kind = FACT_OF[column]
        known = set(there[fact])
        if plain != name and pseudonyms(kind, plain) in known:
            return f"It is {plain} in the images: format the column as text"
        for length in range(len(plain) + 1, MOST_DIGITS):
            if pseudonyms(kind, plain.zfill(length)) in known:
                return f"It is {plain.zfill(length)} in the images: format the column as text, so that zeros stay"
    return "Check source and the table"


def _first(rows: Sequence[Row]) -> str:
    return first_of([row.origin or f"line {row.line} ({' '.join(row.name)})" for row in rows])


def refuse_empty_classes(labels: Iterable[int], classes: Sequence[str], lost: Mapping[str, int]) -> None:
    """Raise DataError if a class has no image: nothing can be learned from one class.

    `labels` are those that images have, and `lost` counts of those of excluded images.
    """
    given = Counter(labels)
    counts = [given[index] for index in range(len(classes))]
    if min(counts) > 0:
        return
    gone = ", ".join(f"{what}: {count}" for what, count in lost.items() if count)
    again = "Correct what was excluded, or label images that can be read"
    if not sum(counts):
        remedy = again if gone else "Fill in the column of the labels"
        raise DataError("labels", "must label an image", found=gone or "no label", remedy=remedy)
    found = ", ".join(f"{name}: {count}" for name, count in zip(classes, counts, strict=True))
    if len(classes) > MOST_LISTED:
        empty = [name for name, count in zip(classes, counts, strict=True) if not count]
        found = f"none of {len(empty)} of {len(classes)} classes: {first_of(empty)}"
    remedy = "Label images of every class; if only positive ones are listed, set negatives=other_patients"
    there = [name for name, count in zip(classes, counts, strict=True) if count]
    if MOST_LISTED >= len(there) > 1 and all(name.isdigit() for name in classes):
        named = classes_as_typed(there)
        remedy = f"Label images of every class, or name the existing ones: {named}"
    if gone:
        found, remedy = f"{found} ({gone})", again
    raise DataError("labels", "every class needs at least one image", found=found, remedy=remedy)


def _key(name: tuple[str, ...], key: tuple[str, ...], pseudonyms: Pseudonyms, frame: int | None) -> tuple:
    if key == ("path",):
        return *name, frame
    _, kind = FACT_OF[key[0]]
    return pseudonyms(kind, name[0]) if kind else name[0], *map(int, name[1:]), frame


def _paths(record: dict, survey: Survey) -> list[tuple[str]]:
    """A file's path below the source, letters composed; of a member of an archive in each way it may be spelt."""
    member = record["member"] or ""
    spelt = as_written(member) if member else [""]
    return [(unicodedata.normalize("NFC", survey.name(record["file"], name)),) for name in spelt]


def _name(record: dict, key: tuple[str, ...]) -> tuple:
    return record[FACT_OF[key[0]][0]], *(record[column] for column in key[1:])


def _columns(row: Row | None, pseudonyms: Pseudonyms, *, covariates: int) -> tuple:
    if row is None:
        return (None,) * (len(MATCHED) + covariates)
    points = [value for point in row.points for value in point or (None, None)]
    patient = pseudonyms("patient", row.patient) if row.patient else None
    return row.label, row.site, row.split, *points, row.line, patient, *(row.covariates or (None,) * covariates)
