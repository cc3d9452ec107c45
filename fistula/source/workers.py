"""Run one function over many items in several processes, in any order, with one progress bar and bounded memory."""

import atexit
import gc
import importlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from joblib.externals.loky import ProcessPoolExecutor

from fistula.errors import refuse_other, refuse_outside

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")
BACKENDS = ("loky", "ray", "sequential")
FEW = 7  # below so many batches, starting processes takes longer than the work
IDLE = 300.0  # seconds after which a process without work ends
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a core has a process
# By how many. Not the one that loky keeps for all: joblib would take it for one of its own, and fail.
_pools: dict[int, ProcessPoolExecutor] = {}


@dataclass(frozen=True)
class Workers:
    """How many processes, and whose."""

    count: int = 0  # processes; 0 takes one for each core that this process may use
    backend: str = "loky"  # joblib's processes on this machine; `ray`: the cluster that RAY_ADDRESS names

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
    number = max(2, workers.number) if is_risky else workers.number
    if backend == "sequential" and is_few:  # over before a bar is drawn
        yield from map(function, batches)
        return
    _settle()
    with _progress() as progress:
        task = progress.add_task(title, total=sum(map(len, batches)))
        waiting = dict(enumerate(batches))
        while waiting:
            try:
                for index, result in _results(function, list(waiting.items()), backend, number, seconds):
                    progress.advance(task, len(waiting.pop(index)))
                    yield result
            except (BrokenProcessPool, _HungError):
                suspects = list(waiting)[: 2 * number + 1]
                items = [item for index in suspects for item in waiting.pop(index)]
                for result in _one_by_one(function, items, seconds, lost):
                    progress.advance(task)
                    yield result


class _HungError(Exception):
    """For too long no batch has ended."""


def _results(
    function: Callable[[Sequence[Item]], Result],
    batches: Sequence[tuple[int, Sequence[Item]]],
    backend: str,
    number: int,
    seconds: float,
) -> Iterator[tuple[int, Result]]:
    if backend == "sequential":
        yield from ((index, function(batch)) for index, batch in batches)
    elif backend == "ray":
        yield from _on_cluster(function, batches, number)
    else:
        yield from _here(function, batches, number, seconds)


def _on_cluster(
    function: Callable[[Sequence[Item]], Result], batches: Sequence[tuple[int, Sequence[Item]]], number: int
) -> Iterator[tuple[int, Result]]:
    from joblib import Parallel, delayed, parallel_config  # here, because few have one

    importlib.import_module("ray.util.joblib").register_ray()
    tasks = [delayed(_numbered)(function, index, batch) for index, batch in batches]
    with parallel_config(backend="ray", n_jobs=number):
        # joblib's ray gives lists alone: one wave after the other keeps memory bounded
        for start in range(0, len(tasks), 4 * number):
            yield from Parallel(batch_size=1)(tasks[start : start + 4 * number])


def _here(
    function: Callable[[Sequence[Item]], Result],
    batches: Sequence[tuple[int, Sequence[Item]]],
    number: int,
    seconds: float,
) -> Iterator[tuple[int, Result]]:
    if number not in _pools:
        own = {"initializer": _serve, "initargs": (os.getpid(),), "env": ONE_THREAD}
        _pools[number] = ProcessPoolExecutor(number, timeout=IDLE, **own)
    pool = _pools[number]
    waiting, running = iter(batches), set[Future[tuple[int, Result]]]()
    try:
        while True:
            for index, batch in islice(waiting, 2 * number - len(running)):
                running.add(pool.submit(_numbered, function, index, batch))
            if not running:
                return
            done, running = wait(running, seconds, FIRST_COMPLETED)
            if not done:
                raise _HungError
            yield from (future.result() for future in done)
    except BaseException:
        threading.excepthook = _of_other_threads
        _pools.pop(number, pool).shutdown(kill_workers=True)
        raise


def _of_other_threads(raised: threading.ExceptHookArgs, usual: Any = threading.excepthook) -> None:
    """Say nothing of loky's own thread, which looks for work that it has been told to give up."""
    if raised.thread is None or raised.thread.name != "ExecutorManagerThread":
        usual(raised)


@cache
def _settle() -> None:
    """Keep what was imported out of garbage collection, which would look through it all again and again."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # what stays frozen is never freed, which nanobind prints line by line as leaks


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
