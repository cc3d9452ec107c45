"""Networks as timm makes them: every mistake in a name, an option or a size is one line."""

import difflib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg, group_parameters, resolve_model_input_args
from timm.models._registry import get_deprecated_models
from torch import Tensor, nn

from fistula.errors import ConfigError, WeightsError, refuse_outside
from fistula.learning.weights.store import cached, fetch

# Options that timm takes beside those of a network: they are keys of their own here, or would load other weights.
RESERVED = (
    {name for make in (timm.create_model, build_model_with_cfg) for name in inspect.signature(make).parameters}
    | {"num_classes", "in_chans", "img_size", "features_only", "pruned"}
) - {"kwargs"}
UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")


def located(architecture: str, *, download: bool) -> str:
    """The name that timm finds a network by on this machine.

    Raises:
        ConfigError: If there is no such network.
        WeightsError: If it is on the hub alone, and may not be fetched or cannot.
    """
    where = f"model.architecture={architecture}"
    prefix, _, place = architecture.partition(":")
    if prefix == "hf-hub":
        config = cached(place, ["config.json"])
        if config is None and not download:
            remedy = f"Fetch it: fistula weights pull model=['{architecture}'] to=weights; or model.download=true"
            raise WeightsError(where, "is not on this machine, and model.download is false", remedy=remedy)
        folder = (config or fetch(place, ["config.json"], where=where)).parent
    elif prefix == "local-dir":
        folder = Path(place)
    else:
        _refuse_unknown(architecture.partition(".")[0], where="model.architecture", found=architecture)
        return architecture
    try:
        name = json.loads((folder / "config.json").read_text())["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        rule = "must have a config.json that names one of timm's networks as its architecture"
        raise ConfigError(where, rule, remedy="Save it by timm.models.push_to_hf_hub or save_for_hf") from error
    _refuse_unknown(str(name), where=where, found=name)
    return f"local-dir:{folder}"


def made(
    name: str, asked: str, settings: Mapping[str, Any], *, image_size: int | None, pretrained: bool = False
) -> nn.Module:
    """Let timm make a network by the name that `located` gives, for images of a size in pixels, or that of its weights.

    Named in errors as it was `asked`; weights, where wanted, are those of ``settings["pretrained_cfg_overlay"]``.

    Raises:
        ConfigError: If it has no such option or takes no such images, or is no classifier.
        WeightsError: If the weights do not fit.
    """
    where = f"model.architecture={asked}"
    name = get_deprecated_models().get(name) or name  # by which timm does not say what a network takes
    try:
        arguments = resolve_model_input_args(name, {"img_size": image_size}, **settings)
        network: Any = timm.create_model(arguments.pop("model_name"), pretrained=pretrained, **arguments)
    except Exception as error:  # timm's networks have no error of their own
        found = " ".join(str(error).split()) or type(error).__name__
        if "Invalid pretrained tag" in found:
            known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
            remedy = f"Choose from {', '.join(known)}" if known else "Leave out what follows the point"
            raise ConfigError(where, "names no weights of timm's", remedy=remedy) from error
        if unknown := UNKNOWN_OPTION.search(found):
            raise ConfigError(f"model.options.{unknown[1]}", f"is not an option of {asked}") from error
        if pretrained and isinstance(error, RuntimeError):
            remedy = "Choose the network and image_size these weights are of"
            raise WeightsError(where, "does not take these weights", found=found[:200], remedy=remedy) from error
        rule, remedy = f"cannot be made for images of {image_size or 'its own'} pixels", "Try image_size=pretrained"
        if options := {key: value for key, value in settings.items() if key not in RESERVED}:
            rule, remedy = f"{rule} with model.options={options}", "Leave out or correct model.options"
        raise ConfigError(where, rule, found=found[:200], remedy=remedy) from error
    if not hasattr(network, "get_classifier") or network.num_classes != settings["num_classes"]:
        raise ConfigError(where, "has no classifier", remedy="Choose another network: docs/networks.md")
    return network


def resolved_from(network: Any, name: str) -> dict[str, Any]:
    """Under ``network`` what timm knows a network by that `located` found in a folder; empty where `name` says it."""
    if not name.startswith("local-dir:"):
        return {}
    options = {key: value for key, value in network._model_args.items() if key not in (*RESERVED, "source")}
    return {"network": {"architecture": network.pretrained_cfg["architecture"], "options": options}}


def checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a network, none of which is a key of its own.

    Raises:
        ConfigError: If one is, or they are no keys with values.
    """
    if not isinstance(options, Mapping | None):
        raise ConfigError("model.options", "must be keys with values", found=options, remedy="{drop_path_rate: 0.1}")
    for name, value in (options or {}).items():
        if name in RESERVED or not isinstance(name, str):
            raise ConfigError(f"model.options.{name}", "is not an option of a network: it follows from other keys")
        if "drop" in name and isinstance(value, int | float):  # which some would say in the middle of a step
            refuse_outside(f"model.options.{name}", value, 0, 0.999999)
    return dict(options or {})


def colour_constants(**given: float | Sequence[float] | None) -> dict[str, tuple[float, ...]]:
    """Mean and standard deviation of the colours, as timm has them, where they are given.

    Raises:
        ConfigError: If one is neither a number nor three, or is out of its range.
    """
    constants = {}
    for key, value in given.items():
        if value is None:
            continue
        values = list(value) if isinstance(value, list | tuple) else [value] * 3
        numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        low = 0 if key == "mean" else 1e-6
        if len(values) != 3 or len(numbers) != 3 or not all(low <= one <= 1 for one in numbers):
            rule = f"must be a number in {'[0, 1]' if key == 'mean' else '(0, 1]'}, or three, or null"
            raise ConfigError(f"model.{key}", rule, found=value, remedy=f"For example model.{key}=0.5")
        constants[key] = tuple(float(one) for one in numbers)
    return constants


def start_near_even(heads: Sequence[nn.Module]) -> None:
    """Give the fresh classifier small weights, so that training starts from nearly even probabilities.

    From here on it computes in single precision.

    timm draws the classifier of its EfficientNets from a range that grows as the classes get fewer: with two, the
    first losses are near 10 instead of 0.7, and what they do to pretrained layers takes epochs to mend.
    """
    for layer in (layer for head in heads for layer in head.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        layer.__class__ = SINGLE.get(type(layer), type(layer))


class SingleLinear(nn.Linear):
    """A linear layer in single precision, whatever is around it: logits of bfloat16, which has 8 bits, tie."""

    def forward(self, features: Tensor) -> Tensor:
        return _in_single(self, nn.functional.linear, features)


class SingleConv(nn.Conv2d):
    """The same of a convolution, which classifies images of one pixel."""

    def forward(self, features: Tensor) -> Tensor:
        return _in_single(self, self._conv_forward, features)


SINGLE = {nn.Linear: SingleLinear, nn.Conv2d: SingleConv}


def _in_single(layer: Any, compute: Callable[..., Tensor], features: Tensor) -> Tensor:
    kind, dtype = features.device.type, torch.promote_types(layer.weight.dtype, torch.float32)
    is_mixed = kind != "meta" and torch.is_autocast_enabled(kind)
    with torch.autocast(kind, enabled=False) if is_mixed else nullcontext():
        return compute(*(None if one is None else one.to(dtype) for one in (features, layer.weight, layer.bias)))


def stages_of(network: Any, heads: Sequence[nn.Module]) -> list[list[str]]:
    """Names of a network's parameters by stage, from the stem to the classifier, which is alone in the last."""
    own = {id(parameter) for head in heads for parameter in head.parameters()}
    by_stage: dict[Any, list[str]] = {}
    classifier: list[str] = []
    stage_of: dict[str, int] = {}
    try:
        stage_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    except (AttributeError, AssertionError):  # not every network groups its stages: then as the layers are written
        for name, _ in network.named_parameters():
            stage_of[name] = len({tuple(one.split(".")[:2]) for one in [*stage_of, name]})
    # The last group has what follows the blocks: the classifier, and where it is there, the norm before it.
    for name, parameter in network.named_parameters():
        (classifier if id(parameter) in own else by_stage.setdefault(stage_of[name], [])).append(name)
    return [*(by_stage[stage] for stage in sorted(by_stage)), classifier]


def _refuse_unknown(name: str, *, where: str, found: str) -> None:
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(near)}?" if near else "timm.list_models() lists what there is"
    if "/" in found:  # as the hub writes names and addresses
        remedy = f"One of the hub is model.architecture=hf-hub:{'/'.join(found.rpartition(':')[2].split('/')[-2:])}"
    raise ConfigError(where, "must be the name of a timm network", found=found or "nothing", remedy=remedy)


def checkpoint_gradients(network: Any) -> None:
    """Let a network keep what its blocks are given alone, and compute what is inside them again when it learns.

    It is one of timm's. Its gradients stay the same; batch norms move their statistics twice a step.

    Raises:
        ConfigError: If timm's network cannot.

    Source:
        Chen et al. (2016), Training deep nets with sublinear memory cost, arXiv 1604.06174.
    """
    try:
        network.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        rule, remedy = "is not for this network", "Leave it out; micro_batches=2 saves memory with any"
        raise ConfigError("gradient_checkpointing", rule, found=type(network).__name__, remedy=remedy) from error
