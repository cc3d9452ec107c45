"""Files of weights as timm's networks want them: read without running code, renamed, and every tensor accounted for."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fistula.errors import WeightsError

# What training code puts a network into, and the names under which a file keeps the network among other things.
WRAPPERS = {"module", "model", "backbone", "network", "encoder", "base_model"}
TOWER = "visual.trunk."  # where an OpenCLIP model keeps timm's network
POSITIONS = re.compile(r"pos_embed|rel_pos|relative_position|attention_bias")  # tables as large as the images are
CONTAINERS = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read safetensors or a state dict of PyTorch; nothing in the file is executed.

    Raises:
        WeightsError: If it is not there, or is neither.
    """
    if not path.is_file():
        raise WeightsError(path, "is not a file", remedy="Name a .safetensors file or a state dict of PyTorch")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _torch_state(path)
    except Exception as error:  # both readers raise many kinds for what is no file of theirs
        rule = "must be a .safetensors file or a state dict of PyTorch that loads with weights_only=True"
        raise WeightsError(path, rule, remedy="Save its state_dict() again") from error
    return state


def fit_weights(state: dict[str, Tensor], network: nn.Module, *, where: str) -> dict[str, Tensor]:
    """Rename tensors to timm's names and hold them against the network, all but its classifier.

    Understood are timm's own names, torchvision's, those of a network inside ``module.`` and the like, the vision tower
    of an OpenCLIP model, and a network that was taken apart into a sequence of its children (RadImageNet's). Gives
    every tensor of the network but its classifier's, under timm's names.

    Raises:
        WeightsError: If a tensor is missing, is not known, or has another shape; lists every one.
    """
    config: Any = network.pretrained_cfg
    heads, stems = (tuple(f"{name}." for name in _names(config.get(key) or ())) for key in ("classifier", "first_conv"))
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith(heads)}
    found = {name: value for name, value in _renamed(state, network).items() if not name.startswith(heads)}
    # Counters of old files: no layer that is used here reads them.
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - found.keys() - counters)
    unexpected = sorted(found.keys() - expected.keys())
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and not _same_shape(found[name], value, is_stem=name.startswith(stems), name=name)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
        rule = f"must have every tensor of {config['architecture']} outside the classifier, and no other"
        raise WeightsError(where, rule, found=listed, remedy="Choose the network these weights are of")
    return {name: found.get(name, torch.tensor(0)) for name in expected}


def _torch_state(path: Path) -> dict[str, Tensor]:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    for key in CONTAINERS:
        if isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    state = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError("no tensors")
    return state


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _same_shape(found: Tensor, expected: Tensor, *, is_stem: bool, name: str) -> bool:
    """Whether two shapes agree; a stem may be for grey images, or be summed to one by timm, which scales positions."""
    if is_stem and found.ndim == 4:
        return found.shape[0] == expected.shape[0] and found.shape[2:] == expected.shape[2:]
    return found.shape == expected.shape or (POSITIONS.search(name) is not None and found.ndim == expected.ndim)


def _renamed(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    if any(name.startswith(TOWER) for name in state):
        state = {name: value for name, value in state.items() if name.startswith(TOWER)}
    names = [name.removeprefix(TOWER) for name in state]
    while all("." in name for name in names) and len(first := {name.partition(".")[0] for name in names}) == 1:
        if not first <= WRAPPERS:
            break
        names = [name.partition(".")[2] for name in names]
    if all(name.partition(".")[0].isdigit() for name in names):
        children = dict(enumerate(name for name, _ in network.named_children()))
        split = [name.partition(".") for name in names]
        names = [f"{children.get(int(index), index)}.{rest}" for index, _, rest in split]
    # DenseNets of torchvision before 2019: norm.1 for norm1.
    names = [re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name) for name in names]
    return dict(zip(names, state.values(), strict=True))
