"""A study whose processes are killed at any moment ends as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys

import polars as pl
import pytest

from ..conftest import TINY_RUN, write_cohort

SWEEP = ("train", "-m", "cohort=cohort", *TINY_RUN, "seed=0,1", "epochs=2,3", "augmentation=none,color_jitter")
KILLS = 10


def start(folder, study):
    """Start the sweep in a process group of its own."""
    command = [sys.executable, "-m", "fistula.cli", *SWEEP, f"hydra.sweep.dir={study}"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)


def done(study):
    """Runs that say that they are done, with the time at which their scores were written."""
    records = {path.parent: json.loads(path.read_text()) for path in study.glob("*/run.json")}
    finished = [folder for folder, record in records.items() if record["state"] == "done"]
    return {folder.name: (folder / "predictions.parquet").stat().st_mtime_ns for folder in finished}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_study_killed_at_ten_random_moments_ends_as_an_undisturbed_one(tmp_path):
    write_cohort(tmp_path / "cohort")
    assert start(tmp_path, "quiet").wait() == 0
    moments = random.Random(0)
    seen = {}
    for _ in range(KILLS):
        sweep = start(tmp_path, "killed")
        try:
            assert sweep.wait(timeout=moments.uniform(2, 16)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(sweep.pid, signal.SIGKILL)
            sweep.wait()
        now = done(tmp_path / "killed")
        assert now.items() >= seen.items(), "a run that was done was trained again"
        seen = now
    assert start(tmp_path, "killed").wait() == 0
    assert len(done(tmp_path / "killed")) == 8
    assert done(tmp_path / "killed").items() >= seen.items()
    for quiet in (tmp_path / "quiet").glob("*/run.json"):
        killed = tmp_path / "killed" / quiet.parent.name
        scores = [pl.read_parquet(folder / "predictions.parquet") for folder in (quiet.parent, killed)]
        assert scores[0].equals(scores[1]), quiet.parent.name
        assert (quiet.parent / "history.csv").read_text() == (killed / "history.csv").read_text()
    left = [
        path for path in (tmp_path / "killed").rglob("*") if path.name.endswith((".partial", ".draft", "last.ckpt"))
    ]
    assert left == []
