"""Processes that train one run together: this one starts the others as commands, which works inside a sweep as well.

Lightning would start them by repeating the command line it finds, which is the whole sweep's, or nobody's.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

END_S = 60.0  # for the others to end after this one has

RANK = "LOCAL_RANK"  # Lightning's name


def is_follower() -> bool:
    """Whether this process was started to take part in another's training."""
    return os.environ.get(RANK, "0") != "0"


def num_processes(devices: object) -> int:
    """How many processes train together: one a device. A word (``auto``) means one."""
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(1, len(devices))
    return max(1, devices) if isinstance(devices, int) else 1


@contextmanager
def followers(number: int, arguments: Sequence[str]) -> Iterator[None]:
    """Have `number` - 1 other processes run `fistula` with `arguments` while the block runs.

    Args:
        number: Of processes, this one included.
        arguments: Of the command that trains this run and nothing else.

    Raises:
        subprocess.CalledProcessError: If one of them failed.
    """
    if number == 1 or is_follower():
        yield
        return
    before = dict(os.environ)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", RANK: "0"}
    os.environ.update(shared | {"WORLD_SIZE": str(number)})
    command = [sys.executable, "-m", "fistula.cli", *arguments]
    threads = str(max(1, (os.cpu_count() or 1) // number))
    started = [
        subprocess.Popen(command, env={"OMP_NUM_THREADS": threads} | os.environ | {RANK: str(rank)})
        for rank in range(1, number)
    ]
    try:
        yield
        for process in started:
            if process.wait(END_S):
                raise subprocess.CalledProcessError(process.returncode, command)
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
