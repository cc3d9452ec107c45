import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fistula.errors import ConfigError
from fistula.sweep.job import Job
from fistula.sweep.ray_engine import RayEngine

from ..conftest import TINY_RUN

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

SCRIPT = """
import sys
from pathlib import Path
from fistula.sweep.job import Job
from fistula.sweep.ray_engine import RayEngine
here = Path(sys.argv[1])
jobs = [Job(name, here / name, arguments, here) for name, arguments in
        [("a", ["--version"]), ("b", ["trian"]), ("c", ["--version"])]]
for job, code in RayEngine(address="local", jobs_per_gpu=1, cpus_per_job=1)(jobs):
    print(job.name, code, flush=True)
"""


@pytest.mark.slow
def test_every_job_ends_with_its_exit_code_and_ray_says_nothing(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path)}  # Ray keeps its token there
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert sorted(shown.stdout.splitlines()) == ["a 0", "b 2", "c 0"]
    assert shown.stderr == ""
    assert (tmp_path / "c" / "log.txt").read_text().startswith("fistula ")


@pytest.mark.slow
def test_a_study_goes_through_the_slots_of_this_machine_and_the_same_command_finishes_it(tmp_path, cohort_folder):
    lists = ("seed=0,1", "epochs=60,70")  # seconds of training each, or it would hardly ever be seen running
    command = [sys.executable, "-m", "fistula.cli", "train", "-m", "cohort=cohort", *TINY_RUN, *lists]
    command += ["hydra.sweep.dir=study", "hydra/launcher=local"]
    settings = {"cwd": tmp_path, "env": os.environ | {"HOME": str(tmp_path)}, "text": True}
    settings |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def records():
        return {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("study/*/run.json")}

    sweep = subprocess.Popen(command, **settings)
    while not (running := [record for record in records().values() if record["state"] == "running"]):
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.1)
    os.kill(running[0]["pid"], signal.SIGKILL)
    shown, error = sweep.communicate(timeout=300)
    assert sweep.returncode == 1, shown + error
    assert error.startswith("error: study: 1 of 4 runs failed")
    found = records()
    assert sorted(record["state"] for record in found.values()) == ["done", "done", "done", "failed"]
    assert len({record["pid"] for record in found.values()}) == 4
    again = subprocess.run(command, **settings, timeout=300)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("3 of 4 runs were done before")
    assert {record["hardware"].rpartition(", ")[2] for record in records().values()} == {"1 threads"}
    assert {name for name, record in records().items() if record != found[name]} == {running[0]["name"]}


@pytest.mark.parametrize("key", ["jobs_per_gpu", "cpus_per_job"])
def test_a_share_of_nothing_is_refused(key):
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.engine\.{key}: must be above 0, found 0"):
        RayEngine(**{"address": "local", "jobs_per_gpu": 1, "cpus_per_job": 1} | {key: 0})


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    engine = RayEngine(address="auto", jobs_per_gpu=1, cpus_per_job=1)
    with pytest.raises(ConfigError, match="no Ray cluster answers at auto"):
        list(engine([Job("a", tmp_path / "a", ["--version"], tmp_path)]))
