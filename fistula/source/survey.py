"""The table of everything found below a folder: one row a frame of an image, one a file that gives none."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from fistula.dicom.container import find_files
from fistula.dicom.look import Look, file_stamp, look_at
from fistula.errors import DataError
from fistula.source.workers import Workers, batches_of, in_parallel

FACTS: dict[str, Any] = {
    "file": pl.Int64(),  # index into the list of paths, which is never stored
    "member": pl.String(),  # of a zip archive; never stored
    "frame": pl.Int64(),
    "stamp": pl.String(),  # pseudonym of path, size and time of change
    "outcome": pl.String(),
    "reason": pl.String(),
    "remedy": pl.String(),
    "slice_key": pl.String(),
    "instance_key": pl.String(),
    "patient_key": pl.String(),
    "study_key": pl.String(),
    "series_key": pl.String(),
    "is_named": pl.Boolean(),  # whether a PatientID is there; else the study stands for the patient
    "is_default_id": pl.Boolean(),
    "issuer_key": pl.String(),
    "birth_key": pl.String(),
    "institution_key": pl.String(),
    "person_key": pl.String(),
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
    "modality": pl.String(),
    "manufacturer": pl.String(),
    "scanner": pl.String(),
    "image_type": pl.String(),
    "component": pl.String(),
    "acquisition": pl.String(),  # b-value, echo, phase and stack, in words
    "moments": pl.List(pl.Float64()),  # what tells volumes in the same places apart
    "series_alike": pl.String(),  # the same for series that may be one, cut up
    "contrast": pl.String(),
    "syntax": pl.String(),
    "photometric": pl.String(),
    "bits": pl.Int64(),
    "is_lossy": pl.Boolean(),
    "is_burned_in": pl.Boolean(),
    "is_described": pl.Boolean(),
    "is_localizer": pl.Boolean(),
    "is_mosaic": pl.Boolean(),
    "age": pl.Float64(),
    "sex": pl.String(),
    "study_day": pl.Int64(),
    "notes": pl.String(),
}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
FILES_A_BATCH = 64
ROWS_A_FRAME = 4096  # records as tuples take ten times the memory of a table's
DEADLY = "crashes or hangs the program that reads it"


@dataclass(frozen=True)
class Survey:
    """What is below a folder.

    Attributes:
        folder: The folder.
        paths: Its files; `file` of the table counts them from 0.
        facts: Columns as in `FACTS`.
    """

    folder: Path
    paths: list[Path]
    facts: pl.DataFrame

    def name(self, file: int, member: str = "") -> str:
        """The file's path below the folder, and the member's name in it; for the terminal only."""
        name = printable(self.paths[file].relative_to(self.folder).as_posix())
        return f"{name}/{member}" if member else name


def printable(name: str) -> str:
    """A file's name with the bytes that are not UTF-8 spelt out, as no terminal and no JSON takes them."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def survey_source(
    source: Path, look: Look, workers: Workers, *, are_images: bool = False, known: pl.DataFrame | None = None
) -> Survey:
    """List what a file, a zip archive, or a folder of any depth and any files holds.

    Args:
        source: File or folder.
        look: How to look at each.
        workers: Processes.
        are_images: PNG and JPEG pictures, named by the pseudonyms of their paths; otherwise headers of DICOM are read.
        known: Facts of an earlier survey with the same `look`; files with a stamp in it are not opened.

    Raises:
        DataError: If the source is not there or has no files.
    """
    folder, paths = (source.parent, [source]) if source.is_file() else (source, files_below(source))
    if are_images:
        return _survey_pictures(folder, paths, look)
    return _survey_headers(folder, paths, look, workers, known=known)


def files_below(folder: Path) -> list[Path]:
    """Every file of the source, in order.

    Raises:
        DataError: If the folder is not there or has no files.
    """
    paths = find_files(folder) if folder.is_dir() else []
    if not paths:
        rule = "has no files" if folder.is_dir() else "is not a folder" if folder.exists() else "is not there"
        raise DataError(f"source={folder}", rule, remedy="Name the folder that holds the images")
    return paths


def _survey_headers(
    folder: Path, paths: list[Path], look: Look, workers: Workers, *, known: pl.DataFrame | None = None
) -> Survey:
    """Read the headers of `paths`, which lie below `folder`."""
    stamps = [file_stamp(path, path.relative_to(folder).as_posix(), look.pseudonyms) for path in paths]
    frames, waiting = [], []
    old = set()
    if known is not None:
        places = pl.DataFrame(
            {"stamp": stamps, "file": range(len(paths))}, schema={"stamp": pl.String(), "file": pl.Int64()}
        )
        again = known.drop("file").join(places, on="stamp", how="inner").select(list(FACTS))
        old = set(again["file"])
        frames.append(again)
    new = [(index, paths[index], stamps[index]) for index in range(len(paths)) if index not in old]
    batches = batches_of(new, size=lambda item: 1, target=FILES_A_BATCH)
    work = partial(_survey_batch, look=look)
    for records in in_parallel(work, batches, workers, title="reading headers", lost=_lost):
        waiting += records
        if len(waiting) >= ROWS_A_FRAME:
            frames.append(pl.DataFrame(waiting, schema=FACTS, orient="row"))
            waiting = []
    frames.append(pl.DataFrame(waiting, schema=FACTS, orient="row"))
    facts = pl.concat(frames).sort("file", "member", "frame", maintain_order=True)
    return Survey(folder, paths, facts)


def _survey_pictures(folder: Path, paths: list[Path], look: Look) -> Survey:
    rows = []
    for index, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        key = look.pseudonyms("image", name)
        rows.append(
            {
                "file": index,
                "member": "",
                "frame": 0,
                "frames": 1,
                "stamp": file_stamp(path, name, look.pseudonyms),
                "outcome": "image" if is_image else "skipped",
                "reason": "" if is_image else "neither PNG nor JPEG",
                "slice_key": key,
                "instance_key": key,
                "series_key": look.pseudonyms("image series", name),
                "patient_key": key,  # the table of labels says who it is
                "study_key": key,
                "is_named": False,
                "notes": "",
            }
        )
    return Survey(folder, paths, pl.DataFrame(rows, schema=FACTS))


def _lost(item: tuple[int, Path, str]) -> list[tuple]:
    record = {"file": item[0], "member": "", "stamp": item[2], "outcome": "refused", "reason": DEADLY, "remedy": ""}
    return [tuple(record.get(column) for column in FACTS)]


def _survey_batch(batch: Sequence[tuple[int, Path, str]], *, look: Look) -> list[tuple]:
    rows = []
    for index, path, stamp in batch:
        for record in look_at(path, look):
            record |= {"file": index, "stamp": stamp}
            rows.append(tuple(record.get(column) for column in FACTS))
    return rows
