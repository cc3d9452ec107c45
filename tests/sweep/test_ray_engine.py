import os
import subprocess
import sys

import pytest

from fistula.errors import ConfigError
from fistula.sweep.engines.job import Job
from fistula.sweep.engines.ray_jobs import RayEngine

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

SCRIPT = """
import signal
import sys
from pathlib import Path
from fistula.sweep.engines.job import Job
from fistula.sweep.engines.ray_jobs import RayEngine
here = Path(sys.argv[1])
jobs = [Job(name, here / name, arguments, here) for name, arguments in
        [("a", ["--version"]), ("b", ["trian"]), ("c", ["--version"])]]
jobs.append(Job("d", here / "d", ["--version"], here, wants_card=False))
for job, code in RayEngine(address="local", jobs_per_gpu=1, cpus_per_job=1)(jobs):
    print(job.name, code, flush=True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # Ray's own would end with 15
"""


@pytest.mark.slow
def test_every_job_ends_with_its_exit_code_and_ray_says_nothing(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path)}  # Ray keeps its token there
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert shown.returncode == 0, shown.stderr
    assert sorted(shown.stdout.splitlines()) == ["a 0", "b 2", "c 0", "d 0"]
    assert shown.stderr == ""
    assert (tmp_path / "c" / "log.txt").read_text().startswith("fistula ")


@pytest.mark.parametrize("key", ["jobs_per_gpu", "cpus_per_job"])
def test_a_share_of_nothing_is_refused(key):
    with pytest.raises(
        ConfigError, match=rf"hydra\.launcher\.engine\.{key}: must be above 0 and at most 4096, found 0"
    ):
        RayEngine(**{"address": "local", "jobs_per_gpu": 1, "cpus_per_job": 1} | {key: 0})


@pytest.mark.parametrize(
    ("shares", "there", "rule"),
    [
        ((0.5, 1), {"CPU": 8.0, "GPU": 1.0}, r"jobs_per_gpu: gives each run 2 GPUs, more than there are, found 1 GPUs"),
        ((1, 16), {"CPU": 8.0}, r"cpus_per_job: gives each run 16 CPUs, more than there are, found 8 CPUs"),
    ],
)
def test_a_share_that_this_machine_does_not_have_is_not_waited_for(shares, there, rule):
    engine, gpus = RayEngine("local", *shares), 1 / shares[0] if "GPU" in there else 0
    with pytest.raises(ConfigError, match=rf"hydra\.launcher\.engine\.{rule}"):
        engine._refuse_more_than(there, gpus)
    RayEngine("auto", *shares)._refuse_more_than(there, gpus)  # a cluster may grow


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    engine = RayEngine(address="auto", jobs_per_gpu=1, cpus_per_job=1)
    with pytest.raises(ConfigError, match="no Ray cluster answers at auto"):
        list(engine([Job("a", tmp_path / "a", ["--version"], tmp_path)]))
