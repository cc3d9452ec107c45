"""One run whose processes are tasks of srun, on several nodes."""

import json
import subprocess
import sys
import time

import polars as pl
import pytest

from ..conftest import TINY_RUN

LOSS = """
import os, torch
from fistula.learning.losses import CrossEntropy

class Loss(CrossEntropy):
    def forward(self, logits, labels):
        is_bad = os.environ.get("SLURM_NODEID") == os.environ["BAD_NODE"] and torch.distributed.is_initialized()
        return super().forward(logits, labels) * (float("nan") if is_bad else 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("slurm", [2], indirect=True)
def test_a_node_that_fails_ends_the_run_with_its_error_and_the_same_command_trains_on_both(
    slurm, cohort_folder, tmp_path
):
    (tmp_path / "own.py").write_text(LOSS)
    start = ["srun", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-m", "fistula.cli"]
    train = ["train", "cohort=cohort", *TINY_RUN, "loss._target_=own.Loss", "hydra.run.dir=run"]
    # The names of the nodes are nobody's: on a cluster Lightning finds the first one by its own.
    told = slurm | {"PYTHONPATH": str(tmp_path), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}

    def srun(bad_node):
        variables = told | {"BAD_NODE": bad_node}
        return subprocess.run(
            [*start, *train], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=200
        )

    before = time.monotonic()
    failed = srun("1")
    assert failed.returncode != 0
    assert time.monotonic() - before < 120  # torch would wait for half an hour
    error = "step 0: the loss must be finite, found nan"
    assert f"error: {error}" in failed.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["error"][: len(error)]) == ("failed", error)
    done = srun("none")
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["processes"]) == ("done", 2)
    scores = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert scores["slice_key"].is_unique().all()
    assert set(scores["part"]) == {"val", "test"}
