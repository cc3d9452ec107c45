"""Resample volumes of other sequences onto the slices of the first one, in the patient's coordinates."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.dicom.outcome import NotTaken
from fistula.dicom.pixels.decode import Picture
from fistula.dicom.pixels.geometry import turn
from fistula.source.grid import resize, to_bytes
from fistula.source.several.lattice import Lattice, lattice_of, reached
from fistula.source.several.pairing import Pair
from fistula.source.slices import Plan, Slice, decoded, is_risky
from fistula.source.store import PixelStore
from fistula.source.survey import DEADLY, Survey
from fistula.source.workers import Workers, in_parallel

RESAMPLED: dict[str, Any] = {
    "grid_key": pl.String(),  # of the first sequence's slice on whose grid it lies
    "sequence": pl.String(),
    "nearest": pl.Int64(),  # row of the source slice whose middle is nearest
    "at": pl.Int64(),  # row of its pixels in the store
    "covered": pl.Float64(),  # share of the slice that the other volume reaches
    "pixel_hash": pl.String(),
    "source_hash": pl.String(),  # of the nearest slice
    "matrix": pl.String(),
    "decoder": pl.String(),
    "seen": pl.String(),
}
PLACE = ("slice_key", "file", "member", "frame", "turned")
FAILED = {"row": pl.Int64(), "reason": pl.String(), "remedy": pl.String()}


class Placing(NamedTuple):
    """Where the grid of one slice lies in the picture that it was read from; as `fistula.source.grid.Placed` has it."""

    key: str
    number: int
    scale: tuple[float, float]
    offset: tuple[int, int]
    at: int


class Job(NamedTuple):
    """One volume to resample: what it is called, where to, and its slices, whose rows count those of `beside`."""

    sequence: str
    grid: Lattice
    placings: list[Placing]
    source: Lattice
    slices: list[Slice]


def resampled(
    survey: Survey,
    pairs: Sequence[Pair],
    table: pl.DataFrame,
    beside: pl.DataFrame,
    plan: Plan,
    workers: Workers,
    store: PixelStore,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Resample the partner of every slice of `table`, by linear interpolation, and put the pixels into `store`.

    In the plane a finer picture is first averaged to the grid's spacing, as slices of the first sequence are. The
    intensity sees what each volume comes to on the grid, of all slices, by itself.

    `table` has the slices of the first sequence that have pixels, with the columns of `fistula.source.slices.RESULTS`,
    and `beside` the images of the others, whose pixels the store takes behind those of `table`.

    Returns:
        Columns of `RESAMPLED`, by sequence and then in the order of `table`; and what could not be read, columns of
        `beside` with `reason` and `remedy`.
    """
    jobs = _jobs(survey, pairs, table, beside)
    frames, failures = [pl.DataFrame(schema=RESAMPLED)], [pl.DataFrame(schema=FAILED)]
    seconds = plan.look.seconds * (1 + max((len(job.slices) for job in jobs), default=0))
    work, lost = partial(_resample_batch, plan=plan), partial(_lost, size=plan.grid.size)
    batches = [[job] for job in jobs]
    for records, failed, pixels in in_parallel(
        work, batches, workers, title="resampling", is_risky=is_risky(beside), seconds=seconds, lost=lost
    ):
        rows = pl.DataFrame(records, schema=RESAMPLED, orient="row")
        store.put(rows["at"], pixels)
        frames.append(rows)
        failures.append(pl.DataFrame(failed, schema=FAILED, orient="row"))
    numbered = beside.drop("reason", "remedy").with_row_index("row").cast({"row": pl.Int64})
    order = {key: number for number, key in enumerate(table["slice_key"])}
    done = pl.concat(frames)
    turn_of = pl.Series("turn", [order[key] for key in done["grid_key"]], dtype=pl.Int64)
    names = list(dict.fromkeys(pair.sequence for pair in pairs))
    done = done.with_columns(turn_of, rank=pl.col("sequence").replace_strict(names, range(len(names)), default=0))
    return (
        done.sort("rank", "turn").drop("rank", "turn"),
        numbered.join(pl.concat(failures), on="row", how="inner").drop("row"),
    )


def _jobs(survey: Survey, pairs: Sequence[Pair], table: pl.DataFrame, beside: pl.DataFrame) -> list[Job]:
    places = {row["slice_key"]: row for row in table.iter_rows(named=True)}
    number_of = {key: number for number, key in enumerate(beside["slice_key"])}
    start = 1 + max(table["at"].to_list(), default=-1)
    jobs = []
    for pair in pairs:
        grid, source = lattice_of(pair.grid), lattice_of(pair.source)
        placings = []
        for number, key in enumerate(pair.grid["slice_key"][grid.order.tolist()]):
            if (row := places.get(key)) is not None:
                scale, offset = (row["scale_row"], row["scale_col"]), (row["offset_row"], row["offset_col"])
                placings.append(Placing(key, number, scale, offset, start))
                start += 1
        slices = [
            Slice(number_of[key], survey.part(file, member), frame, turned or "")
            for key, file, member, frame, turned in pair.source[source.order.tolist()].select(PLACE).iter_rows()
        ]
        if placings:
            jobs.append(Job(pair.sequence, grid, placings, source, slices))
    return jobs


def _resample_batch(batch: Sequence[Job], *, plan: Plan) -> tuple[list[tuple], list[tuple], NDArray[np.uint8]]:
    (job,) = batch
    pictures: dict[int, Picture] = {}
    hashes: dict[int, str | None] = {}
    failed: list[tuple] = []
    for item, digest, outcome in decoded(sorted(job.slices, key=lambda one: (one.part, one.frame)), plan):
        if isinstance(outcome, NotTaken):
            failed.append((item.row, outcome.reason, outcome.remedy))
        else:
            pictures[item.row], hashes[item.row] = outcome, digest
    if not pictures:
        return [], failed, np.zeros((0, plan.grid.size, plan.grid.size), np.uint8)
    kept = [number for number, item in enumerate(job.slices) if item.row in pictures]
    source = Lattice(job.source.along, job.source.down, job.source.spacing, job.source.shape,
                     job.source.corners[kept], job.source.order[kept])  # fmt: skip
    slices = [job.slices[number] for number in kept]
    values, inside, shares = _on_grid(job, source, [(pictures[one.row], one.turned) for one in slices], plan)
    middles = (job.grid.middle_of(one.number) for one in job.placings)
    nearest = [int(np.abs(source.positions - middle @ source.normal).argmin()) for middle in middles]
    unit = plan.intensity(values, inside, [pictures[slices[number].row].window for number in nearest])
    if pictures[slices[0].row].is_inverted:
        unit = 1 - unit
    unit[~inside] = 0
    pixels = to_bytes(unit)
    records = []
    for placing, number, image, share in zip(job.placings, nearest, pixels, shares, strict=True):
        picture, row = pictures[slices[number].row], slices[number].row
        records.append((
            placing.key, job.sequence, row, placing.at, share, hashlib.sha256(image).hexdigest(),
            hashes[row], "x".join(map(str, picture.values.shape)), picture.decoder, "|".join(picture.notes),
        ))  # fmt: skip
    return records, failed, pixels


def _on_grid(
    job: Job, source: Lattice, pictures: Sequence[tuple[Picture, str]], plan: Plan
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[float]]:
    """Values ``(N, size, size)`` at the grid's places, which of them the volume reaches, and the share of these."""
    from scipy.ndimage import map_coordinates  # here, because every ingest would wait for its import

    size = plan.grid.size
    lines = np.arange(size)
    wanted = [job.grid.spacing[axis] / job.placings[0].scale[axis] for axis in (0, 1)]
    shape = _shrunk(source, wanted, 0), _shrunk(source, wanted, 1)
    stack, known = [], []
    for picture, turned in pictures:
        scale = picture.signal_scale if plan.intensity.units == "signal" else 1.0
        inside = np.ones(picture.values.shape, bool) if picture.inside is None else picture.inside
        laid, is_known = turn(np.where(inside, picture.values * np.float32(scale), 0), turned), turn(inside, turned)
        stack.append(resize(laid.astype(np.float32), shape))
        known.append(resize(is_known.astype(np.float32), shape))
    volume, weights = np.stack(stack), np.stack(known)
    values = np.zeros((len(job.placings), size, size), np.float32)
    inside, shares = np.zeros(values.shape, bool), []
    for number, placing in enumerate(job.placings):
        rows, columns = ((lines + placing.offset[axis] + 0.5) / placing.scale[axis] - 0.5 for axis in (0, 1))
        indices = source.indices(job.grid.points(placing.number, rows[:, None], columns[None]))
        # Beyond its own picture a slice of the first sequence is blank as well.
        own = ((rows >= -0.5) & (rows <= job.grid.shape[0] - 0.5))[:, None]
        own = own & (columns >= -0.5) & (columns <= job.grid.shape[1] - 0.5)
        is_reached = own & reached(source, indices)
        shares.append(round(float(is_reached.sum() / max(1, own.sum())), 4))
        if not is_reached.any():
            continue
        at = [indices[0], *((indices[axis + 1] + 0.5) * shape[axis] / source.shape[axis] - 0.5 for axis in (0, 1))]
        found = map_coordinates(volume, at, order=1, mode="nearest")
        if not weights.all():  # normalised convolution, as for padding in `fistula.source.grid`
            weight = map_coordinates(weights, at, order=1, mode="nearest")
            is_reached &= weight >= 0.5
            found = np.divide(found, weight, out=np.zeros_like(found), where=is_reached)
        values[number] = np.where(is_reached, found, 0)
        inside[number] = is_reached
    return values, inside, shares


def _shrunk(source: Lattice, wanted: Sequence[float], axis: int) -> int:
    """Pixels along an axis after what is finer than wanted was averaged."""
    side = source.shape[axis]
    return min(side, max(1, round(side * source.spacing[axis] / wanted[axis])))


def _lost(job: Job, *, size: int) -> tuple[list[tuple], list[tuple], NDArray[np.uint8]]:
    remedy = "Export it again, uncompressed"
    return [], [(item.row, DEADLY, remedy) for item in job.slices], np.zeros((0, size, size), np.uint8)
