"""Which run starts when, and what became of it: runs that others train are waited for, silent ends are recorded."""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fistula.errors import FistulaError, count
from fistula.sweep.engines.job import Engine, Job
from fistula.sweep.folder.ownership import BUSY, STALE_S, BusyError, claim, holder_of
from fistula.sweep.folder.run import RunFolder, one_line

log = logging.getLogger(__name__)

POLL_S = 1.0
SAID_FROM_S = 60.0  # of which what is left is worth saying
OUT_OF_MEMORY = "OutOfMemoryError"  # PyTorch's, of a graphics card


class RunError(FistulaError):
    """A run of a study failed, or its process ended without a word."""


@dataclass(frozen=True)
class StudyRun:
    """A run, and how it is started."""

    folder: RunFolder
    job: Job


def run_all(runs: Sequence[StudyRun], *, engine: Engine, num_done: int) -> dict[str, RunError]:
    """Run all that are not done, whatever fails.

    Those that another sweep trains are waited for, and taken over if it dies; `num_done` others were done before. Gives
    errors of the runs that failed, by the names of their folders.
    """
    display = Display(total=len(runs) + num_done, num_done=num_done)
    schedule = Schedule(engine, display)
    with display.bar:
        schedule.run(runs)
        for run in runs:
            _relieve(run, schedule)
    return schedule.errors


def _relieve(run: StudyRun, schedule: "Schedule") -> None:
    """Try a run again that has found too little memory: alone, then half as much of a batch at a time, and again."""
    how = "alone"
    while run.folder.record().get("error_kind") == OUT_OF_MEMORY:
        print(f"{run.job.name}: out of memory; trying again {how}", flush=True)
        schedule.run([run])
        record, asked = run.folder.record(), run.folder.identity
        parts = 2 * int(record.get("micro_batches", asked["micro_batches"]))
        if record.get("error_kind") != OUT_OF_MEMORY or 2 * parts * record.get("processes", 1) > asked["batch_size"]:
            return  # batch norms cannot do with parts of one slice
        # In the record, where the run looks: what was asked for stays what identifies it.
        run.folder.write("queued", micro_batches=parts, **{key: record[key] for key in ("error", "error_kind")})
        for name in ("last.ckpt", "history.csv"):
            (run.folder.path / name).unlink(missing_ok=True)
        how = f"alone, with each batch in {parts} parts"


class Display:
    """Lines on standard output; the bar on standard error, if that is a terminal."""

    def __init__(self, *, total: int, num_done: int) -> None:
        self.total, self.count, self.before, self.started = total, num_done, num_done, time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        # Lines that are printed while the bar is there go through it to standard output, and stand above it.
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("runs", total=total, completed=num_done)
        if num_done:
            print(f"{num_done} of {total} runs were already done", flush=True)

    def show(self, text: str) -> None:
        """Say how a run ended."""
        self.count = min(self.count + 1, self.total)
        seconds = (time.monotonic() - self.started) / max(1, self.count - self.before) * (self.total - self.count)
        left = f"  about {seconds / 60:.0f} min left" if seconds > SAID_FROM_S else ""
        print(f"[{self.count}/{self.total}] {text}{left}", flush=True)
        self.bar.update(self.task, completed=self.count)


class Schedule:
    """Runs on their way to an end."""

    def __init__(self, engine: Engine, display: Display) -> None:
        self.engine, self.display = engine, display
        self.errors: dict[str, RunError] = {}
        self._beats: dict[Path, tuple[tuple[int, int], float]] = {}

    def run(self, runs: Sequence[StudyRun]) -> None:
        """Bring runs to an end, each trained by one process at a time, here or elsewhere."""
        waiting = {run.job.folder: run for run in runs}
        elsewhere: set[Path] = set()
        while waiting:
            held = {path for path in waiting if self._is_held(path)}
            for path in elsewhere - held:
                # Another sweep has brought it to an end; if it died instead, the run is ours.
                if path in waiting and waiting[path].folder.record().get("state") in ("done", "failed"):
                    self._settle(waiting.pop(path), None)
            if held - elsewhere:
                print(f"other processes train {count(len(held), 'run')}, waited for at the end", flush=True)
            elsewhere = held
            free = [run.job for path, run in waiting.items() if path not in held]
            if waiting and not free:
                time.sleep(POLL_S)
            for job, code in self.engine(free) if free else ():
                if code == BUSY or not self._settle(waiting[job.folder], code):
                    elsewhere.add(job.folder)
                else:
                    del waiting[job.folder]

    def _settle(self, run: StudyRun, code: int | str | None) -> bool:
        """Tell what became of a run whose process ended; False if another process has it now."""
        name, said = run.folder.path.name, _say_end(run.folder.log_tail(), code)
        if run.folder.record().get("state") not in ("done", "failed") and not _record_silent_end(run, said):
            return False
        record = run.folder.record()
        if record.get("state") == "done":
            self.errors.pop(name, None)
            self.display.show(f"{run.job.name}  {one_line(record['metrics'])}  {record.get('seconds', 0):.0f} s")
            return True
        error = RunError(run.job.name, record.get("error", said))
        error.exit_code = code if isinstance(code, int) and code in (2, 3) else 1
        self.errors[name] = error
        self.display.show(f"{run.job.name}  failed: {error.rule}")
        return True

    def _is_held(self, folder: Path) -> bool:
        """Whether a process that may be alive trains in a folder; one out of sight is alive while its file changes."""
        holder = holder_of(folder)
        if holder is None or holder.is_gone:
            return False
        if holder.is_gone is False:
            return True
        now, beat = time.monotonic(), (holder.number, holder.beat)
        seen, since = self._beats.get(folder, (None, now))
        if seen != beat:
            self._beats[folder] = beat, now
            return True
        return now - since < STALE_S


def _record_silent_end(run: StudyRun, said: str) -> bool:
    """Record a run as failed whose process ended without doing so; False if another process has it now."""
    try:
        own = claim(run.folder.path)
        try:
            if run.folder.record().get("state") not in ("done", "failed"):
                run.folder.fail(RunError("its process", said))
        finally:
            own.release()
    except BusyError:
        return False
    except OSError as error:
        log.error("%s: its end could not be recorded (%s)", run.job.name, error)  # a full disk, most likely
    return True


def _say_end(log_tail: list[str], code: int | str | None) -> str:
    if not isinstance(code, int):
        return f"was lost ({code})" if code else "was lost"
    if code < 0:
        return f"was ended by signal {-code}"
    said = [line for line in log_tail if line.startswith("error: ")]
    return f"ended with exit code {code}" + (f" ({said[-1]})" if said else "")
