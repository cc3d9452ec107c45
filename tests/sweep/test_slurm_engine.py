"""A study through Slurm's own sbatch, on a one-node Slurm that lives for the test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from fistula.sweep.engines.slurm import _exit_code

from ..conftest import TINY

pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
TRAIN = (sys.executable, "-m", "fistula.cli", "train", "-m", "cohort=cohort", "study=quick", *TINY, "logger=csv")
# Seconds of training each, or a run would hardly ever be seen running.
LISTS = ("seed=0,1", "epochs=60,70")
PARAMETERS = ("cpus_per_task=1", "gpus_per_node=1", "mem=null", "time=20", "signal_delay_s=10")
SLURM = ("hydra/launcher=slurm", *(f"hydra.launcher.engine.parameters.{parameter}" for parameter in PARAMETERS))


def states(tmp_path):
    return {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "study").glob("*/run.json")}


def wait_for(condition, sweep):
    end = time.monotonic() + 300
    while not condition():
        ended = sweep.poll() is not None
        if ended or time.monotonic() > end:
            sweep.terminate()
            pytest.fail("\n".join(sweep.communicate()))
        time.sleep(0.1)


def job_of(pid):
    """The Slurm job that a run's process belongs to: that of its parent, as Slurm's variables are kept from the run."""
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    variables = Path(f"/proc/{parent}/environ").read_bytes().decode().split("\0")
    array, task = (
        next(line.partition("=")[2] for line in variables if line.startswith(f"SLURM_ARRAY_{what}_ID="))
        for what in ("JOB", "TASK")
    )
    return f"{array}_{task}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_goes_through_sbatch_and_the_same_command_finishes_what_was_cancelled_and_killed(
    slurm, cohort_folder, tmp_path
):
    def start():
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*TRAIN, *LISTS, "hydra.sweep.dir=study", *SLURM], cwd=tmp_path, env=slurm, text=True, **pipes
        )

    def running():
        return [record for record in states(tmp_path).values() if record["state"] == "running"]

    def jobs():
        command = ["squeue", "--noheader", "--states=RUNNING", "--format=%i"]
        return subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout.split()

    def begun():
        return [record for record in running() if (tmp_path / "study" / record["name"] / "last.ckpt").is_file()]

    requeued = []
    sweep = start()
    wait_for(running, sweep)
    killed = running()[0]
    of_killed = job_of(killed["pid"])
    os.kill(killed["pid"], 9)
    # The newest of two jobs, once that of the killed one has made place, is one that has its run before it.
    wait_for(lambda: states(tmp_path)[killed["name"]]["state"] == "failed" and len({*jobs()} - {of_killed}) == 2, sweep)
    newest = max({*jobs()} - {of_killed}, key=lambda job: int(job.rpartition("_")[2]))
    subprocess.run(["scancel", newest], env=slurm, check=True)
    shown, error = sweep.communicate(timeout=900)
    assert sweep.returncode == 1, shown + error
    assert "error: study: 2 of 8 runs failed" in error
    # A cancelled run may say itself that it was told to end, or be told before it can, or be lost with its job.
    own = "ended by SIGTERM: the same command resumes it"
    cancelled = {own, "its process: was ended by signal 15", "its process: was lost (CANCELLED)"}
    errors = {record["error"] for record in states(tmp_path).values() if record["state"] == "failed"}
    assert errors - cancelled == {"its process: was ended by signal 9"}
    assert len(errors & cancelled) == 1
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("study/*/predictions.parquet")}
    assert len(finished) == 6
    again = start()
    # The two that are left are told to make place, each in one of the ways in which Slurm tells it.
    for tell in (["scontrol", "requeue"], ["scancel", "--signal=USR2"]):
        told = [run["name"] for run in requeued]
        wait_for(lambda told=told: [run for run in begun() if run["name"] not in told], again)
        requeued.append(next(run for run in begun() if run["name"] not in told))
        subprocess.run([*tell, job_of(requeued[-1]["pid"])], env=slurm, check=True)
    shown, error = again.communicate(timeout=900)
    assert again.returncode == 0, shown + error
    assert shown.startswith("6 of 8 runs were already done")
    assert {record["state"] for record in states(tmp_path).values()} == {"done"}
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    for run in requeued:
        assert "resuming after epoch" in (tmp_path / "study" / run["name"] / "log.txt").read_text()
        factors = [f"{name}={run['factors'][name]}" for name in ("epochs", "augmentation")]
        alone = [f"seed={run['seed']}", *factors, "hydra.sweep.dir=undisturbed"]
        subprocess.run([*TRAIN, *alone], cwd=tmp_path, env=slurm | {"OMP_NUM_THREADS": "1"}, check=True)
        scores = [(tmp_path / study / run["name"] / "predictions.parquet") for study in ("study", "undisturbed")]
        assert pl.read_parquet(scores[0]).equals(pl.read_parquet(scores[1]))
    assert {record["hardware"].rpartition(", ")[2] for record in states(tmp_path).values()} == {"1 thread"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(
            "UncompletedJobError: Job not requeued because: timed-out too many times.\n",
            "timed-out too many times",
            id="time",
        ),
        pytest.param(
            "Job 7 (task: 0) with path x\nhas not produced any output (state: NODE_FAIL)", "NODE_FAIL", id="node"
        ),
        pytest.param("unpickled", "RuntimeError", id="else"),
    ],
)
def test_a_job_without_a_result_says_why(said, code):
    class Submitted:
        def result(self):
            raise RuntimeError(said)

    assert _exit_code(Submitted()) == code


@pytest.mark.slow
def test_what_slurm_holds_back_for_ever_is_said(slurm, cohort_folder, tmp_path):
    arguments = [*TRAIN, *SLURM[:-2], f"{SLURM[-2].rpartition('=')[0]}=700"]  # minutes, of which the partition has 60
    with subprocess.Popen(arguments, cwd=tmp_path, env=slurm, text=True, stdout=subprocess.PIPE) as sweep:
        assert "waiting in Slurm's queue: PartitionTimeLimit\n" in iter(sweep.stdout.readline, "")
        sweep.terminate()
        assert sweep.stdout.read() == "2 jobs left to Slurm: `scancel 1` ends what is left of them\n"


@pytest.mark.slow
def test_what_sbatch_refuses_is_said_once_in_one_line(slurm, cohort_folder, tmp_path):
    arguments = [*TRAIN, *SLURM, "hydra.launcher.engine.parameters.partition=gpu"]
    refused = subprocess.run(arguments, cwd=tmp_path, env=slurm, text=True, capture_output=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "error: hydra.launcher.engine.parameters: is not what Slurm on this machine takes, found "
        "invalid partition specified: gpu; Batch job submission failed: Invalid partition name specified"
    ]
