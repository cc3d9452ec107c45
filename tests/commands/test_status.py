import json
import os
import re
import threading
import time
from dataclasses import asdict, replace

import pytest

from fistula.sweep.folder.ownership import claim
from fistula.sweep.folder.process import this_process
from fistula.sweep.folder.run import RunFolder
from fistula.sweep.status import read_status

IDENTITY = {"epochs": 4, "checkpoint.monitor": "val/auroc"}


def run_folder(study, name, state=None, **facts):
    run = RunFolder(study / name, IDENTITY | {"name": name})
    run.queue()
    if state:
        run.write(state, **facts)
    return run


def write_history(run, *values):
    (run.path / "history.csv").write_text("epoch,val/auroc\n" + "".join(f"{n},{v}\n" for n, v in enumerate(values)))


def test_all_done_is_exit_code_0_and_anything_else_is_not(fistula_here, tmp_path):
    run_folder(tmp_path / "study", "a", "done")
    code, shown, _ = fistula_here("status", "study=study")
    assert (code, shown.splitlines()[-1]) == (0, "next: fistula report study=study")
    run_folder(tmp_path / "study", "b")
    code, shown, _ = fistula_here("status", "study=study")
    assert code == 1
    assert "study: 1 done, 1 queued" in shown


def test_a_running_run_is_shown_with_epoch_best_speed_and_time_left(tmp_path):
    run = run_folder(tmp_path, "a")
    own = claim(run.path)
    run.start()
    write_history(run, 0.5, 0.75, float("nan"))
    started = time.time()
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(record | {"running_at": "2026-01-01T00:00:00+00:00"}))
    os.utime(run.path / "history.csv", (started, 1767225600 + 30))  # 30 s after that
    (status,) = read_status(tmp_path)
    own.release()
    assert (status.state, status.epoch, status.epochs, status.best) == ("running", 3, 4, 0.75)
    assert status.seconds_per_epoch == pytest.approx(10)
    assert status.seconds_left == pytest.approx(10)
    assert f"process {os.getpid()}, last heartbeat 0 s ago" in status.note


def test_a_copied_study_was_trained_as_fast_as_before(tmp_path):
    run = run_folder(tmp_path, "a", "done")
    write_history(run, 0.5, 0.75)
    record = json.loads((run.path / "run.json").read_text())
    times = {"running_at": "2026-01-01T00:00:00+00:00", "done_at": "2026-01-01T00:00:40+00:00"}
    (run.path / "run.json").write_text(json.dumps(record | times))
    os.utime(run.path / "history.csv", (time.time(), time.time()))  # as `cp -r` leaves it
    (status,) = read_status(tmp_path)
    assert status.seconds_per_epoch == pytest.approx(20)


def test_epochs_of_an_earlier_process_do_not_count_for_the_speed(tmp_path):
    run = run_folder(tmp_path, "a")
    write_history(run, 0.5, 0.6)
    run.start(epochs_before=2)
    (status,) = read_status(tmp_path)
    assert status.seconds_per_epoch is None


def test_a_run_that_was_interrupted_is_stopped_not_failed(tmp_path):
    run = run_folder(tmp_path, "a")
    run.fail(KeyboardInterrupt())
    (status,) = read_status(tmp_path)
    assert (status.state, status.note) == ("stopped", "interrupted; the same command resumes it")
    (tmp_path / ".slurm").mkdir()
    (status,) = read_status(tmp_path)
    assert status.note == "interrupted; the same command resumes it, unless Slurm has requeued it"


def test_a_run_whose_process_is_gone_is_stopped(tmp_path):
    run = run_folder(tmp_path, "a")
    run.start()
    (run.path / ".owners").mkdir()
    dead = asdict(replace(this_process(), pid=2**22 + 1))
    (run.path / ".owners" / "0").write_text(json.dumps({"process": dead, "is_released": False}))
    assert [status.state for status in read_status(tmp_path)] == ["stopped"]


def test_a_failed_and_a_damaged_run_say_why(fistula_here, tmp_path):
    run_folder(tmp_path / "study", "a", "failed", error="the loss must be finite [sic]")
    damaged = run_folder(tmp_path / "study", "b")
    (damaged.path / "run.json").write_text("{")
    code, shown, _ = fistula_here("status", "study=study")
    assert code == 1
    assert "the loss must be finite [sic]" in shown
    assert "cannot be read" in shown


def test_a_watched_study_is_shown_until_its_last_run_has_ended(fistula_here, tmp_path):
    run = run_folder(tmp_path / "study", "a")
    threading.Timer(0.5, lambda: run.write("done")).start()
    code, shown, _ = fistula_here("status", "study=study", "watch=true", "every=0.1")
    assert code == 0
    assert "1 done" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["study=nowhere"], r"study=nowhere: must hold a run\. Give the folder of a study", id="no study"),
        pytest.param([], "study: must be given", id="none given"),
        pytest.param(["study=x", "every=0"], "every: must be at least 0.1 and at most 86400, found 0", id="no pause"),
    ],
)
def test_a_mistake_is_one_line(fistula_here, arguments, message):
    code, _, error = fistula_here("status", *arguments)
    assert code == 2
    assert re.search(message, error), error
