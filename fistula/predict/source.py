"""Read new images as the run's own cohort was read: the same rules, the same grid, the same intensities."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import of_first
from fistula.cohort.select import parted_by_sequence
from fistula.dicom.container import Part
from fistula.dicom.identity import read_pseudonyms
from fistula.dicom.look import Look
from fistula.dicom.out.reference import read_reference
from fistula.errors import DataError
from fistula.folder import temporary_folder
from fistula.learning.data.channels import with_constants
from fistula.predict.runs.ensemble import INGEST
from fistula.predict.runs.network import call_known
from fistula.predict.whole import whole_patients
from fistula.source.choose import NONE_KEPT, UNLIKE, Policies, choose, that_matter
from fistula.source.flow import Flow
from fistula.source.grid import Grid
from fistula.source.intensity import FileWindow, FixedWindow, MinMax, Percentile
from fistula.source.patients import PatientRule
from fistula.source.read import noted_of, read_in_order
from fistula.source.rules import KeepRules
from fistula.source.several.pairing import rows_beside
from fistula.source.several.resample import resampled
from fistula.source.shared_ids import apart, doubts
from fistula.source.slices import Plan
from fistula.source.store import PixelStore
from fistula.source.survey import FACTS, Survey, survey_source, those
from fistula.source.workers import Workers

RULES = KeepRules, Percentile, FixedWindow, FileWindow, MinMax
LEFT_OUT = ("slice_key", "series_uid", "instance_uid", "frame", "image_number", "reason", "remedy")
NOTHING = pl.DataFrame(
    schema={name: (FACTS | {"image_number": pl.Int64()}).get(name, pl.String()) for name in LEFT_OUT}
)
ORDER = ("patient_key", "series_key", "volume", "position_mm", "slice_key")  # in which slices lie
MAX_OBJECT_MB, SECONDS = 2048, 60.0
HALF = 0.5


@dataclass(frozen=True)
class Limits:
    """What one object may cost."""

    max_object_mb: int = MAX_OBJECT_MB  # MiB that it may unpack to
    seconds: float = SECONDS  # time for one file


@dataclass(frozen=True)
class Slices:
    """New slices, ready to score."""

    # One row a slice, as a survey's facts have it, and `series_uid`, `instance_uid`, `image_number`, `matrix`, and
    # where the grid lies in the source (`scale_row`, `offset_row`, ...); by patient, series, volume and position.
    table: pl.DataFrame
    # uint8 ``(N, size, size)``, as ingest would have written them; then those of `beside`, and constants.
    pixels: NDArray[np.uint8]
    left_out: pl.DataFrame  # images that cannot be scored, and why; columns `LEFT_OUT`
    flow: Flow
    parts: list[Part]  # of each row, the object that it was read from
    knows_patients: bool  # whether pseudonyms are the cohort's, so that its patients are recognised
    notes: Sequence[str] = ()
    beside: pl.DataFrame | None = None  # slices of further sequences on the grid of these, where the cohort has any
    unread: int = 0  # how many images could not be read that would have been scored

    @property
    def whole(self) -> pl.DataFrame:
        """A row for each of `pixels`."""
        parts = [self.table] if self.beside is None else [self.table, self.beside]
        return pl.concat(parts, how="diagonal_relaxed")


@dataclass(frozen=True)
class Reader:
    """How a cohort was read, to read more in the same way; and which of its sequences are looked at."""

    record: dict[str, Any]
    keep: KeepRules | None
    patient: PatientRule
    plan: Plan
    sequences: Sequence[str] = ()


def reader_of(record: dict[str, Any], *, where: object, limits: Limits, sequences: Sequence[str] = ()) -> Reader:
    """How the cohort with this `ingest.json` was read; which `sequences` are asked for, `Reader` says.

    Raises:
        DataError: If the record does not say it.
    """
    missing = [key for key in INGEST if key not in record]
    if missing:
        raise DataError(where, f"does not state how its images were read: it lacks {', '.join(missing)}")
    keep = call_known(record["keep"], RULES, where=f"{where}: keep")
    intensity = call_known(record["intensity"], RULES, where=f"{where}: intensity")
    look = Look(read_pseudonyms(create=True), keep.description, limits.max_object_mb, limits.seconds, keep.described)
    grid = Grid(record["size"], record["spacing_mm"], record["fit"])
    kind = record["source_kind"]
    patient = PatientRule(record["patient"])
    return Reader(record, keep if kind == "dicom" else None, patient, Plan(grid, intensity, look, kind), sequences)


@contextmanager
def reading(source: Path, reader: Reader, workers: Workers) -> Iterator[Slices]:
    """Read every eligible slice of a file, of a zip archive, or below a folder; pixels last as long as the block.

    Intensities are mapped volume by volume: a series has to be whole to get the pixels that ingest gave it.

    Raises:
        DataError: If nothing is there, or nothing of it is eligible.
    """
    plan, flow = reader.plan, Flow()
    survey = survey_source(source, plan.look, workers, kind=plan.kind)
    policies = Policies(unreadable="exclude", same_uid="separate")
    try:
        chosen = choose(survey, keep=reader.keep, look=plan.look, policies=policies, flow=flow)
    except DataError as error:
        if error.rule != NONE_KEPT:
            raise
        remedy = "They are those of the run's cohort; fistula doctor shows what is there"
        raise DataError(error.where, error.rule, found=error.found, remedy=remedy) from error
    names = reader.keep.names if reader.keep is not None else [""]
    images, others = parted_by_sequence(chosen.wanted, names, flow)
    images, notes = _of_patients(survey, images, reader)
    notes += [f"{name}: {number}" for name, number in chosen.noted.items() if number]
    is_seen = others["sequence"].is_in(list(reader.sequences))
    seen, unseen = those(others, is_seen), those(others, ~is_seen)
    names = [names[0], *(name for name in names[1:] if name in reader.sequences)]
    missing, frame = (reader.record.get(key, "refuse") for key in ("missing", "other_frame"))
    whole = whole_patients(images, seen, names, missing=missing, other_frame=frame, where=f"source={source}")
    unread: list[pl.DataFrame] = []

    def resampled_onto(table: pl.DataFrame, store: PixelStore) -> pl.DataFrame:
        read, failed = resampled(survey, whole.pairs, table, seen, plan, workers, store)
        unread.append(failed)
        return rows_beside(read, table, seen, plan.look.pseudonyms)

    with temporary_folder("read") as folder:
        read = read_in_order(
            survey, whole.images, plan, workers, folder,
            order=lambda read, _: read if len(read) == 1 else read.sort(*ORDER),
            beside=resampled_onto if len(names) > 1 else None,
        )  # fmt: skip
        with read as (table, failed):
            beside = table.filter(pl.col("grid_key").is_not_null()) if len(names) > 1 else None
            for one in [] if beside is None else beside.partition_by("sequence", maintain_order=True):
                if few := int((one["covered"] < HALF).sum()):
                    notes.append(f"slices of which {one['sequence'][0]} covers less than half: {few} of {len(one)}")
            table = of_first(table)
            notes += [f"{note}: {number}" for note, number in noted_of(table).most_common()]
            excluded = Counter(failed["reason"]) + Counter(whole.left_out["reason"])
            flow.add("scored", table, unit="slices", excluded=excluded)
            if table.is_empty():
                raise DataError(f"source={source}", "no image could be read", found=failed["reason"][0])
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        left = chosen.left_out
        is_refused = left["outcome"].eq_missing("refused") | left["reason"].is_in(UNLIKE).fill_null(value=False)
        refused = that_matter(those(left, is_refused), reader.keep)
        if count := len(refused) + sum(map(len, (failed, *unread))):
            many = "1 image was" if count == 1 else f"{count} images were"
            notes.append(f"{many} unreadable and not scored; left_out.csv gives the reasons")
        yield Slices(
            table=_named(survey, table, plan.look),
            pixels=with_constants(pixels, reader.sequences),
            left_out=_left_out(survey, [chosen.left_out, unseen, whole.left_out, failed, *unread], plan.look),
            flow=flow,
            parts=_parts(survey, table),
            knows_patients=reader.record["key_name"] == plan.look.pseudonyms.key_name,
            notes=[*notes, *whole.notes],
            beside=beside,
            unread=count,
        )


def _of_patients(survey: Survey, images: pl.DataFrame, reader: Reader) -> tuple[pl.DataFrame, list[str]]:
    """Images with their patients by the cohort's rule, as far as new images can tell; and what is to be known of it."""
    rule, notes = reader.patient, []
    try:
        images = rule.named(survey, images, reader.plan.look.pseudonyms)
    except DataError:  # the cohort's folders are not these
        rule = PatientRule("header")
        notes.append(
            f"patients are identified by PatientID, since these paths do not fit patient={reader.patient.word}"
        )
    if rule.word in ("compared", "header", "column", "joined"):
        nameless = int((~images["is_named"]).sum()) if survey.kind == "dicom" else 0
        counts = {"images without a PatientID, whose study is used as the patient": nameless}
        counts |= doubts(images) if len(images) > 1 else {}
        notes += [f"{name}: {number}" for name, number in counts.items() if number]
        images, shared = apart(images)
        if shared:
            ids = "1 PatientID is" if shared == 1 else f"{shared} PatientIDs are"
            notes.append(f"{ids} probably not one person's: each of its studies is scored as a patient")
    return images, notes


def _parts(survey: Survey, table: pl.DataFrame) -> list[Part]:
    return [survey.part(file, member) for file, member in zip(table["file"], table["member"], strict=True)]


def _named(survey: Survey, table: pl.DataFrame, look: Look) -> pl.DataFrame:
    """Add the UIDs of each row's object, read once for each, empty where it has none; and its image number."""
    parts = _parts(survey, table)
    names = {part: read_reference(part, limit=look.limit) for part in set(parts)}
    found = [names[part] for part in parts]
    uids = {
        "study_uid": [name.study for name in found],
        "series_uid": [name.series for name in found],
        "instance_uid": [name.instance for name in found],
    }
    named = [pl.Series(name, values, dtype=pl.String()) for name, values in uids.items()]
    return table.hstack([*named, table["instance_number"].alias("image_number")])


def _left_out(survey: Survey, tables: list[pl.DataFrame], look: Look) -> pl.DataFrame:
    columns = ["file", "member", "slice_key", "frame", "instance_number", "reason", "remedy"]
    if not any(map(len, tables)):
        return NOTHING
    rows = pl.concat([table.select(columns) for table in tables if len(table)])
    return _named(survey, rows, look).select(LEFT_OUT)
