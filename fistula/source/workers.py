"""Run one function over many items in several processes, in any order, with one progress bar and bounded memory."""

import gc
import importlib
import os
import select
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import TimeoutError as HungError  # what joblib raises; not the built-in one
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import ProcessPoolExecutor

from fistula.errors import refuse_other, refuse_outside

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")
BACKENDS = ("loky", "ray", "sequential")
FEW = 7  # below so many batches, starting processes takes longer than the work


@dataclass(frozen=True)
class Workers:
    """How many processes, and whose."""

    count: int = 0  # processes; 0 takes one for each core that this process may use
    backend: str = "loky"  # joblib's: `loky` on this machine; `ray` on the cluster that RAY_ADDRESS names

    def __post_init__(self) -> None:
        refuse_other("workers.backend", self.backend, BACKENDS)
        refuse_outside("workers.count", self.count, 0, 1024)

    @property
    def are_here(self) -> bool:
        """Whether they are on this machine."""
        return self.backend in ("loky", "sequential")

    @property
    def number(self) -> int:
        """Processes that will run."""
        if self.count:
            return self.count
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    function: Callable[[Sequence[Item]], Result],
    batches: Sequence[Sequence[Item]],
    workers: Workers,
    *,
    title: str,
    is_risky: bool = False,
    seconds: float = 3600.0,
    lost: Callable[[Item], Result],
) -> Iterator[Result]:
    """Yield `function(batch)` for every batch as they end; at most two batches a process are under way.

    A decoder in C can die or hang and take its process with it. The batches that were under way are then done again
    item by item, each in a process of its own, and the item that is to blame becomes `lost(item)`.

    Args:
        function: Can be pickled, as can the batches and the results.
        batches: Its arguments.
        workers: Where it runs; in this process where there is little to do.
        title: Stands before the progress bar, which counts items.
        is_risky: True never runs in this process, and takes two others at least.
        seconds: After so long without a result a batch is taken to hang.
        lost: The result for one item that no process survives.
    """
    is_few = len(batches) < FEW or workers.number == 1
    backend = "sequential" if workers.backend == "loky" and is_few and not is_risky else workers.backend
    # joblib turns one process into none, and a risky item could then end this one.
    number = max(2, workers.number) if is_risky else workers.number
    if backend == "sequential" and is_few:  # over before a bar is drawn
        yield from map(function, batches)
        return
    _settle()
    warnings.filterwarnings("ignore", r"\d+ tasks ", module="joblib")  # what an interrupted command has no use for
    with _progress() as progress:
        task = progress.add_task(title, total=sum(map(len, batches)))
        waiting = dict(enumerate(batches))
        while waiting:
            try:
                for index, result in _results(function, waiting, backend, number, seconds):
                    progress.advance(task, len(waiting.pop(index)))
                    yield result
            except (BrokenProcessPool, HungError):
                suspects = list(waiting)[: 2 * number + 1]
                items = [item for index in suspects for item in waiting.pop(index)]
                for result in _one_by_one(function, items, seconds, lost):
                    progress.advance(task)
                    yield result


def _results(
    function: Callable[[Sequence[Item]], Result],
    batches: Mapping[int, Sequence[Item]],
    backend: str,
    number: int,
    seconds: float,
) -> Iterator[tuple[int, Result]]:
    is_here = backend == "sequential"
    limit = None if is_here else seconds
    if backend == "ray":
        importlib.import_module("ray.util.joblib").register_ray()
    # At the start of each process: one may be left without a task.
    own: dict[str, Any] = {"initializer": _serve, "initargs": (os.getpid(),)} if backend == "loky" else {}
    with parallel_config(backend=backend, n_jobs=1 if is_here else number, **own):
        tasks = [delayed(_numbered)(function, index, batch) for index, batch in batches.items()]
        if backend == "ray":  # joblib's ray gives lists alone: one wave after the other keeps memory bounded
            for start in range(0, len(tasks), 4 * number):
                yield from Parallel(batch_size=1)(tasks[start : start + 4 * number])
            return
        run = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs", timeout=limit)
        yield from run(tasks)


@cache
def _settle() -> None:
    """Keep what was imported out of garbage collection, which would look through it all again and again."""
    gc.freeze()


def _serve(asker: int) -> None:
    """Begin a process: what decoders in C say goes nowhere, as it has nothing to say itself; it ends with the asker."""
    gc.freeze()
    with Path(os.devnull).open("w") as nowhere:
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
    if hasattr(os, "pidfd_open"):
        threading.Thread(target=_end_with, args=(asker,), daemon=True).start()


def _end_with(asker: int) -> None:
    """End this process with another one, which may be killed: joblib would let it wait for minutes."""
    try:
        select.select([os.pidfd_open(asker)], [], [])
    except ProcessLookupError:  # it was killed before
        pass
    except OSError:  # an old kernel
        return
    os._exit(1)


def _numbered(function: Callable[[Sequence[Item]], Result], index: int, batch: Sequence[Item]) -> tuple[int, Result]:
    return index, function(batch)


def _one_by_one(
    function: Callable[[Sequence[Item]], Result], items: Sequence[Item], seconds: float, lost: Callable[[Item], Result]
) -> Iterator[Result]:
    """Each item in the only process of a pool, which is replaced when it dies or hangs."""
    alone = partial(ProcessPoolExecutor, max_workers=1, initializer=_serve, initargs=(os.getpid(),))
    pool = alone()
    try:
        for item in items:
            try:
                yield pool.submit(function, [item]).result(timeout=seconds)
            except (BrokenProcessPool, TimeoutError):
                pool.shutdown(kill_workers=True)
                pool = alone()
                yield lost(item)
    finally:
        pool.shutdown(kill_workers=True)


def batches_of(items: Iterable[Item], *, size: Callable[[Item], int], target: int) -> list[list[Item]]:
    """Consecutive items in lists whose sizes add up to at least `target`, so that each is worth sending away."""
    result: list[list[Item]] = []
    total = target
    for item in items:
        if total >= target:
            result.append([])
            total = 0
        result[-1].append(item)
        total += size(item)
    return result


def _progress() -> "Progress":
    # Here, because workers import this module and draw nothing.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
