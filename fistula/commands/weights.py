"""`fistula weights`: bring pretrained weights to a machine without a network."""

from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fistula.errors import ConfigError, refuse_other
from fistula.learning.weights.store import FILES, Entry, fetch, read_store, split_address, verify_store

ACTIONS = ("pull", "list", "verify")


def run(cfg: DictConfig) -> None:
    """Do what `action` says with the store in the folder `to`."""
    refuse_other("action", cfg.action, ACTIONS)
    folder = Path(cfg.to)
    if cfg.action == "pull":
        _pull([str(name) for name in cfg.models], folder)
    elif cfg.action == "list":
        print("\n".join(map(_line, read_store(folder))) or f"no weights in {folder}")
    else:
        print(f"{len(verify_store(folder))} files match their checksums")


def _pull(models: list[str], folder: Path) -> None:
    if not models:
        raise ConfigError("model", "must name networks", remedy="For example model=[resnet18,resnet34]")
    for name in models:
        repository, file = _address(name)
        fetch(repository, (file,) if file else FILES, where=f"model={name}", folder=folder)
        print(*(_line(entry) for entry in read_store(folder) if entry.name.startswith(f"{repository}/")), sep="\n")
    print("next: copy this folder into the one that training runs in, or let FISTULA_WEIGHTS name it")


def _address(name: str) -> tuple[str, str]:
    """Repository and file of a network's weights, by timm's name, by one on the hub, or by an option of `model`."""
    folders = [Path(source.path) for source in HydraConfig.get().runtime.config_sources]
    options = [path for folder in folders if (path := folder / "model" / f"{name}.yaml").is_file()]
    stated = OmegaConf.to_container(OmegaConf.load(options[0])) if options else {}
    settings = {"architecture": name} | cast(dict[str, Any], stated)
    for where in (str(settings.get("weights", "")), str(settings["architecture"])):
        kind, _, place = where.partition(":")
        if kind in ("hub", "hf-hub") and place:
            return split_address(place)
    from fistula.learning.weights.finding import timm_repository  # here, because it imports torch and timm

    return timm_repository(str(settings["architecture"])), ""


def _line(entry: Entry) -> str:
    size = f"{entry.path.stat().st_size / 1e6:.1f} MB" if entry.path.is_file() else "missing"
    return f"{entry.name}  {size}  {entry.license or 'no license stated'}  sha256 {entry.path.name[:12]}"
