"""The values of a configuration must be of the kind that the files in conf/ show: a number where a number stands."""

import math
from collections.abc import Container, Iterator, Mapping
from functools import cache
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from fistula.errors import ConfigError, as_typed

KINDS: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a word", (str,)),
    ListConfig: ("a list", (ListConfig, type(None))),  # null: any
    DictConfig: ("keys with values", (DictConfig,)),
}
PATH: tuple[str, Any] = ("a path", (str,))  # all that must be given is one
SEVERAL = ("adjudicated", "labels.file", "readers")  # that may be a list of paths
# By the last part of a key that is null in conf/, what it may be instead; others are checked where they are read.
NULLS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(
        ("accept", "adjudicated", "aid", "asked", "ca_file", "cohort", "covariates_table", "file", "json", "method",
         "name", "out", "pilot", "reader", "readers", "scores", "send", "workspace"),
        ("a word or null", (str, int)),
    ),
    **dict.fromkeys(
        ("control", "cutoff", "difference", "lower", "other", "prevalence"), ("a number or null", (int, float))
    ),
    "tls": ("true, false or null", (bool,)),
}  # fmt: skip


@cache
def compose_once(commands: frozenset[str]) -> None:
    """Let Hydra take commands for single runs: to find out, it would compose their configuration once more."""
    mode_of = Hydra.get_mode

    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        return None if config_name in commands else mode_of(self, config_name, overrides)

    setattr(Hydra, "get_mode", get_mode)  # noqa: B010 - a method, which nobody may assign to


def refuse_other_kinds(cfg: DictConfig, *, typed: Mapping[str, str], free: Container[str] = ()) -> None:
    """Compare a command's configuration with the one that the same choice of groups has without changes.

    A key that is null in conf/ takes what `NULLS` says, or is checked where it is read, as are `free` groups. Keys that
    are `typed` under another name are named so.

    Raises:
        ConfigError: If a value is of another kind.
    """
    hydra = HydraConfig.get()
    choices = [f"{group}={name}" for group, name in hydra.runtime.choices.items() if not group.startswith("hydra/")]
    loader = GlobalHydra.instance().config_loader()
    default = loader.load_configuration(hydra.job.config_name, choices, RunMode.RUN)
    names = {key: name for name, key in typed.items()}
    for key, rule, found in faults(cfg, default):
        if key.partition(".")[0] in free:
            continue
        where = names.get(key, key)
        remedy = as_typed(f"{where}=[{found}]") if rule == KINDS[ListConfig][0] else ""
        raise ConfigError(where, f"must be {rule}", found=found, remedy=remedy and f"Write it in brackets: {remedy}")


def refuse_missing(cfg: DictConfig, given: Container[str] = ()) -> None:
    """Raise OmegaConf's MissingMandatoryValue where a key at the top that is not `given` elsewhere has no value.

    Before the command is imported, which takes seconds.
    """
    for key in cfg:
        if OmegaConf.is_missing(cfg, key) and key not in given:
            _ = cfg[key]


def refuse_other_options(override: str, options: list[str]) -> None:
    """Refuse a group's value that is no name, such as `keep=1`, which Hydra cannot say.

    Raises:
        ConfigError: If it is a number, null, true or false, or a list of these or of nothing.
    """
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return  # which Hydra says itself
    value = parsed.value()
    names = value if isinstance(value, list) else [value]
    if not parsed.is_sweep_override() and not (names and all(isinstance(name, str) for name in names)):
        raise ConfigError(override, f"is not one of {', '.join(options)}")


def faults(cfg: DictConfig, default: DictConfig) -> list[tuple[str, str, Any]]:
    """The `differences`, those of what refers to another key last: its fault is the other's."""

    def refers(where: str) -> bool:
        parent, _, key = where.rpartition(".")
        node: Any = OmegaConf.select(cfg, parent) if parent else cfg
        return key in node and OmegaConf.is_interpolation(node, key)

    return sorted(differences(cfg, default), key=lambda one: refers(one[0]))


def differences(value: Any, default: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Where `value` is of another kind than `default`, what stands in `default`, and what was found."""
    if where in SEVERAL and isinstance(value, ListConfig):
        return
    if default is None:
        parent, _, key = where.rpartition(".")
        known = NULLS["name"] if parent == "columns" else NULLS.get(key)
        if value is None or known is None:
            return
        rule, kinds = known
    else:
        rule, kinds = PATH if default == "???" else KINDS[type(default)]
    is_no_number = isinstance(value, float) and not math.isfinite(value)
    is_other = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
    # A path or name of no letters is most often a variable of the shell that is not set.
    if is_other or is_no_number or (value == "" and default in (None, "???")):
        yield where, rule, "null" if value is None else "nothing" if value == "" else value
    elif isinstance(default, DictConfig):
        for key in default.keys() & value.keys():
            yield from differences(_raw(value, key), _raw(default, key), f"{where}.{key}".lstrip("."))
    elif isinstance(default, ListConfig) and default and value:
        for index in range(len(value)):
            yield from differences(_raw(value, index), _raw(default, 0), f"{where}[{index}]")


def _raw(node: DictConfig | ListConfig, key: Any) -> Any:
    return "???" if OmegaConf.is_missing(node, key) else node[key]
