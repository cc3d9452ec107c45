import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from fistula.sweep.folder import ownership
from fistula.sweep.folder.ownership import BusyError, claim, holder_of
from fistula.sweep.folder.process import this_process

# Claims in a process of its own, says so, and waits to be killed or to be told to end.
CLAIMER = """
import sys
from pathlib import Path
from fistula.sweep.folder import ownership
ownership.BEAT_S = float(sys.argv[2])
try:
    own = ownership.claim(Path(sys.argv[1]))
except ownership.BusyError:
    print("busy", flush=True)
else:
    print("mine", flush=True)
    sys.stdin.read()
    own.release()
"""


@pytest.fixture
def claimer(tmp_path):
    started = []

    def start(beat_s=10.0):
        command = [sys.executable, "-c", CLAIMER, str(tmp_path), str(beat_s)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def hold(folder, process, *, number=0):
    """Let `process` hold a folder."""
    (folder / ".owners").mkdir(exist_ok=True)
    content = {"process": asdict(process), "is_released": False}
    (folder / ".owners" / str(number)).write_text(json.dumps(content))


def test_of_many_processes_at_once_one_gets_the_folder(claimer):
    answers = [process.stdout.readline().strip() for process in [claimer() for _ in range(6)]]
    assert sorted(answers) == ["busy"] * 5 + ["mine"]


def test_of_many_processes_one_takes_over_from_a_dead_owner(claimer, tmp_path):
    hold(tmp_path, replace(this_process(), pid=2**22 + 1))
    answers = [process.stdout.readline().strip() for process in [claimer() for _ in range(6)]]
    assert sorted(answers) == ["busy"] * 5 + ["mine"]


def test_a_killed_owner_is_followed_at_once_and_a_living_one_is_not(claimer, tmp_path):
    process = claimer()
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(BusyError, match=f"process {process.pid} on .* trains this run"):
        claim(tmp_path)
    process.kill()
    process.wait()
    claim(tmp_path).release()


def test_a_folder_that_was_given_back_is_free(tmp_path):
    claim(tmp_path).release()
    assert holder_of(tmp_path).is_gone
    again = claim(tmp_path)
    assert holder_of(tmp_path).number == 1
    again.clear()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_on_another_machine_counts_as_gone_only_when_its_file_stands_still(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "STALE_S", 0.6)
    monkeypatch.setattr(ownership, "BEAT_S", 0.5)
    hold(tmp_path, replace(this_process(), host="elsewhere"))
    before = time.monotonic()
    claim(tmp_path).release()
    assert time.monotonic() - before >= 0.6


@pytest.mark.parametrize("shift_s", [60, -7200], ids=["a beat", "a beat of a clock that was set back two hours"])
def test_an_owner_on_another_machine_is_left_alone_while_it_gives_signs_of_life(tmp_path, monkeypatch, shift_s):
    monkeypatch.setattr(ownership, "STALE_S", 60)
    hold(tmp_path, replace(this_process(), host="elsewhere"))
    path = tmp_path / ".owners" / "0"

    def beat_instead_of_sleeping(seconds):
        os.utime(path, (time.time() + shift_s, time.time() + shift_s))

    monkeypatch.setattr(ownership.time, "sleep", beat_instead_of_sleeping)
    with pytest.raises(BusyError, match="on elsewhere"):
        claim(tmp_path)


def test_an_owner_shows_that_it_lives(claimer, tmp_path):
    process = claimer(beat_s=0.05)
    process.stdout.readline()
    first = holder_of(tmp_path).beat
    until = time.monotonic() + 60
    while holder_of(tmp_path).beat == first and time.monotonic() < until:
        time.sleep(0.01)
    assert holder_of(tmp_path).beat > first


def test_an_owner_that_was_taken_for_dead_ends_before_it_does_harm(claimer, tmp_path):
    process = claimer(beat_s=0.05)
    process.stdout.readline()
    hold(tmp_path, this_process(), number=1)
    assert process.wait(timeout=60) == ownership.BUSY


@pytest.mark.parametrize("content", ["{", "[]", '{"process": {"pid": "many"}, "is_released": false}'])
def test_a_damaged_owners_file_does_not_lock_a_run_for_ever(tmp_path, content):
    (tmp_path / ".owners").mkdir()
    (tmp_path / ".owners" / "0").write_text(content)
    claim(tmp_path).release()
    assert holder_of(tmp_path).number == 1
