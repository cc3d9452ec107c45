"""`fistula status`: how far a study is."""

import sys
import time
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.live import Live

from fistula.errors import as_typed, refuse_outside
from fistula.sweep.status import ENDED, read_status, status_table


def run(cfg: DictConfig) -> None:
    """Show the runs of a study, with ``watch=true`` until each has ended; exit with 1 unless all are done."""
    refuse_outside("every", cfg.every, 0.1, 86400)
    study = Path(cfg.study_folder)
    runs = read_status(study)
    # A file or a pipe has no width, and names of runs are long.
    console = Console(width=None if sys.stdout.isatty() else 200)
    if cfg.watch:
        with Live(status_table(runs, study), console=console, auto_refresh=False) as live:
            while not {run.state for run in runs} <= ENDED:
                time.sleep(cfg.every)
                runs = read_status(study)
                live.update(status_table(runs, study), refresh=True)
    else:
        console.print(status_table(runs, study))
    if {run.state for run in runs} != {"done"}:
        sys.exit(1)
    print("next: fistula report", as_typed(f"study={study}"))
