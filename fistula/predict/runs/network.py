"""The network of a run, built from its stored configuration: nothing that it names is called unless it is known."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from torch.nn import CrossEntropyLoss
from torch.optim import SGD

from fistula.cohort.manifest import Cohort
from fistula.errors import DataError
from fistula.learning.backbone import Backbone, create_backbone
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.clinical import create_clinical
from fistula.learning.data.bags import KEYS
from fistula.learning.data.covariates import Covariates
from fistula.learning.heads import Classify, Head, Locate
from fistula.learning.modes import AllLayers
from fistula.learning.places.points import kinds_of, pixel_mm_of
from fistula.learning.pooling import Attention, Maximum, Mean, Transformer
from fistula.learning.schedule import constant
from fistula.sweep.folder.run import RECORD

RETRAIN = "Train the run again, or copy its whole folder again from where it was trained"


def network_of(folder: Path, config: DictConfig, record: dict[str, Any], cohort: Cohort) -> FistulaClassifier:
    """The network that a stored configuration describes, with random weights.

    Raises:
        DataError: If one of them asks for what no run does.
    """
    # The weights come from the checkpoint: what the log says of a random start would mislead.
    logging.getLogger(create_backbone.__module__).setLevel(logging.WARNING)
    model = cast(dict[str, Any], OmegaConf.to_container(config.model)) | {"pretrained": False, "download": False}
    size, network = record.get("image_size", "pretrained"), record.get("network", {})
    is_size = size == "pretrained" or (isinstance(size, int) and size > 0)
    if not is_size or not (isinstance(network, dict) and set(network) <= {"architecture", "options"}):
        raise DataError(folder / RECORD, "is damaged: it asks for something that no run needs", remedy=RETRAIN)
    model |= {"num_classes": len(cohort.classes), "image_size": size, "available": cohort.sequences}
    model |= network  # what a name on the hub stood for
    backbone = call_known(model, (create_backbone, create_clinical), where=folder / "config.yaml: model")
    # Runs of a release without poolings have none in their configuration.
    said = OmegaConf.to_container(config.pooling) if "pooling" in config else {"_target_": f"{Mean.__module__}.Mean"}
    settings = (said if isinstance(said, dict) else {}) | {"num_features": backbone.num_pooled}
    pooling = call_known(settings, (Mean, Maximum, Attention, Transformer), where=folder / "config.yaml: pooling")
    names = OmegaConf.to_container(config.covariates) if "covariates" in config else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(folder / "config.yaml", "covariates must be a list of names", found=names, remedy=RETRAIN)
    unit = str(config.get("unit", "slice"))
    if unit not in KEYS:
        raise DataError(folder / "config.yaml", f"unit must be {' or '.join(KEYS)}", found=unit, remedy=RETRAIN)
    return FistulaClassifier(
        backbone,
        num_classes=len(cohort.classes),
        learning=AllLayers(pretrained=False),  # how it was trained is of no more use
        loss=CrossEntropyLoss(),
        optimizer=SGD,
        schedule=constant,
        pooling=pooling,
        head=_head(folder, config, backbone, cohort),
        covariates=Covariates(names, num_classes=len(cohort.classes)) if names else None,
        unit=unit,
    )


def _head(folder: Path, config: DictConfig, backbone: Backbone, cohort: Cohort) -> Head:
    if "head" not in config:  # as in runs of a release without others
        return Classify()
    said: Any = OmegaConf.to_container(config.head)
    points = kinds_of(cohort.manifest) if isinstance(said, dict) and len(said) > 1 else ()
    given = {"backbone": backbone, "kinds": points, "pixel_mm": pixel_mm_of(cohort, image_size=backbone.input_size)}
    settings = (said if isinstance(said, dict) else {}) | given
    return call_known(settings, (Classify, Locate), where=folder / "config.yaml: head")


def call_known(node: Any, known: Sequence[Callable[..., Any]], *, where: object) -> Any:
    """Call what `_target_` of a stored configuration names, if it is one of `known`: a run may come from anywhere.

    Raises:
        DataError: If it is something else, or does not take what stands beside it.
    """
    settings = dict(node) if isinstance(node, dict) else {}
    target = settings.pop("_target_", None)
    named = {f"{one.__module__}.{one.__name__}": one for one in known}
    if target not in named:
        raise DataError(where, f"_target_ must be one of {', '.join(sorted(named))}", found=target)
    try:
        return named[target](**settings)
    except TypeError as error:
        raise DataError(where, f"does not fit {target} ({error})") from error
