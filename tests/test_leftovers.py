"""What a killed process leaves is removed by the next one, and what a living one holds is not."""

import os
import signal
import subprocess
import sys

import pytest

from fistula import leftovers
from fistula.folder import partial_beside, whole_folder

fcntl = pytest.importorskip("fcntl", reason="nothing is locked on Windows")

WRITERS = {
    "a folder": "from fistula.folder import whole_folder as make",
    "a file": "from fistula.folder import partial_beside as make",
    "images read or received": "from fistula.folder import temporary_folder as make",
}
PROGRAM = """
import sys
from pathlib import Path
{writer}
with make({target}) as partial:
    (partial / "file" if partial.is_dir() else partial).write_text("half")
    print("begun", flush=True)
    sys.stdin.readline()
"""


def start(writer, folder, name="out"):
    """A process that has begun to write, and waits."""
    target = repr("read") if "temporary" in writer else f"Path({str(folder / name)!r})"
    program = PROGRAM.format(writer=writer, target=target)
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_what_a_killed_process_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(writer, tmp_path):
    killed, living = start(writer, tmp_path, "killed"), start(writer, tmp_path, "living")
    assert len(list(tmp_path.iterdir())) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    following = start(writer, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for process in (living, following):
        process.communicate("\n")
        assert process.returncode == 0
    assert [path for path in tmp_path.iterdir() if path.name.startswith((".", "fistula-"))] == []


def test_a_former_folder_that_a_killed_process_had_put_aside_goes_with_the_next_replacement(tmp_path):
    (tmp_path / f".out [1].{leftovers.HERE}12345678.old").mkdir()
    with whole_folder(tmp_path / "out [1]", replace=True) as folder:
        (folder / "page").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out [1]"]


def test_other_machines_and_other_peoples_files_are_left_alone(tmp_path):
    kept = [".out.0123456789ab.partial", f".out.{leftovers.HERE}12345678.partially", "out.partial"]
    for name in kept:
        (tmp_path / name).write_text("theirs")
    (tmp_path / f".young.{leftovers.HERE}12345678.partial").mkdir()  # made a moment ago, and not yet locked
    (tmp_path / f".link.{leftovers.HERE}12345678.partial").symlink_to(tmp_path / kept[0])
    leftovers.clear_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_what_another_user_left_is_left_alone(tmp_path, monkeypatch):
    left, me = tmp_path / f".out.{leftovers.HERE}12345678.partial", os.getuid()
    left.write_text("theirs")
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    leftovers.clear_leftovers(tmp_path)
    assert left.exists()


def test_a_folder_that_a_living_process_has_put_aside_stays(tmp_path):
    name = f".out.{leftovers.HERE}12345678"
    aside, unfinished = tmp_path / f"{name}.old", tmp_path / f"{name}.partial"
    aside.mkdir()
    unfinished.mkdir()
    with leftovers.held(unfinished), whole_folder(tmp_path / "out", replace=True):
        pass
    assert aside.exists()


def test_no_file_is_locked_while_it_is_written(tmp_path):
    """Windows shares refuse whoever writes to a locked file through another handle."""
    with partial_beside(tmp_path / "out.csv") as partial, partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.replace(tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
