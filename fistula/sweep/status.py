"""How far a study is, read from its folder: the runs' records, their histories, and whether their processes live."""

import csv
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from fistula.errors import DataError, in_words
from fistula.learning.training.watched import better
from fistula.sweep.folder.ownership import holder_of
from fistula.sweep.folder.run import RECORD, read_record

STYLES = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "damaged": "red"}
ENDED = {"done", "failed", "damaged"}
INTERRUPTED = ("KeyboardInterrupt", "SystemExit", "SIGTERMException")  # nobody's mistake


@dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    name: str
    # As in its record; but ``stopped`` where it was interrupted, or its process is gone, ``damaged`` where there is no
    # reading it.
    state: str
    epoch: int = 0
    epochs: int = 0  # to complete; 0 if unknown
    best: float | None = None  # of the metric by which the scored epoch is chosen, or the AUROC; None before the first
    seconds_per_epoch: float | None = None  # since its process started; None if that is not to be said
    note: str = ""  # where it runs and when it last gave a sign of life, or why it failed

    @property
    def seconds_left(self) -> float | None:
        if self.seconds_per_epoch is None or self.state != "running":
            return None
        return self.seconds_per_epoch * (self.epochs - self.epoch)


def read_status(study: Path) -> list[RunStatus]:
    """The state of each run of a study, or of the only run in its own folder. Raises DataError if there is no run."""
    folders = [study] if (study / RECORD).exists() else sorted(path.parent for path in study.glob(f"*/{RECORD}"))
    if not folders:
        remedy = "Give the folder of a study, below multirun unless hydra.sweep.dir said otherwise"
        raise DataError(f"study={study}", "must hold a run", remedy=remedy)
    return [_status_of(folder) for folder in folders]


def status_table(runs: list[RunStatus], study: Path) -> Table:
    """The runs as a table, with their sum as its title."""
    counts = {state: sum(run.state == state for run in runs) for state in dict.fromkeys(run.state for run in runs)}
    title = f"{study}: " + ", ".join(f"{count} {state}" for state, count in counts.items())
    table = Table(title=title, title_justify="left")
    for name in ("run", "state"):
        table.add_column(name, overflow="fold")
    for name in ("epoch", "best", "s/epoch", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold")
    for run in runs:
        epoch = f"{run.epoch}/{run.epochs}" if run.epochs else ""
        best = "" if run.best is None else f"{run.best:.3f}"
        speed = "" if run.seconds_per_epoch is None else f"{run.seconds_per_epoch:.1f}"
        left = "" if run.seconds_left is None else in_words(run.seconds_left)
        state = f"[{STYLES.get(run.state, 'default')}]{run.state}[/]"
        table.add_row(run.name, state, epoch, best, speed, left, run.note.replace("[", r"\["))
    return table


def _status_of(folder: Path) -> RunStatus:
    try:
        record = read_record(folder)
    except DataError as error:
        return RunStatus(folder.name, "damaged", note=str(error))
    identity = record.get("identity", {})
    monitor = str(identity.get("checkpoint.monitor"))
    monitor = "val/auroc" if monitor == "epoch" else monitor  # the last epoch is scored; the best is of interest
    values = _history(folder, monitor)
    choose = min if better(monitor) == "min" else max
    state, note = _state_and_note(folder, record)
    return RunStatus(
        folder.name,
        state,
        epoch=len(values),
        epochs=int(identity.get("epochs") or 0),
        best=choose((value for value in values if value == value), default=None),
        seconds_per_epoch=_speed(folder, record, len(values)),
        note=note,
    )


def _state_and_note(folder: Path, record: dict[str, Any]) -> tuple[str, str]:
    state = str(record["state"])
    if state == "failed" and record.get("error_kind") in INTERRUPTED:
        requeued = ", unless Slurm has requeued it" if (folder.parent / ".slurm").exists() else ""
        return "stopped", f"interrupted; the same command resumes it{requeued}"
    if state == "failed":
        return state, str(record.get("error", ""))
    if state != "running":
        return state, ""
    holder = holder_of(folder)
    where = f"{record.get('host')}, process {record.get('pid')}"
    if holder is None or holder.is_gone:
        return "stopped", f"was on {where}; the same command resumes it"
    return state, f"{where}, last heartbeat {in_words(max(0.0, time.time() - holder.beat / 1e9))} ago"


def _history(folder: Path, monitor: str) -> list[float]:
    """The metric of each completed epoch; NaN where an epoch lacks it."""
    try:
        with (folder / "history.csv").open() as file:
            return [float(row.get(monitor) or "nan") for row in csv.DictReader(file)]
    except (OSError, ValueError):
        return []


def _speed(folder: Path, record: dict[str, Any], epochs: int) -> float | None:
    """Seconds an epoch since the run's process started; None before its first epoch."""
    completed = epochs - int(record.get("epochs_before", 0))
    if "running_at" not in record or completed < 1:
        return None
    ends = [datetime.fromisoformat(record["done_at"]).timestamp()] if record["state"] == "done" else []
    ends.append((folder / "history.csv").stat().st_mtime)  # of a copied study, when it was copied
    seconds = min(ends) - datetime.fromisoformat(record["running_at"]).timestamp()
    return seconds / completed if seconds > 0 else None
