"""The right to train in a run's folder: one process at a time, through dead owners, on a shared file system as well."""

import json
import logging
import os
import shutil
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from fistula.errors import FistulaError
from fistula.folder import name_once, write_whole
from fistula.sweep.folder.process import Process, this_process

OWNERS = ".owners"
BEAT_S = 10.0
# NFS may show a change a minute late; and no two clocks are compared, only whether the owner's file still changes.
STALE_S = 120.0
BUSY = 75  # exit code, the "try again later" of sysexits.h

log = logging.getLogger(__name__)


class BusyError(FistulaError):
    """Another process trains this run."""

    exit_code = BUSY


@dataclass(frozen=True)
class Holder:
    """Who holds a folder."""

    number: int  # how many held it before
    process: Process
    is_released: bool  # whether it has given the folder back
    beat: int  # changes while the holder lives, nanoseconds; to be compared with itself alone

    @property
    def is_gone(self) -> bool | None:
        """Whether the folder is free; None if its holder is out of sight."""
        if self.is_released:
            return True
        alive = self.process.is_alive
        return None if alive is None else not alive


def holder_of(folder: Path) -> Holder | None:
    """The latest holder of a folder; None if there was none."""
    numbers = sorted(int(path.name) for path in (folder / OWNERS).glob("*") if path.name.isdigit())
    for number in reversed(numbers):
        path = folder / OWNERS / str(number)
        try:
            content = json.loads(path.read_text())
            process = Process(**content["process"] | {"pid": int(content["process"]["pid"])})
            return Holder(number, process, content["is_released"], path.stat().st_mtime_ns)
        except FileNotFoundError:
            continue  # its folder was cleared because the run is done
        except (ValueError, KeyError, TypeError):
            # Linked when whole, so this is damage to the disk: nobody can prove to hold it.
            return Holder(number, Process("", "", "", -1, ""), True, 0)
    return None


def claim(folder: Path) -> "Claim":
    """Take a folder.

    A holder on another machine is watched, for `STALE_S` at most: it counts as gone if its file stands still.

    Raises:
        BusyError: If a living process holds it.
    """
    while True:
        holder = holder_of(folder)
        if holder is not None and not _is_gone(folder, holder):
            raise BusyError(folder, f"process {holder.process.pid} on {holder.process.host} trains this run")
        mine = _take(folder, 0 if holder is None else holder.number + 1)
        if mine is not None:
            return Claim(mine)


def _is_gone(folder: Path, holder: Holder) -> bool:
    if holder.is_gone is not None:
        return holder.is_gone
    log.info("%s: watching whether %s still trains it", folder.name, holder.process.host)
    end = time.monotonic() + STALE_S
    while time.monotonic() < end:
        time.sleep(BEAT_S / 10)
        now = holder_of(folder)
        if now is None or (now.number, now.beat) != (holder.number, holder.beat):
            return now is None or now.is_released
    return True


def _take(folder: Path, number: int) -> Path | None:
    """Become holder `number`, which one process alone can: links are exclusive, and numbers are never used again."""
    owners = folder / OWNERS
    draft, path = owners / f"{uuid.uuid4().hex}.draft", owners / str(number)
    content = {"process": asdict(this_process()), "is_released": False}
    try:
        owners.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(content))
        name_once(draft, path)
    except FileNotFoundError:
        return None  # another process has cleared the folder in between
    except FileExistsError:
        # Over NFS the answer to a link that worked can get lost and be asked for again.
        if draft.stat().st_nlink != 2:
            return None
    finally:
        draft.unlink(missing_ok=True)
    return path


class Claim:
    """A folder that this process holds; a thread shows that it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def is_first(self) -> bool:
        """Whether nobody held the folder before."""
        return self.path.name == "0"

    def release(self) -> None:
        """Give the folder back."""
        self._end.set()
        self._thread.join()
        if self.path.exists():
            content = json.loads(self.path.read_text()) | {"is_released": True}
            write_whole(self.path, json.dumps(content))

    def clear(self) -> None:
        """Give the folder back and forget who held it: of a run that is done, or that was never begun."""
        self._end.set()
        self._thread.join()
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def _beat(self) -> None:
        successor = self.path.with_name(str(int(self.path.name) + 1))
        while not self._end.wait(BEAT_S):
            if successor.exists():
                # This process slept so long that another took over: what it wrote from now on would do harm.
                log.critical("%s was taken over by another process; this one ends", self.path.parent.parent)
                os._exit(BUSY)
            try:
                os.utime(self.path)
            except OSError as error:
                log.warning("%s: its heartbeat could not be written (%s)", self.path, error)
