"""Run jobs through Slurm: one array, requeued where a job is preempted or runs out of time, gone on with from there."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

from fistula.errors import ConfigError, count
from fistula.sweep.engines.job import Job

PARAMETERS = "hydra.launcher.engine.parameters"
POLL_S = 2.0
KILL_S = 600.0  # Slurm kills what it has told to end after its KillWait, 30 s unless the cluster says otherwise
# What submitit says of a job without a result: why it was not queued again, or Slurm's word for its state.
WHY = re.compile(r"Job not requeued because: (.+)\.|\(state: ([A-Z_]+)")
ASK_S = 15.0  # between two questions to sacct; a job that ends well is known by its file, at once


@dataclass(frozen=True)
class SlurmEngine:
    """Submit jobs with sbatch and wait for them.

    A sweep that is interrupted leaves its jobs in the queue: the same command again waits for those that run.
    """

    folder: str  # for the scripts, results and logs of submitit; on the file system that the nodes share
    max_num_timeout: int  # how often a job may run out of its time and be queued again
    parameters: dict[str, Any]  # of sbatch, by submitit's names, which may also hold ``additional_parameters``

    def __post_init__(self) -> None:
        import submitit

        if unknown := self.parameters.keys() - submitit.SlurmExecutor._valid_parameters():
            known = ", ".join(sorted(submitit.SlurmExecutor._valid_parameters()))
            rule = f"must be among {known}"
            remedy = "Others go into additional_parameters"
            raise ConfigError(PARAMETERS, rule, found=", ".join(sorted(unknown)), remedy=remedy)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int | str]]:
        import submitit

        try:
            executor = submitit.SlurmExecutor(folder=self.folder, max_num_timeout=self.max_num_timeout)
            executor.update_parameters(**self.parameters)
            with redirect_stderr(StringIO()):  # submitit prints what its error holds as well
                array = executor.map_array(RequeuedJob(), jobs)
        except (RuntimeError, ValueError, submitit.core.utils.FailedJobError) as error:
            lines = str(error).partition("sbatch: error: ")[2] or str(error)
            found = "; ".join(line.strip().removeprefix("sbatch: error: ") for line in lines.splitlines())
            raise ConfigError(PARAMETERS, "is not what Slurm on this machine takes", found=found) from error
        waiting = dict(zip(array, jobs, strict=True))
        asked, told = time.monotonic(), ""
        try:
            while waiting:
                time.sleep(POLL_S)
                if time.monotonic() - asked > ASK_S:
                    # submitit itself asks ever more rarely, down to every ten minutes; one question covers the array.
                    next(iter(waiting)).watcher.update()
                    asked = time.monotonic()
                    if (why := _held_back(array[0].job_id)) != told and (told := why):
                        print(f"waiting in Slurm's queue: {why}", flush=True)
                for submitted in [submitted for submitted in waiting if submitted.done()]:
                    yield waiting.pop(submitted), _exit_code(submitted)
        finally:
            if waiting:
                number, left = array[0].job_id.partition("_")[0], count(len(waiting), "job")
                print(f"{left} left to Slurm: `scancel {number}` ends what is left of them", flush=True)


class RequeuedJob:
    """What submitit runs on a node."""

    def __call__(self, job: Job) -> int:
        is_told_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: is_told_to_end.set())
        # Slurm binds a job to its cores only where its administrators say so.
        cores = os.environ.get("SLURM_CPUS_PER_TASK")
        code = (job.with_threads(int(cores)) if cores else job).run()
        if is_told_to_end.is_set():
            # Cancelled or requeued, which Slurm alone knows: an exit code would tell the sweep that the run has failed.
            time.sleep(KILL_S)
        return code

    def checkpoint(self, job: Job) -> Any:
        """Queue the same job again, when it is preempted or out of time; the run goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def _held_back(job_id: str) -> str:
    """Why Slurm starts no further job of an array yet, in its own words, among which are limits that never lift."""
    ask = ["squeue", "--noheader", "--states=PENDING", "--format=%r", f"--jobs={job_id.partition('_')[0]}"]
    try:
        shown = subprocess.run(ask, capture_output=True, text=True, timeout=ASK_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(sorted(set(shown.split("\n")) - {"", "None"}))


def _exit_code(submitted: Any) -> int | str:
    """The exit code of a job that ended; why there is none where it was cancelled, killed or lost."""
    try:
        return submitted.result()
    except Exception as error:  # submitit's kinds of failure, and whatever its pickle held
        why = WHY.search(str(error))
        return why[1] or why[2] if why else type(error).__name__
