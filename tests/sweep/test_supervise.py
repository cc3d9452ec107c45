"""Ends of runs, with an engine that writes what a run's process would."""

import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, replace

import pytest

from fistula.sweep import supervise
from fistula.sweep.engines.job import Job
from fistula.sweep.folder.ownership import BUSY
from fistula.sweep.folder.process import this_process
from fistula.sweep.folder.run import RunFolder
from fistula.sweep.supervise import StudyRun, run_all

METRICS = {"test": {level: {"auroc": {"value": 0.5}} for level in ("slice", "patient")}}


def identity(name):
    return {"name": name, "batch_size": 16, "micro_batches": 2}


def queued(path, name):
    folder = RunFolder(path / name, identity(name))
    folder.queue()
    return StudyRun(folder, Job(name, folder.path, ["train"], path))


def engine_of(*turns):
    """An engine whose n-th call does `turns[n]`, a list of (what to do to the run's folder, exit code)."""
    calls = []

    def engine(jobs):
        turn = turns[len(calls)]
        calls.append([(job.name, job.arguments) for job in jobs])
        for job, (act, code) in zip(jobs, turn, strict=True):
            act(RunFolder(job.folder, identity(job.name)))
            yield job, code

    engine.calls = calls
    return engine


def finish(folder):
    folder.write("done", seconds=1.0, metrics=METRICS)


def fail(folder):
    folder.fail(ValueError("out of luck"))


def exhaust(folder):
    folder.write("failed", error="CUDA out of memory", error_kind="OutOfMemoryError")


def nothing(folder):
    """Leave the record as it is."""


def say(text):
    return lambda folder: (folder.path / "log.txt").write_text(text)


def test_a_failed_run_stops_no_other_and_its_error_comes_back(tmp_path, capsys):
    runs = [queued(tmp_path, name) for name in "abc"]
    errors = run_all(runs, engine=engine_of([(finish, 0), (fail, 2), (finish, 0)]), num_done=4)
    assert {name: str(error) for name, error in errors.items()} == {"b": "b: out of luck"}
    assert errors["b"].exit_code == 2
    assert capsys.readouterr().out.splitlines() == [
        "4 of 7 runs were already done",
        "[5/7] a  test per-slice AUROC 0.500  per-patient AUROC 0.500  1 s",
        "[6/7] b  failed: out of luck",
        "[7/7] c  test per-slice AUROC 0.500  per-patient AUROC 0.500  1 s",
    ]


@pytest.mark.parametrize(
    ("act", "code", "message"),
    [
        pytest.param(nothing, -9, "its process: was ended by signal 9", id="killed"),
        pytest.param(nothing, None, "its process: was lost", id="lost"),
        pytest.param(nothing, "NODE_FAIL", r"its process: was lost \(NODE_FAIL\)", id="lost, and why"),
        pytest.param(say("x\nerror: a: no\n"), 2, r"its process: ended with exit code 2 \(error: a: no\)", id="said"),
    ],
)
def test_a_process_that_ends_without_a_word_is_recorded_as_failed(tmp_path, act, code, message):
    run = queued(tmp_path, "a")
    errors = run_all([run], engine=engine_of([(act, code)]), num_done=0)
    assert list(errors) == ["a"]
    record = run.folder.record()
    assert record["state"] == "failed"
    assert re.search(message, record["error"])


def test_a_run_that_finds_the_card_full_runs_alone_and_then_with_half_of_the_part_that_it_had(tmp_path, capsys):
    runs = [queued(tmp_path, name) for name in "abc"]
    engine = engine_of(
        [(finish, 0), (exhaust, 1), (exhaust, 1)],
        [(finish, 0)],
        [(exhaust, 1)],
        [(exhaust, 1)],
        [(finish, 0)],
    )
    assert run_all(runs, engine=engine, num_done=0) == {}
    assert [[name for name, _ in call] for call in engine.calls[1:]] == [["b"], ["c"], ["c"], ["c"]]
    records = [run.folder.record() for run in runs]
    assert [record.get("micro_batches") for record in records] == [None, None, 8]
    assert records[2]["identity"]["micro_batches"] == 2  # as it was asked for: the same command finds the run done
    said = [line for line in capsys.readouterr().out.splitlines() if "out of memory; trying" in line]
    assert [line.rpartition("trying again ")[2] for line in said] == [
        "alone",
        "alone",
        "alone, with each batch in 4 parts",
        "alone, with each batch in 8 parts",
    ]


def test_a_run_too_large_for_parts_of_two_slices_fails(tmp_path):
    run = queued(tmp_path, "a")
    (tmp_path / "a" / "last.ckpt").write_text("of a training in larger parts")
    engine = engine_of(*[[(exhaust, 1)]] * 4)
    errors = run_all([run], engine=engine, num_done=0)
    assert [str(error) for error in errors.values()] == ["a: CUDA out of memory"]
    assert len(engine.calls) == 4  # as it was, alone, in 4 parts, in 8
    assert not (tmp_path / "a" / "last.ckpt").exists()


def test_processes_that_share_a_batch_out_have_fewer_parts_to_go(tmp_path):
    def exhaust_four(folder):
        folder.write("failed", error="CUDA out of memory", error_kind="OutOfMemoryError", processes=4)

    run = queued(tmp_path, "a")
    engine = engine_of(*[[(exhaust_four, 1)]] * 2)
    assert list(run_all([run], engine=engine, num_done=0)) == ["a"]
    assert len(engine.calls) == 2  # as it was, and alone: 4 parts in 4 processes would be of one slice


@pytest.fixture
def full_disk(tmp_path):
    """Fill a small file system of its own when called."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine mounts no file systems for us")

    def fill(*_):
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while file.write(b"x" * 512):
                pass

    yield folder, fill
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_no_other_run_and_hides_no_error(tmp_path, full_disk, caplog):
    folder, fill = full_disk
    runs = [queued(folder, "a"), queued(tmp_path, "b")]
    errors = run_all(runs, engine=engine_of([(fill, -9), (finish, 0)]), num_done=0)
    assert [str(error) for error in errors.values()] == ["a: was ended by signal 9"]
    assert runs[0].folder.record()["state"] == "queued"  # whole, as it was
    assert "a: its end could not be recorded ([Errno 28] No space left on device" in caplog.text


def hold(folder, process):
    (folder.path / ".owners").mkdir()
    content = {"process": asdict(process), "is_released": False}
    (folder.path / ".owners" / "0").write_text(json.dumps(content))


def test_runs_of_another_sweep_come_last_and_count_when_it_has_finished_them(tmp_path, monkeypatch, capsys):
    elsewhere, ours = queued(tmp_path, "a"), queued(tmp_path, "b")
    hold(elsewhere.folder, this_process())

    def other_sweep_finishes(seconds):
        finish(elsewhere.folder)
        hold_released = tmp_path / "a" / ".owners" / "0"
        hold_released.write_text(json.dumps(json.loads(hold_released.read_text()) | {"is_released": True}))

    monkeypatch.setattr(supervise.time, "sleep", other_sweep_finishes)
    engine = engine_of([(finish, 0)])
    assert run_all([elsewhere, ours], engine=engine, num_done=0) == {}
    assert engine.calls[0] == [("b", ["train"])]
    assert capsys.readouterr().out.startswith("other processes train 1 run, waited for at the end\n")


def test_a_run_whose_sweep_dies_is_taken_over(tmp_path, monkeypatch):
    run = queued(tmp_path, "a")
    hold(run.folder, this_process())

    def other_sweep_dies(seconds):
        path = tmp_path / "a" / ".owners" / "0"
        dead = asdict(replace(this_process(), pid=2**22 + 1))
        path.write_text(json.dumps({"process": dead, "is_released": False}))

    monkeypatch.setattr(supervise.time, "sleep", other_sweep_dies)
    engine = engine_of([(finish, 0)])
    assert run_all([run], engine=engine, num_done=0) == {}


def test_a_run_that_another_sweep_was_quicker_to_start_is_waited_for(tmp_path):
    run = queued(tmp_path, "a")
    assert run_all([run], engine=engine_of([(nothing, BUSY)], [(finish, 0)]), num_done=0) == {}
