"""Processes that train one run together: this one starts the others as commands, which works inside a sweep as well.

Lightning would start them by repeating the command line it finds, which is the whole sweep's, or nobody's. Where
Slurm's `srun` has started them all, none is started.
"""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import joblib
import torch

from fistula.errors import OutOfMemoryError, TrainingError

END_S = 60.0  # for the others to end after this one has
GRACE_S = 5.0  # for this one to notice by itself that another has failed, and for another to say why

RANK = "LOCAL_RANK"  # Lightning's name
FOLLOWS = "FISTULA_FOLLOWS"  # set for the processes that this module starts, and no others
INTERRUPTED = (130, -2)  # exit codes after Ctrl-C, which each of them has heard


def is_of_srun() -> bool:
    """Whether Slurm has started the processes of this run, of which this is one."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def num_nodes() -> int:
    """On how many machines the processes of this run are: several only where Slurm has started them."""
    return int(os.environ.get("SLURM_STEP_NUM_NODES", "1")) if is_of_srun() else 1


def tasks_per_node() -> str:
    """How many tasks srun starts on each machine; Lightning reads it from what --ntasks-per-node alone sets."""
    alike = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "").partition("(")[0]  # 2(x3) for three machines
    return os.environ.setdefault("SLURM_NTASKS_PER_NODE", alike)


def is_follower() -> bool:
    """Whether this process was started to take part in another's training."""
    if is_of_srun():
        return os.environ.get("SLURM_PROCID", "0") != "0"
    return FOLLOWS in os.environ and os.environ.get(RANK, "0") != "0"


@contextmanager
def ending_together() -> Iterator[None]:
    """End all tasks of a step of Slurm soon after the block fails in this one: they would wait for it half an hour."""
    try:
        yield
    except Exception:
        if is_of_srun():
            step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
            # Late enough for those that notice by themselves to say so.
            ends = ["sh", "-c", f"sleep {2 * GRACE_S}; scancel --quiet --signal=KILL {step}"]
            subprocess.Popen(ends, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        raise


@contextmanager
def followers(number: int, arguments: Sequence[str], *, give_up: Callable[[BaseException], None]) -> Iterator[None]:
    """Have `number` - 1 other processes run `fistula` with `arguments` while the block runs.

    With the error of one that failed `give_up` is called where this one goes on waiting for it, which a card does not
    notice; it has to end this process.

    Raises:
        TrainingError: If one of them failed, with what it said last.
    """
    if is_of_srun():
        try:
            yield
        except RuntimeError:
            time.sleep(GRACE_S / 2)  # another may be recording why its connection is lost
            raise
        return
    if number == 1 or is_follower():
        yield
        return
    # Here, because it takes longer to import than what else a study needs before its runs.
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    before, port = dict(os.environ), str(find_free_network_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", RANK: "0", FOLLOWS: "1"}
    # Threads and loading processes of each: all cores for the one that leads would be missing to the others.
    share = max(1, joblib.cpu_count() // number)
    os.environ.update({"OMP_NUM_THREADS": str(share)} | before | shared | {"WORLD_SIZE": str(number)})
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in before:
        torch.set_num_threads(share)
    command = [sys.executable, "-m", "fistula.cli", *arguments]
    errors: queue.SimpleQueue[TrainingError] = queue.SimpleQueue()
    is_over = threading.Event()

    def watch(rank: int, process: subprocess.Popen) -> None:
        said = ""
        for line in process.stderr or ():
            print(line, end="", file=sys.stderr, flush=True)
            said = said if "Warning: " in line else line.strip() or said
        if process.wait() and not is_over.is_set():
            error = _error_of(rank, process.returncode, said)
            errors.put(error)
            if process.returncode not in INTERRUPTED and not is_over.wait(GRACE_S):
                give_up(error)

    started = [
        subprocess.Popen(
            command, env=os.environ | {RANK: str(rank)}, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        for rank in range(1, number)
    ]
    watchers = [threading.Thread(target=watch, args=each, daemon=True) for each in enumerate(started, start=1)]
    for watcher in watchers:
        watcher.start()
    try:
        yield
        with suppress(subprocess.TimeoutExpired):  # what they were to do is done, and the scores are written
            for process in started:
                process.wait(END_S)
    except RuntimeError as lost:
        # A broken connection is how this one hears of it; the cause is another's, who may still be saying it.
        try:
            raise errors.get(timeout=GRACE_S) from lost
        except queue.Empty:
            raise lost from None
    finally:
        is_over.set()
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(before)
    for watcher in watchers:
        watcher.join(GRACE_S)
    if not errors.empty():
        raise errors.get()


def end_with_parent() -> None:
    """End this process when the one that has started it is gone: a card would wait for it for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _error_of(rank: int, code: int, said: str) -> TrainingError:
    kind = OutOfMemoryError if "out of memory" in said else TrainingError  # a study goes on from the former
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return kind(f"process {rank} of this run", f"{how} ({said.removeprefix('error: ')})" if said else how)
