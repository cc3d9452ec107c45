"""What a process that was killed has left of its work: known by a lock, which ends with whoever held it."""

import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path

# On Windows nothing is locked, and nothing taken for left.
fcntl = import_module("fcntl") if os.name == "posix" else None
HERE = sha256(platform.node().encode()).hexdigest()[:4]  # a network share may keep the locks of each machine to itself
YOUNG_S = 5.0  # what is empty may be about to be locked by the process that has just made it


def partial_name(path: Path) -> str:
    """A name, used by nobody, for what is to be renamed to `path` once it is whole."""
    return f".{path.name}.{HERE}{uuid.uuid4().hex[:8]}.partial"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock a file or folder for as long as the block lasts, and no longer than this process lives."""
    handle = _locked(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@cache
def clear_leftovers(folder: Path, pattern: str = f".*.{HERE}{'?' * 8}.partial") -> None:
    """Remove from a folder, once a process, what this user's processes on this machine left when they were killed."""
    with suppress(OSError):  # a folder that cannot be read
        for path in list(folder.glob(pattern)):
            with suppress(OSError):  # removed by another, or not to be removed
                _clear(path)


def _clear(path: Path) -> None:
    facts = path.lstat()
    if path.is_symlink() or (hasattr(os, "getuid") and facts.st_uid != os.getuid()):
        return
    is_empty = not any(path.iterdir()) if path.is_dir() else facts.st_size == 0
    if is_empty and time.time() - facts.st_mtime < YOUNG_S:
        return
    handle = _locked(path)
    if handle is None:
        return
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(handle)


def _locked(path: Path) -> int | None:
    """Lock a file or folder; None where another process has, or where that cannot be (some network shares)."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
