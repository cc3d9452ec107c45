import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from fistula.errors import ConfigError
from fistula.source.workers import Workers, batches_of, in_parallel


def _square(batch):
    return [number * number for number in batch]


def _deadly(batch):
    for number in batch:
        if number == 13:
            os._exit(1)
    return _square(batch)


def _endless(batch):
    if 5 in batch:
        time.sleep(60)
    return _square(batch)


def _lost(item):
    return [("lost", item)]


def _run(function, numbers, *, size, **more):
    batches = batches_of(numbers, size=lambda item: 1, target=size)
    results = in_parallel(function, batches, Workers(2), title="test", lost=_lost, **more)
    return sorted((value for batch in results for value in batch), key=str)


def test_every_batch_is_done_once():
    assert _run(_square, range(20), size=3) == sorted((number**2 for number in range(20)), key=str)


def _threads(batch):
    return [os.environ["OMP_NUM_THREADS"] for _ in batch]


def test_each_process_has_one_thread_and_joblib_has_processes_of_its_own_beside_them(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for _ in range(2):
        assert _run(_threads, range(8), size=1) == ["1"] * 8
        assert Parallel(n_jobs=2)(delayed(abs)(-number) for number in range(4)) == [0, 1, 2, 3]


@pytest.mark.slow
def test_an_item_that_kills_its_process_is_lost_alone():
    expected = [number**2 for number in range(40) if number != 13] + [("lost", 13)]
    assert _run(_deadly, range(40), size=4, is_risky=True) == sorted(expected, key=str)


@pytest.mark.slow
def test_an_item_that_hangs_is_lost_alone():
    expected = [number**2 for number in range(8) if number != 5] + [("lost", 5)]
    assert _run(_endless, range(8), size=2, is_risky=True, seconds=4) == sorted(expected, key=str)


AHEAD = """
import os, sys, time
from fistula.ahead import start_ahead
from fistula.source.workers import Workers, in_parallel

def work(batch):
    if batch == [13]: os._exit(1)
    if batch == [5]: time.sleep(60)
    return os.getppid(), "fistula.source.read" in sys.modules, batch[0]

if __name__ == "__main__":
    start_ahead("ingest")
    batches = [[number] for number in range(20)]
    lost = lambda item: (os.getpid(), True, -item)
    done = in_parallel(work, batches, Workers(2), title="", is_risky=True, seconds=4, lost=lost)
    parents, ready, numbers = zip(*done)
    print(len(set(parents) - {os.getpid()}), all(ready), sorted(numbers))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_workers_that_come_from_a_process_started_ahead_are_ready_and_lose_no_more(tmp_path):
    (tmp_path / "program.py").write_text(AHEAD)
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    expected = sorted([-13, -5, *(number for number in range(20) if number not in (5, 13))])
    assert done.stdout == f"1 True {expected}\n", done.stderr


@pytest.mark.parametrize(
    ("raised", "said"), [("EOFError", ""), ("FileNotFoundError(2, 'x')", ""), ("ValueError", "ValueError\n")]
)
def test_a_process_whose_command_ends_as_it_begins_says_nothing(raised, said):
    program = f"import fistula.forked\nraise {raised}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr.splitlines(keepends=True)[-1:]) == (1, [said] if said else [])


IDLE = """
import os, sys, time
from pathlib import Path
from fistula.ahead import start_ahead
from fistula.source.workers import Workers, in_parallel

def work(batch):
    Path(f"{os.getpid()}.pid").touch()
    return batch

if __name__ == "__main__":
    start_ahead("ingest")
    list(in_parallel(work, [[number] for number in range(20)], Workers(2), title="", is_risky=True, lost=str))
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_workers_of_a_command_that_was_killed_end_with_it(tmp_path):
    (tmp_path / "program.py").write_text(IDLE)
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, timeout=200, check=False)
    processes = [Path("/proc", path.stem) for path in tmp_path.glob("*.pid")]
    assert processes
    deadline = time.monotonic() + 20
    while any("Z" not in one.joinpath("stat").read_text() for one in processes if one.exists()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _loud(batch):
    os.write(1, b"a marker that is not known")
    os.write(2, b"a marker that is not known")
    return _square(batch)


def test_nothing_stays_frozen_at_the_end_of_a_process():
    """Modules of C++ look then whether all of theirs was freed, and print what was not."""
    program = "import atexit, gc\natexit.register(lambda: print(gc.get_freeze_count()))\n"
    program += "from fistula.source.workers import _settle\n_settle()\nprint(gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]


def test_what_a_decoder_in_c_says_goes_nowhere(capfd):
    assert _run(_loud, range(8), size=2, is_risky=True) == sorted((number**2 for number in range(8)), key=str)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_ray_cluster_does_every_batch_once(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    batches = batches_of(range(450), size=lambda item: 1, target=20)
    results = in_parallel(math.prod, batches, Workers(2, "ray"), title="test", lost=_lost)
    try:
        assert sorted(results) == sorted(math.prod(batch) for batch in batches)
    finally:
        ray.shutdown()


def test_batches_reach_their_target_and_keep_the_order():
    assert batches_of([3, 1, 1, 5, 2], size=lambda item: item, target=4) == [[3, 1], [1, 5], [2]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "mpi"}, "must be one of loky"),
        ({"count": -1}, "must be at least 0"),
        ({"count": 99999}, "must be at least 0 and at most 1024, found 99999"),
    ],
)
def test_workers_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Workers(**changes)
