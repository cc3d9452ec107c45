"""What a sweep shows while it runs: one line for each run that ends, and a bar where someone watches."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SAID_FROM_S = 60.0  # of which what is left is worth saying


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

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def show(self, text: str) -> None:
        """Say how a run ended."""
        self.count = min(self.count + 1, self.total)
        seconds = (time.monotonic() - self.started) / max(1, self.count - self.before) * (self.total - self.count)
        left = f"  about {seconds / 60:.0f} min left" if seconds > SAID_FROM_S else ""
        print(f"[{self.count}/{self.total}] {text}{left}", flush=True)
        self.bar.update(self.task, completed=self.count)
