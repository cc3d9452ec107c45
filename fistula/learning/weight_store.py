"""A folder of pretrained weights that can be carried into a hospital: files, and a manifest that answers for each."""

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fistula.errors import WeightsError
from fistula.folder import refuse_existing, write_whole

MANIFEST = "manifest.json"
STORE_VARIABLE = "FISTULA_WEIGHTS"
SEEN = ("mean", "std", "input_size", "interpolation")
"""What an entry's `config` says of the images that a network was trained with, by timm's names."""


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one file.

    Attributes:
        name: timm's name with the tag of the weights.
        file: In the store's folder.
        sha256: Of the file.
        license: Of the weights, as their source states it; empty where it does not.
        source: Where they came from.
        config: What images the network was trained with; see `SEEN`.
    """

    name: str
    file: str
    sha256: str
    license: str
    source: str
    config: dict[str, Any]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_folder() -> Path:
    """Where the store is: what FISTULA_WEIGHTS says, or `weights` in the working folder."""
    return Path(os.environ.get(STORE_VARIABLE, "weights"))


def read_store(folder: Path) -> list[Entry]:
    """Entries of a store, by name; none where there is no store.

    Raises:
        WeightsError: If the manifest cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return []
    try:
        return [Entry(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(path, f"cannot be read ({error})", remedy="Pull the weights anew") from error


def find_entry(folder: Path, architecture: str) -> Entry | None:
    """The entry for a network; where the name has no tag, the first with that name."""
    for entry in read_store(folder):
        if architecture in (entry.name, entry.name.partition(".")[0]):
            return entry
    return None


def add_entry(folder: Path, entry: Entry) -> None:
    """Write an entry into the manifest, over one of the same name."""
    entries = {one.name: one for one in read_store(folder)} | {entry.name: entry}
    text = json.dumps([asdict(entries[name]) for name in sorted(entries)], indent=1)
    write_whole(folder / MANIFEST, text + "\n")


def verify_store(folder: Path) -> Sequence[Entry]:
    """Hold every file against its checksum.

    Raises:
        WeightsError: If the store is empty, or a file is missing or damaged; lists every one.
    """
    entries = read_store(folder)
    if not entries:
        raise WeightsError(folder, "is not a store of weights", remedy="fistula weights pull model=[resnet18] to=DIR")
    faults = []
    for entry in entries:
        path = folder / entry.file
        if not path.is_file():
            faults.append(f"{entry.file} (missing)")
        elif sha256_of(path) != entry.sha256:
            faults.append(f"{entry.file} (another checksum)")
    if faults:
        raise WeightsError(folder, "has damaged weights", found=", ".join(faults), remedy="Pull or copy them anew")
    return entries


def pack_store(folder: Path, archive: Path) -> None:
    """Write a verified store as one tar file, with the folder's name inside.

    Raises:
        ConfigError: If the archive exists.
        WeightsError: As `verify_store`.
    """
    refuse_existing(archive, key="archive")
    entries = verify_store(folder)
    partial = archive.with_name(f".{archive.name}.partial")
    try:
        with tarfile.open(partial, "w") as tar:
            for name in (MANIFEST, *(entry.file for entry in entries)):
                tar.add(folder / name, arcname=f"{folder.resolve().name}/{name}", filter=_anonymous)
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose the files are on this machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
