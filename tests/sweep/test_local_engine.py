"""Slots on this machine, and the processes in them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fistula.errors import ConfigError
from fistula.sweep.engines import local
from fistula.sweep.engines.job import Job
from fistula.sweep.engines.local import LocalEngine, cards, one_by_one

from ..conftest import TINY_RUN


def slots(memory, *, per_card="auto", cores=16, threads="auto", monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    found = LocalEngine(per_card, threads).slots(memory)
    assert all(slot["OMP_NUM_THREADS"] == slot["MKL_NUM_THREADS"] for slot in found)
    return [(slot["CUDA_VISIBLE_DEVICES"], int(slot["OMP_NUM_THREADS"])) for slot in found]


@pytest.mark.parametrize(
    ("memory", "options", "expected"),
    [
        pytest.param({"0": 80.0}, {}, [("0", 4)] * 4, id="a card of 80 GB has four, and they share 16 cores"),
        pytest.param({"0": 17.0, "1": 9.0}, {}, [("0", 5), ("1", 5), ("0", 5)], id="one for each 8 GB"),
        pytest.param({"0": 4.0}, {}, [("0", 16)], id="a small card has one"),
        pytest.param({"0": 8.0, "1": 8.0}, {"per_card": 2}, [("0", 4), ("1", 4)] * 2, id="two on a card"),
        pytest.param(
            dict.fromkeys("0123", 8.0), {"per_card": 0.5, "threads": 3}, [("0,1", 3), ("2,3", 3)], id="two cards each"
        ),
        pytest.param(dict.fromkeys("0123", 8.0), {"per_card": 0.5}, [("0,1", 4), ("2,3", 4)], id="a process on each"),
        pytest.param({}, {"cores": 3, "per_card": 0.5}, [("", 1)] * 3, id="no card, of which two are asked"),
        pytest.param({}, {"cores": 3}, [("", 1)] * 3, id="no card: as many as cores, and none claims one"),
        pytest.param({}, {"cores": 5, "threads": 2}, [("", 2)] * 2, id="of two cores each"),
        pytest.param({}, {"cores": 1, "threads": 2}, [("", 2)], id="never none"),
    ],
)
def test_slots_are_the_cards_or_the_cores(memory, options, expected, monkeypatch):
    assert slots(memory, **options, monkeypatch=monkeypatch) == expected


def test_more_cards_than_there_are_is_no_reason_to_train_without_them():
    rule = r"engine\.jobs_per_gpu: gives each run 3 GPUs, more than there are, found 0\.33 with 2$"
    with pytest.raises(ConfigError, match=rule):
        LocalEngine(0.33, "auto").slots({"0": 8.0, "1": 8.0})


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        pytest.param(None, {"GPU-c4": 85.0, "GPU-e1": 25.0}, id="all, by names that do not depend on CUDA's order"),
        pytest.param("1", {"1": 25.0}, id="one of them"),
        pytest.param("GPU-e", {"GPU-e": 25.0}, id="by a part of its UUID, as CUDA takes it"),
        pytest.param("", {}, id="none"),
        pytest.param("0,-1,1", {"0": 85.0}, id="what follows an index that is none does not count"),
        pytest.param("MIG-7,0", {"MIG-7": 8.0, "0": 85.0}, id="a part of a card that is not listed"),
    ],
)
def test_the_cards_are_those_that_this_process_may_use(visible, expected, monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-c4, 81062, Default'\necho '1, GPU-e1, 23842, Default'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cards() == pytest.approx(expected, rel=1e-3)


def test_of_a_card_that_is_cut_up_each_part_is_one(monkeypatch, tmp_path):
    """As nvidia-smi writes it of a card in two parts beside a whole one."""
    listed = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-c4)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-aa-1)\n"
        "  MIG 1g.5gb+me   Device  1: (UUID: MIG-bb-2)\n"
        "GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-e1)\n"
    )
    (tmp_path / "list").write_text(listed)
    program = tmp_path / "nvidia-smi"
    cards_too = "echo '0, GPU-c4, 40960, Default'; echo '1, GPU-e1, 40960, Default'"
    program.write_text(f'#!/bin/sh\n[ "$1" = --list-gpus ] && exec cat {tmp_path}/list\n{cards_too}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cards() == pytest.approx({"MIG-aa-1": 20.0, "MIG-bb-2": 5.0, "GPU-e1": 42.9}, rel=1e-2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-bb-2")
    assert cards() == {"MIG-bb-2": 5.0}


def test_a_card_for_one_process_at_a_time_has_one_slot(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-c4, 81062, Exclusive_Process'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert len(LocalEngine("auto", "auto").slots(cards())) == 1


def test_a_machine_without_the_driver_has_no_card(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fistula.sweep.engines.local.DEVICES", tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert cards() == {}


def test_cards_that_cannot_be_shared_out_are_no_reason_to_train_without_them(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fistula.sweep.engines.local.DEVICES", tmp_path)
    (tmp_path / "nvidia0").touch()
    job = Job("a", tmp_path / "a", [], tmp_path)
    with pytest.raises(ConfigError, match=r"hydra/launcher=local: needs nvidia-smi .* In a container, NVIDIA_DRIVER"):
        list(LocalEngine("auto", "auto")([job]))
    assert list(LocalEngine("auto", "auto")([])) == []


@pytest.mark.parametrize("key", ["jobs_per_gpu", "cpus_per_job"])
@pytest.mark.parametrize("value", [0, "many"])
def test_a_share_of_nothing_is_refused(key, value):
    with pytest.raises(
        ConfigError, match=rf"hydra\.launcher\.engine\.{key}: must be auto or above 0 and at most 4096, found {value}"
    ):
        LocalEngine(**{"jobs_per_gpu": 1, "cpus_per_job": 1} | {key: value})


@pytest.mark.slow
def test_every_job_ends_with_its_exit_code_in_turn_or_beside_each_other(tmp_path):
    jobs = [Job(name, tmp_path / name, words, tmp_path) for name, words in zip("abc", VERSIONS, strict=True)]
    for engine in (one_by_one, LocalEngine(1, 1)):
        assert {job.name: code for job, code in engine(jobs)} == {"a": 0, "b": 2, "c": 0}
    assert (tmp_path / "c" / "log.txt").read_text().count("fistula ") == 2
    assert "Did you mean train?" in (tmp_path / "b" / "log.txt").read_text()


VERSIONS = (["--version"], ["trian"], ["--version"])


def leave_all_that_a_process_can(told):
    import torch

    environment, folder = os.environ.get("LEAK"), Path.cwd()
    found = environment, str(folder), torch.initial_seed(), torch.get_num_threads(), hasattr(torch, "leaked")
    torch.leaked = True
    os.environ["LEAK"] = "of another run"
    torch.manual_seed(77)
    torch.set_num_threads(2)
    os.chdir("/")
    told.put(found)


@pytest.mark.slow
def test_nothing_leaks_from_one_run_to_the_next():
    """Each leaves a variable, a folder, a seed, threads, a name in a library."""
    context = local.context()
    told = context.SimpleQueue()
    for _ in range(2):
        process = context.Process(target=leave_all_that_a_process_can, args=(told,))
        process.start()
        process.join()
    first, second = told.get(), told.get()
    assert first == second
    assert first[0] is None
    assert not first[4]


@pytest.mark.slow
def test_a_run_of_a_sweep_has_the_very_scores_of_the_run_alone(fistula, tmp_path, cohort_folder):
    common = ("cohort=cohort", *TINY_RUN, "epochs=2", "augmentation=color_jitter")
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    local = fistula("train", "-m", *common, "seed=0,1", "hydra/launcher=local", "hydra.sweep.dir=study")
    assert local.returncode == 0, local.stderr
    alone = fistula("train", *common, "seed=1", "hydra.run.dir=alone", **threads)
    assert alone.returncode == 0, alone.stderr
    (run,) = tmp_path.glob("study/*seed1*")
    for name in ("predictions.parquet", "history.csv"):
        assert (run / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


@pytest.mark.slow
def test_a_study_goes_through_the_slots_of_this_machine_and_the_same_command_finishes_it(tmp_path, cohort_folder):
    lists = ("seed=0,1", "epochs=60,70")  # seconds of training each, or it would hardly ever be seen running
    command = [sys.executable, "-m", "fistula.cli", "train", "-m", "cohort=cohort", *TINY_RUN, *lists]
    command += ["hydra.sweep.dir=study", "hydra/launcher=local"]
    settings = {"cwd": tmp_path, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

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
    assert again.stdout.startswith("3 of 4 runs were already done")
    assert {record["hardware"].rpartition(", ")[2] for record in records().values()} == {"1 thread"}
    assert {name for name, record in records().items() if record != found[name]} == {running[0]["name"]}


@pytest.mark.slow
def test_what_runs_are_forked_from_has_asked_for_no_card():
    """CUDA cannot be used in a process that was forked from one that has."""
    code = """
import importlib, torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, lambda *given, name=name: asked.append(name))
from fistula.ahead import PRELOADED
for module in PRELOADED["train"]:
    importlib.import_module(module)
print(asked)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
