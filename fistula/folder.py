"""A stop of the flow on disk: a folder or file that is written whole or not at all."""

import errno
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fistula.errors import ConfigError, DataError
from fistula.leftovers import HERE, clear_leftovers, held, partial_name

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, or the largest file
# Of an absolute path, alone or after a word as in file:/home/name/weights.pth: all but its last part.
FOLDERS = re.compile(r"(^|[:='])(?:~|[A-Za-z]:)?[\\/].*[\\/]")


@contextmanager
def disk_errors(where: str) -> Iterator[None]:
    """Say which disk is full, for the system does not: all that the block writes goes to `where`.

    Raises:
        DataError: If the disk, the quota or the largest file size is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        remedy = "Free some space, or name a place that can be written to"
        raise DataError(where, f"cannot be written ({error.strerror})", remedy=remedy) from error


@contextmanager
def whole_folder(path: Path, *, key: str = "out", replace: bool = False) -> Iterator[Path]:
    """Give a folder beside `path` to write into; rename it to `path` when the block ends well, remove it otherwise.

    The `key` of the configuration that names it is for messages. One that `replace` allows to be there already is found
    whole by a reader, the old one or the new, at worst none for a moment. What killed processes have left beside it is
    removed.

    Raises:
        ConfigError: If `path` exists, or no folder can be made there.
        DataError: If the disk is full.
    """
    if not replace:
        refuse_existing(path, key=key)
    partial = path.with_name(partial_name(path))
    old = partial.with_suffix(".old")
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_leftovers(path.parent)
            partial.mkdir()
        except OSError as error:
            remedy = f"Name a place that can be written to ({key}=...)"
            raise ConfigError(f"{key}={path}", f"cannot be made ({error.strerror})", remedy=remedy) from error
        with held(partial), disk_errors(f"{key}={path}"):
            yield partial
            if replace and path.exists():
                path.rename(old)
            partial.rename(path)
        for former in path.parent.glob(f".{glob.escape(path.name)}.{HERE}*.old"):  # of killed processes too
            if not former.with_suffix(".partial").exists():  # else its process lives, between its two renames
                shutil.rmtree(former, ignore_errors=True)
    except BaseException:
        if os.path.lexists(old) and not path.exists():  # interrupted between the two
            old.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        for folder in new:
            with suppress(OSError):  # it is not there, or holds what another has written
                folder.rmdir()
        raise


def refuse_existing(path: Path, *, key: str = "out") -> None:
    """Raise ConfigError if `path` is there: a stop never overwrites another."""
    if os.path.lexists(path):  # a link to nothing is there too
        remedy = f"Name another {'file' if path.is_file() else 'folder'} ({key}=...) or remove it"
        raise ConfigError(f"{key}={path}", "already exists", remedy="Remove it" if key == "shifts" else remedy)


def refuse_inside(path: Path, source: object, *, key: str = "out") -> None:
    """Raise ConfigError if `path` lies in the folder `source`, which the next command would read it with."""
    here, there = (
        Path(os.path.realpath(one)) for one in (path, str(source))
    )  # resolve() fails where links form a ring
    if here.is_relative_to(there):
        rule = f"must not lie in source={source}, whose next reading would find it"
        raise ConfigError(f"{key}={path}", rule, remedy="Name a folder outside of it")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside `path` and rename it: a reader sees the old content or the new, never a part."""
    with partial_beside(path) as partial:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


@contextmanager
def partial_beside(path: Path) -> Iterator[Path]:
    """Give a name beside `path` for a file to be renamed once it is whole; what still has it afterwards is removed."""
    beside = path.with_name(partial_name(path))
    partial = beside / path.name
    try:
        clear_leftovers(path.parent)
        beside.mkdir()
        with held(beside):  # not the file: on Windows shares its lock stops whoever writes through another handle
            yield partial
    except OSError as error:
        if error.filename in (
            None,
            str(beside),
            str(partial),
        ):  # where a disk is full the system does not say what was written
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """Give a folder in TMPDIR for as long as the block lasts, for its owner alone; `what` is a part of its name.

    Those that killed processes have left there are removed.

    Raises:
        DataError: If the disk is full.
    """
    root = tempfile.gettempdir()
    clear_leftovers(Path(root), f"fistula-*-{HERE}{'?' * 8}")
    with (
        disk_errors(f"TMPDIR={root}"),
        tempfile.TemporaryDirectory(prefix=f"fistula-{what}-{HERE}") as name,
        held(Path(name)),
    ):
        yield Path(name)


def name_once(partial: Path, path: Path) -> None:
    """Give a whole file a name that none may have yet, `path`; it may keep the one that it has, `partial`, as well.

    Raises:
        FileExistsError: If another process was first.
    """
    try:
        os.link(partial, path)  # which, unlike a rename, fails where the file has appeared in the meantime
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # FAT and some network shares know no links: the name is taken first, and is empty for a moment
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        partial.replace(path)


def paths_of(value: str | Path | Iterable[str | Path], *, key: str) -> list[Path]:
    """The files that a path, a pattern (`*` in its last part) or a list of these names; `key` is for messages.

    Raises:
        ConfigError: If a pattern names none.
    """
    found = []
    for text in map(str, [value] if isinstance(value, str | Path | int | float) else value):  # a file called 1 is one
        named = sorted(Path(text).parent.glob(Path(text).name)) if "*" in text else [Path(text)]
        if not named:
            raise ConfigError(key, "must name files", found=text, remedy="Check the path")
        found += named
    if not found:
        raise ConfigError(key, "must name files", found="[]")
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by name."""
    return {path.name: digest_of(path) for path in sorted(folder.iterdir()) if path.is_file()}


def remove_while_empty(folder: Path) -> None:
    """Take back a folder, and those that it lies in, that were made for something that did not start."""
    here = Path.cwd()
    while folder.is_dir() and folder != here and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def without_folders(node: Any) -> Any:
    """Plain values with each absolute path cut to its last part: its folders may name a person or a place.

    Example:
        >>> without_folders({"cohort": "/home/name/cohort", "model": {"weights": "file:/mnt/name/w.pth"}})
        {'cohort': 'cohort', 'model': {'weights': 'file:w.pth'}}
    """
    if isinstance(node, dict):
        return {key: without_folders(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_folders(value) for value in node]
    return FOLDERS.sub(r"\1", node) if isinstance(node, str) else node
