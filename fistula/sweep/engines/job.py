"""One run of a study as a process of its own: nothing leaks from one to the next, and a crash ends one run alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.types import RunMode

from fistula.errors import ConfigError
from fistula.sweep.folder.run import LOG

# Of Hydra's own settings, those that make the sweep and not the run.
OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.mode")
AUTO = "auto"
MOST_SHARES = 4096
END_S = 20.0  # for a run to end by itself before it is killed


def arguments_of(hydra: HydraConf, overrides: Sequence[str]) -> list[str]:
    """What `fistula` is to be called with to train one run and no other, into the folder that it has."""
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    config = [argument for folder in folders for argument in ("--config-dir", folder)]
    own = [text for text in hydra.overrides.hydra if not text.startswith(OF_THE_SWEEP)]
    if hydra.mode != RunMode.MULTIRUN:
        return ["train", *config, *own, *overrides]
    return ["train", "--multirun", *config, *own, *overrides, "hydra/launcher=in_process", "hydra/sweeper=basic"]


@dataclass(frozen=True)
class Job:
    """A run to be started."""

    name: str
    folder: Path  # of the run; its process's output goes to `log.txt` there
    arguments: Sequence[str]
    cwd: Path  # where relative paths begin
    environment: Mapping[str, str] = field(default_factory=dict)  # variables over those of the machine it runs on
    wants_card: bool = True  # whether it trains on a graphics card where there is one

    def run(self) -> int:
        """Run to the end; the exit code, negative the number of a signal that ended it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fistula.cli", *self.arguments]
        with (self.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.cwd,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                return process.wait()
            finally:
                _end(process)

    def variables(self) -> dict[str, str]:
        """The environment of its process."""
        # Inside a Slurm job Lightning would take over from Slurm what only concerns our parent process.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        return inherited | dict(self.environment)

    def with_threads(self, number: int) -> "Job":
        """The same run with so many threads: runs beside each other that each take every core wait for one another."""
        threads = {name: str(number) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return replace(self, environment=dict(self.environment) | threads)


def check_shares(*, may_be_auto: bool, **shares: Any) -> None:
    """Refuse a share of a machine that is none.

    Raises:
        ConfigError: Unless each is a number above 0, or ``auto`` where that may be.
    """
    for key, value in shares.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (may_be_auto and value == AUTO) and not (is_number and 0 < value <= MOST_SHARES):
            rule = f"must be {'auto or ' if may_be_auto else ''}above 0 and at most {MOST_SHARES}"
            raise ConfigError(f"hydra.launcher.engine.{key}", rule, found=value)


# What runs jobs, on whatever machines: gives each with its exit code as it ends, or why there is none, or None.
Engine = Callable[[Sequence[Job]], Iterator[tuple[Job, int | str | None]]]


def _end(process: subprocess.Popen) -> None:
    """End a process that is still there, because its parent has been interrupted."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
