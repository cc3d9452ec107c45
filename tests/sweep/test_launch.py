"""Sweeps as a user starts them: every run in a process of its own, through failures, kills and repetitions."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..conftest import TINY_RUN

INTERRUPTED = "interrupted: the same command resumes it\n"
RAY = ("hydra/launcher=ray", "hydra.launcher.engine.address=local", "hydra.launcher.engine.cpus_per_job=2")
SWEEP = ("train", "-m", "cohort=cohort", *TINY_RUN, "hydra.sweep.dir=study")


def records(tmp_path):
    return {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "study").glob("*/run.json")}


def predictions(tmp_path):
    return {path.parent.name: path.read_bytes() for path in (tmp_path / "study").glob("*/predictions.parquet")}


@pytest.fixture
def start(tmp_path, cohort_folder):
    """Start `fistula ...` in a process group of its own."""

    def call(*arguments):
        command = [sys.executable, "-m", "fistula.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # A shell starts its jobs in the background, and so all that they start, deaf to Ctrl-C.
        hears = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        return subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, **pipes, **hears)

    return call


@pytest.mark.slow
def test_each_run_has_a_process_and_a_log_of_its_own_and_the_second_call_only_retries_what_failed(start, tmp_path):
    rates = ("optimizer=sgd", "optimizer.lr=1e30,0.01,0.02")
    shown, error = start(*SWEEP, *rates).communicate(timeout=300)
    assert error.startswith("error: study: 1 of 3 runs failed")
    lines = shown.splitlines()
    assert [line[:5] for line in lines] == ["[1/3]", "[2/3]", "[3/3]"]
    assert "failed: step 1: the loss must be finite" in lines[0]
    first = records(tmp_path)
    assert sorted(record["state"] for record in first.values()) == ["done", "done", "failed"]
    assert len({record["pid"] for record in first.values()}) == 3
    assert all("epoch 1/1" in (tmp_path / "study" / n / "log.txt").read_text() for n in predictions(tmp_path))
    failed = next(record for record in first.values() if record["state"] == "failed")
    assert "the loss must be finite" in failed["error"]
    assert any("test_resnet" in line for line in failed["log_tail"])
    shown, _ = start(*SWEEP, *rates).communicate(timeout=300)
    assert shown.splitlines()[0] == "2 of 3 runs were already done"
    again = records(tmp_path)
    assert {name for name in first if first[name] != again[name]} == {failed["name"]}


@pytest.mark.slow
def test_two_sweeps_at_once_train_each_run_once(start, tmp_path):
    sweeps = [start(*SWEEP, "seed=0,1,2", "epochs=3") for _ in range(2)]
    assert [sweep.wait(timeout=600) for sweep in sweeps] == [0, 0]
    logs = [path.read_text() for path in (tmp_path / "study").glob("*/log.txt")]
    assert len(logs) == 3
    assert all(log.count("epoch 1/3") == 1 for log in logs)
    assert {record["state"] for record in records(tmp_path).values()} == {"done"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number", "said", "launcher"),
    [
        (os.kill, signal.SIGTERM, "", ()),
        pytest.param(os.killpg, signal.SIGINT, INTERRUPTED, (), id="Ctrl-C"),
        pytest.param(os.kill, signal.SIGTERM, "", RAY, id="Ray"),
    ],
)
def test_an_interrupted_sweep_ends_its_run(start, tmp_path, send, number, said, launcher):
    if launcher:
        pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    sweep = start(*SWEEP, "seed=0,1", "epochs=200", *launcher)
    while not any(record["state"] == "running" for record in records(tmp_path).values()):
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.1)
    (pid,) = (record["pid"] for record in records(tmp_path).values() if record["state"] == "running")
    send(sweep.pid, number)
    _, error = sweep.communicate(timeout=120)
    assert (sweep.returncode, error) == (128 + number, said)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 2.0])  # while the process that runs are forked from imports
def test_a_sweep_interrupted_at_its_start_says_no_more(start, tmp_path, seconds):
    sweep = start(*SWEEP, "seed=0,1", "epochs=200")
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children")
    while not children.read_text():  # on a busy machine Python itself takes longer to start
        time.sleep(0.02)
    time.sleep(seconds)
    os.killpg(sweep.pid, signal.SIGINT)
    _, error = sweep.communicate(timeout=120)
    assert (sweep.returncode, error) == (128 + signal.SIGINT, INTERRUPTED)


@pytest.mark.slow
def test_a_sweep_killed_alone_leaves_its_run_at_work_and_the_same_command_waits_for_it(start, tmp_path):
    sweep = start(*SWEEP, "seed=0,1", "epochs=5")
    while not (at_work := [record for record in records(tmp_path).values() if record["state"] == "running"]):
        assert sweep.poll() is None, sweep.communicate()
        time.sleep(0.1)
    (orphan,) = at_work
    os.kill(orphan["pid"], signal.SIGSTOP)  # so that it cannot end before the second sweep looks
    sweep.kill()
    sweep.wait(timeout=60)
    again = start(*SWEEP, "seed=0,1", "epochs=5")
    assert again.stdout.readline() == "other processes train 1 run, waited for at the end\n"
    assert again.stdout.readline().startswith("[1/2]")
    os.kill(orphan["pid"], signal.SIGCONT)
    shown, error = again.communicate(timeout=300)
    assert (again.returncode, error) == (0, ""), shown
    assert records(tmp_path)[orphan["name"]]["pid"] == orphan["pid"]
    logs = [path.read_text() for path in (tmp_path / "study").glob("*/log.txt")]
    assert [log.count("epoch 1/5") for log in logs] == [1, 1]


@pytest.mark.slow
def test_a_full_disk_is_said_in_a_line_and_with_space_the_same_command_finishes(start, tmp_path, with_a_full_disk):
    sweep = with_a_full_disk(300_000, start, *SWEEP, "seed=0")  # less than a checkpoint is
    shown, error = sweep.communicate(timeout=300)
    assert re.search(r"failed: \S+\.ckpt: cannot be written, found \d+ MB free\. Free some space", shown), shown + error
    assert list(tmp_path.glob("study/*/.*.partial")) == []
    assert start(*SWEEP, "seed=0").wait(timeout=300) == 0


@pytest.mark.slow
def test_a_sweep_is_checked_before_its_first_run_starts(fistula_here, cohort_folder, tmp_path):
    code, _, error = fistula_here(*SWEEP, "seed=0,1", "model.architecture=test_resnet,resnt18")
    assert code == 2
    assert "Did you mean" in error
    assert predictions(tmp_path) == {}
    assert not list(tmp_path.glob("study/*/log.txt"))


def test_two_runs_that_would_share_a_folder_are_refused(fistula_here, cohort_folder):
    code, _, error = fistula_here(*SWEEP, "model.architecture=test_resnet", "hydra.sweep.subdir=same", "seed=0,1")
    assert code == 2
    assert "two runs of this sweep, which differ in augmentation.seed, seed, would" in error


def test_a_sweep_of_a_thousand_finished_runs_composes_none_of_them(fistula_here, cohort_folder, tmp_path, monkeypatch):
    """What takes the time is composing: it is done once for each run, and never again while nothing changes."""
    from fistula.sweep import launch

    composed = []
    compose = launch._compose
    monkeypatch.setattr(launch, "_compose", lambda *args: composed.append(args) or compose(*args))
    monkeypatch.setattr(launch, "run_all", lambda runs, **rest: {})
    monkeypatch.setattr(launch, "check_networks", lambda plans: None)
    sweep = (*SWEEP, "seed=range(3)")
    assert fistula_here(*sweep)[0] == 0
    for path in tmp_path.glob("study/*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "done"}))
    assert len(composed) == 3
    assert fistula_here(*sweep)[0] == 0
    assert len(composed) == 3
    (tmp_path / "study" / ".index.json").write_text("{")
    assert fistula_here(*sweep)[0] == 0
    assert len(composed) == 6


def test_what_a_sweep_would_find_changed_underneath_is_refused(fistula_here, cohort_folder, tmp_path, monkeypatch):
    from fistula.sweep import launch

    from ..conftest import write_cohort

    monkeypatch.setattr(launch, "run_all", lambda runs, **rest: {})
    monkeypatch.setattr(launch, "check_networks", lambda plans: None)
    assert fistula_here(*SWEEP, "seed=0,1")[0] == 0
    cohort_folder.rename(tmp_path / "before")
    write_cohort(tmp_path / "cohort", seed=1)
    code, _, error = fistula_here(*SWEEP, "seed=0,1")
    assert code == 2
    assert "already holds another run, found cohort_fingerprint" in error


def test_a_weight_file_that_changed_under_its_name_is_refused_and_one_that_is_gone_is_not_needed(
    fistula_here, cohort_folder, tmp_path, monkeypatch
):
    from fistula.sweep import launch

    done_before = []
    monkeypatch.setattr(launch, "run_all", lambda runs, num_done, **rest: done_before.append(num_done) or {})
    monkeypatch.setattr(launch, "check_networks", lambda plans: None)
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"first")
    sweep = (*SWEEP, "learning=transfer", f"model.weights=file:{file}")
    assert fistula_here(*sweep)[0] == 0
    (path,) = tmp_path.glob("study/*/run.json")
    record = json.loads(path.read_text())
    digest = hashlib.sha256(b"first").hexdigest()
    assert record["identity"]["weights_fingerprint"] == digest
    path.write_text(json.dumps(record | {"state": "done", "weights_fingerprint": digest}))
    assert fistula_here(*sweep)[0] == 0
    index = tmp_path / "study" / ".index.json"
    for forget in (False, True):  # what earlier calls composed, or composed anew
        file.write_bytes(b"other")
        if forget:
            index.unlink()
        code, _, error = fistula_here(*sweep)
        assert (code, f"weights_fingerprint: '{digest}' there, " in error) == (2, True)
        file.unlink()
        assert fistula_here(*sweep)[0] == 0
    assert done_before == [0, 1, 1, 1]


def test_a_damaged_record_is_named_before_anything_starts(fistula_here, cohort_folder, tmp_path, monkeypatch):
    from fistula.sweep import launch

    monkeypatch.setattr(launch, "run_all", lambda runs, **rest: {})
    monkeypatch.setattr(launch, "check_networks", lambda plans: None)
    assert fistula_here(*SWEEP, "seed=0,1")[0] == 0
    next(tmp_path.glob("study/*/run.json")).write_text('{"state": "do')
    code, _, error = fistula_here(*SWEEP, "seed=0,1")
    assert code == 2
    assert "run.json: cannot be read" in error
    assert "Remove this run's folder" in error
