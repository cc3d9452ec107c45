"""Which process, on which machine, since when: enough to tell a dead owner from a living one, and from its namesake."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process as another one may meet it."""

    host: str
    machine: str  # what stays when the machine starts anew; empty where it cannot be known
    boot: str  # what changes when it does, with the process's namespace: only there its number means something
    pid: int
    started: str  # kernel's ticks at its start; a later process of the same number has another. Empty if unknown

    @property
    def is_alive(self) -> bool | None:
        """Whether it runs; None where that cannot be told from here."""
        here = this_process()
        if (self.host, self.boot) == (here.host, here.boot):
            return _runs(self.pid) and _started(self.pid) == self.started
        if self.machine and (self.host, self.machine) == (here.host, here.machine):
            # The namespace differs where only a container does: then this tells nothing.
            return False if self.boot.partition(" ")[0] != here.boot.partition(" ")[0] else None
        return None


def this_process() -> Process:
    """Describe the process that asks."""
    pid = os.getpid()
    boot = _first_line(Path("/proc/sys/kernel/random/boot_id"))
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (not a path: pid:[4026531836])
    except OSError:
        namespace = ""
    machine = _first_line(Path("/etc/machine-id"))
    return Process(socket.gethostname(), machine, f"{boot} {namespace}", pid, _started(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _status(pid)[:1] != ["Z"]  # killed, and only not yet looked after by its parent


def _started(pid: int) -> str:
    status = _status(pid)
    return status[19] if len(status) > 19 else ""


def _status(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the command's name, which may itself hold spaces and brackets."""
    return _first_line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
