"""The table of everything found below a folder: one row a frame of an image, one a file that gives none."""

import os
import unicodedata
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fistula.dicom.container import Part, parts_of
from fistula.dicom.look import Look, look_at
from fistula.dicom.outcome import NotTaken, Refused
from fistula.dicom.tree import find_files
from fistula.errors import DataError
from fistula.source.files.formats import kind_of_source, masks_among, names_in
from fistula.source.files.records import records_of
from fistula.source.workers import Workers, batches_of, in_parallel

FACTS: dict[str, Any] = {
    "file": pl.Int64(),  # index into the list of paths
    "member": pl.String(),  # of a zip archive
    "frame": pl.Int64(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "remedy": pl.String(),
    "slice_key": pl.String(),
    "concatenation_key": pl.String(),  # of a multi-frame image in several objects; empty for any other
    "parts": pl.List(pl.Int64()),  # which one of them it is, and how many there are
    "instance_key": pl.String(),
    "patient_key": pl.String(),
    "study_key": pl.String(),
    "series_key": pl.String(),
    "is_named": pl.Boolean(),  # whether a PatientID is there; else the study stands for the patient
    "is_default_id": pl.Boolean(),
    "accession_key": pl.String(),
    "issuer_key": pl.String(),
    "birth_key": pl.String(),
    "institution_key": pl.String(),
    "person_key": pl.String(),
    "alike_key": pl.String(),
    "near_keys": pl.List(pl.String()),
    "name_keys": pl.List(pl.String()),
    "device_key": pl.String(),
    "born": pl.Int64(),  # this and the next two on secret scales of the patient's own
    "height": pl.Int64(),
    "second": pl.Int64(),
    "instance_number": pl.Int64(),
    "rows": pl.Int64(),
    "columns": pl.Int64(),
    "frames": pl.Int64(),
    "spacing_row": pl.Float64(),
    "spacing_col": pl.Float64(),
    "cosines": pl.List(pl.Float64()),
    "orientation": pl.String(),
    "tilt_degrees": pl.Float64(),
    "turned": pl.String(),
    "position_mm": pl.Float64(),
    "location": pl.Float64(),  # SliceLocation in mm, along an axis of the maker's choice
    "corner": pl.List(pl.Float64()),  # ImagePositionPatient, of the picture as found
    "frame_key": pl.String(),  # of the FrameOfReferenceUID; empty where none is stated
    "modality": pl.String(),
    "manufacturer": pl.String(),
    "scanner": pl.String(),
    "field_strength": pl.Float64(),  # tesla
    "image_type": pl.String(),
    "component": pl.String(),
    "acquisition": pl.String(),  # b-value, echo, phase and stack, in words
    "moments": pl.List(pl.Float64()),  # what tells volumes in the same places apart
    "series_alike": pl.String(),  # the same for series that may be one, cut up
    "contrast": pl.String(),
    "syntax": pl.String(),
    "photometric": pl.String(),
    "bits": pl.Int64(),
    "is_rescaled": pl.Boolean(),  # whether slope and intercept change anything; null without them
    "num_rescale": pl.Int64(),  # how many of the two are stated
    "is_scaled": pl.Boolean(),  # whether Philips' own scale of signals is stated; else null
    "is_lossy": pl.Boolean(),
    "is_burned_in": pl.Boolean(),
    "is_described": pl.Boolean(),
    "described": pl.List(pl.Boolean()),  # the same for the rule of each of several sequences
    "is_localizer": pl.Boolean(),
    "is_mosaic": pl.Boolean(),
    "age": pl.Float64(),
    "sex": pl.String(),
    "study_day": pl.Int64(),
    "notes": pl.String(),
    "plain": pl.String(),  # of what is read without a second look at its header
}
FILES_A_BATCH = 64
ROWS_A_FRAME = 512  # records as tuples take ten times the memory of a table's
SEVERAL = 64  # records from which lists are made by column
# Where columns stand in a record: those of lists, and the others.
LISTS = {name: at for at, (name, kind) in enumerate(FACTS.items()) if isinstance(kind, pl.List)}
SINGLE = {name: at for at, name in enumerate(FACTS) if name not in LISTS}
DEADLY = "crashes or hangs the program that reads it"


@dataclass(frozen=True)
class Survey:
    """What is below a folder."""

    folder: Path  # the folder
    paths: list[Path]  # its files; `file` of the table counts them from 0
    facts: pl.DataFrame  # columns as in `FACTS`
    kind: str = "dicom"  # of its images, one of `fistula.source.files.formats.KINDS`
    passed: Mapping[str, int] = field(default_factory=dict)  # folders of deleted files and the like, not read

    @property
    def noted(self) -> dict[str, int]:
        """Counts of what is not in it."""
        folders = f"folders of deleted files, snapshots or thumbnails, not read ({', '.join(sorted(self.passed))})"
        missing = "parts of concatenations that are missing"
        return {missing: _missing_parts(self.facts), folders: sum(self.passed.values())}

    @property
    def where(self) -> str:
        """The source, for messages: of a single file or archive that itself, which may have been given."""
        return f"source={self.paths[0] if len(self.paths) == 1 else self.folder}"

    @property
    def images(self) -> pl.DataFrame:
        """The rows that are images."""
        return those(self.facts, self.facts["outcome"] == "image")

    def part(self, file: int, member: str | None) -> Part:
        """Where the object of a row is."""
        return Part(self.paths[file], member or "")

    def name(self, file: int, member: str | None = None) -> str:
        """The file's path below the folder, and the member's name in it; for the terminal only."""
        name = spelt_out(self.paths[file].relative_to(self.folder).as_posix())
        return f"{name}/{member}" if member else name


def those(facts: pl.DataFrame, are: pl.Series) -> pl.DataFrame:
    """The rows of a table that are meant (never null), at no cost where they are all or none, as of a single image."""
    return facts if are.all() else facts.filter(are) if are.any() else facts.clear()


def _missing_parts(facts: pl.DataFrame) -> int:
    """How many objects are not there of multi-frame images in several (PS3.3 C.7.6.16.2.2.4), as far as they say."""
    parts = those(facts, facts["concatenation_key"].fill_null("") != "")
    found, said = pl.col("parts").list.get(0).n_unique(), pl.col("parts").list.max().max()
    return int(parts.group_by("concatenation_key").agg(missing=said - found.cast(pl.Int64))["missing"].clip(0).sum())


def spelt_out(name: str) -> str:
    """A file's name with the bytes that are not UTF-8 spelt out, as no terminal and no JSON takes them."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def survey_source(
    source: Path, look: Look, workers: Workers, *, kind: str | None = "dicom", named: Container[str] = ()
) -> Survey:
    """List what a file, a zip archive, or a folder of any depth holds.

    `kind` is of the images, one of `fistula.source.files.formats.KINDS`; None finds it out. `named` are paths below the
    source that are images, even if they are called as masks are.

    Raises:
        DataError: If the source is not there or has no files.
    """
    folder, (paths, passed) = (source.parent, ([source], {})) if source.is_file() else (source, files_below(source))
    kind = kind or kind_of_source(paths, folder)
    work: Callable[[Path], list[dict[str, Any]]] = partial(look_at, look=look)
    if kind != "dicom":
        names = [name for path in paths for _, name in names_in(path, folder)]
        masks = {name for name in masks_among(names) if unicodedata.normalize("NFC", name) not in named}
        work = partial(_of_others, look=look, folder=folder, kind=kind, masks=masks)
    return Survey(folder, paths, _facts_of(paths, work, workers), kind, passed)


def files_below(folder: Path) -> tuple[list[Path], Mapping[str, int]]:
    """Every file of the source, in order, and the folders that were passed over.

    Raises:
        DataError: If the folder is not there or has no files.
    """
    paths, passed = find_files(folder) if folder.is_dir() else ([], {})
    if not paths:
        rule = "has no files" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"source={folder}", rule, remedy="Name the folder that holds the images")
    return paths, passed


def _facts_of(paths: list[Path], looked_at: Callable[[Path], list[dict[str, Any]]], workers: Workers) -> pl.DataFrame:
    """Read the headers; columns as in `FACTS`."""
    frames, waiting = [], []
    batches = batches_of(list(enumerate(paths)), size=lambda item: 1, target=FILES_A_BATCH)
    work = partial(_survey_batch, looked_at=looked_at)
    for records in in_parallel(work, batches, workers, title="reading headers", lost=_lost):
        waiting += records
        if len(waiting) >= ROWS_A_FRAME:
            frames.append(_table(waiting))
            waiting = []
    frames.append(_table(waiting))
    facts = pl.concat(frames)
    return facts.sort("file", "member", "frame", maintain_order=True) if len(facts) > 1 else facts


def _table(records: Sequence[tuple]) -> pl.DataFrame:
    """Records as rows, with the columns of `FACTS`; lists of many are made by column, in less time."""
    if len(records) < SEVERAL:
        return pl.DataFrame(records, schema=FACTS, orient="row")
    table = pl.DataFrame(
        list(map(itemgetter(*SINGLE.values()), records)), schema={name: FACTS[name] for name in SINGLE}, orient="row"
    )
    return table.with_columns(_lists(name, [record[at] for record in records]) for name, at in LISTS.items())[[*FACTS]]


def _lists(name: str, values: Sequence[list | None]) -> pl.Series:
    """A column of lists, laid end to end and parted again: of rows, Polars makes each a column first."""
    held = [value or [None] for value in values]
    rows = pl.Series("row", np.repeat(np.arange(len(held)), list(map(len, held))))
    flat = pl.Series(name, list(chain.from_iterable(held)), FACTS[name].inner, strict=False)
    lists = pl.DataFrame([rows, flat]).group_by("row", maintain_order=True).agg(name).get_column(name)
    is_full = pl.Series([None if value is None else bool(value) for value in values], dtype=pl.Boolean())
    full = pl.when(is_full).then(lists).when(~is_full).then(pl.lit([], FACTS[name]))
    return pl.select(full.alias(name)).to_series()


def _lost(item: tuple[int, Path]) -> list[tuple]:
    place = {"file": item[0], "member": ""}
    return [tuple(map((place | {"outcome": "refused", "reason": DEADLY, "remedy": ""}).get, FACTS))]


def _of_others(path: Path, *, look: Look, folder: Path, kind: str, masks: Container[str]) -> list[dict[str, Any]]:
    try:
        list(parts_of(path))
    except NotTaken as outcome:
        word = "refused" if isinstance(outcome, Refused) else "skipped"
        return [{"member": "", "outcome": word, "reason": outcome.reason, "remedy": outcome.remedy}]
    return [
        record | {"member": member}
        for member, name in names_in(path, folder)
        for record in records_of(Part(path, member), name, look, kind=kind, masks=masks)
    ]


def _survey_batch(
    batch: Sequence[tuple[int, Path]], *, looked_at: Callable[[Path], list[dict[str, Any]]]
) -> list[tuple]:
    return [tuple(map((record | {"file": index}).get, FACTS)) for index, path in batch for record in looked_at(path)]
