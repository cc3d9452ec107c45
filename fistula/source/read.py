"""Read many volumes in parallel into a pixel store; where one kills its reader, find the file that does it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from fistula.source.slices import RESULTS, Plan, Slice, is_risky, read_volumes
from fistula.source.store import PixelStore
from fistula.source.survey import DEADLY, Survey, those
from fistula.source.workers import Workers, batches_of, in_parallel

SLICES_A_BATCH = 64


@contextmanager
def read_in_order(
    survey: Survey,
    wanted: pl.DataFrame,
    plan: Plan,
    workers: Workers,
    folder: Path,
    *,
    order: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
    beside: Callable[[pl.DataFrame, PixelStore], pl.DataFrame] | None = None,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Read images volume by volume, the slices of one sharing an intensity mapping, and write `folder`/pixels.npy.

    That file is copied while the block runs, and whole when it has ended.

    `wanted` are rows of the survey's facts with `volume`; `order`, of the rows that have pixels and those that could
    not be read, gives the first in the order in which they stay; `beside` puts what lies on the grids of these rows
    into the store, and gives its rows, which come last.

    Yields:
        The rows in the order of pixels.npy, with the columns of `RESULTS`; and those that could not be read, with their
        `reason` and `remedy`.
    """
    wanted = wanted.select_seq(pl.int_range(pl.len()).alias("row"), pl.exclude("reason", "remedy"))
    with PixelStore(folder / "pixels.unordered", plan.grid.size) as store, ThreadPoolExecutor(1) as aside:
        is_dangerous = plan.kind == "dicom" and is_risky(wanted)
        found = read_into(store, volumes_of(survey, wanted), plan, workers, is_risky=is_dangerous)
        if found["row"].equals(wanted["row"]):
            table = wanted.hstack(found[:, 1:])
        else:
            table = wanted.join(found, on="row", how="left", maintain_order="left")
        read, failed = those(table, table["at"].is_not_null()), those(table, table["at"].is_null())
        table = order(read, failed)
        if beside is not None:
            table = pl.concat([table, beside(table, store)], how="diagonal_relaxed")
        copied = aside.submit(store.finish, folder / "pixels.npy", table["at"].to_list())
        yield table, failed
        copied.result()


def read_into(
    store: PixelStore, volumes: Sequence[Sequence[Slice]], plan: Plan, workers: Workers, *, is_risky: bool
) -> pl.DataFrame:
    """Columns of `RESULTS` for every slice, its pixels in `store` at `at`.

    The slices of one volume share an intensity mapping; `is_risky` says whether a decoder in C takes part, which may
    end its process.
    """
    results = _pass(store, volumes, plan, workers, is_risky=is_risky)
    dead = set(those(results, results["reason"].eq_missing(DEADLY))["row"])
    if not dead:
        return results
    suspects = [volume for volume in volumes if volume[0].row in dead]
    alone = _pass(store, [[item] for volume in suspects for item in volume], plan, workers, is_risky=True)
    guilty = alone.filter(pl.col("reason") == DEADLY)
    rows = set(guilty["row"])
    innocent = [[item for item in volume if item.row not in rows] for volume in suspects]
    again = _pass(store, [volume for volume in innocent if volume], plan, workers, is_risky=True)
    return pl.concat([results.filter(~pl.col("row").is_in(list(dead))), guilty, again])


def volumes_of(survey: Survey, chosen: pl.DataFrame) -> list[list[Slice]]:
    """The chosen slices, those of one volume together; `chosen` has the columns `row` and `volume`."""
    found: dict[tuple[str, int], list[Slice]] = {}
    columns = ["series_key", "volume", "row", "file", "member", "frame", "turned", "plain"]
    for series, volume, row, file, member, frame, turned, plain in chosen[columns].rows():
        item = Slice(row, survey.part(file, member), frame, turned or "", plain or "")
        found.setdefault((series, volume), []).append(item)
    return list(found.values())


def noted_of(table: pl.DataFrame) -> Counter[str]:
    """How many slices each note on header and pixels is of; who their patients are is said elsewhere."""
    columns = [column for column in ("notes", "seen") if column in table.columns]
    texts = [text for column in columns for text in table[column].drop_nulls()]
    words = Counter(word for text in texts for word in text.split("|") if word)
    return Counter({word: number for word, number in words.items() if not word.startswith("no PatientID")})


def _pass(
    store: PixelStore, volumes: Sequence[Sequence[Slice]], plan: Plan, workers: Workers, *, is_risky: bool
) -> pl.DataFrame:
    frames = []
    batches = batches_of(volumes, size=len, target=SLICES_A_BATCH)
    work = partial(_read_batch, plan=plan, store=store if workers.are_here else None)
    lost = partial(_lost, size=plan.grid.size)
    slices = max((sum(map(len, batch)) for batch in batches), default=0)
    seconds = plan.look.seconds * (1 + slices)  # one more for the start of the process
    for records, pixels in in_parallel(
        work, batches, workers, title="reading volumes", is_risky=is_risky, seconds=seconds, lost=lost
    ):
        results = pl.DataFrame(records, schema=RESULTS, orient="row")
        if len(pixels):
            store.put(results["at"].drop_nulls(), pixels)
        frames.append(results)
    return pl.concat(frames or [pl.DataFrame(schema=RESULTS)])


def _read_batch(
    batch: Sequence[Sequence[Slice]], *, plan: Plan, store: PixelStore | None
) -> tuple[list[tuple], np.ndarray]:
    """Read volumes and put their pixels into the store where it is in reach; they need not travel then."""
    records, pixels = read_volumes(batch, plan)
    if store is None:
        return records, pixels
    at = list(RESULTS).index("at")
    store.put([record[at] for record in records if record[at] is not None], pixels)
    return records, pixels[:0]


def _lost(volume: Sequence[Slice], *, size: int) -> tuple[list[tuple], np.ndarray]:
    """What `read_volumes` would give for a volume that no process survives."""
    remedy = "Export it again, uncompressed"
    records = [dict.fromkeys(RESULTS) | {"row": item.row, "reason": DEADLY, "remedy": remedy} for item in volume]
    return [tuple(record.values()) for record in records], np.zeros((0, size, size), np.uint8)
