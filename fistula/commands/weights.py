"""`fistula weights`: bring pretrained weights to a machine without a network."""

from pathlib import Path

from omegaconf import DictConfig

from fistula.errors import ConfigError
from fistula.learning.weight_store import Entry, pack_store, read_store, verify_store

ACTIONS = ("pull", "list", "verify", "pack")


def run(cfg: DictConfig) -> None:
    """Do what `action` says with the store in the folder `to`."""
    folder = Path(cfg.to)
    if cfg.action == "pull":
        _pull(list(cfg.models), folder)
    elif cfg.action == "list":
        entries = read_store(folder)
        print(*[_line(entry, folder) for entry in entries] or [f"no weights in {folder}"], sep="\n")
    elif cfg.action == "verify":
        print(f"{len(verify_store(folder))} files are what the manifest says")
    elif cfg.action == "pack":
        if cfg.archive is None:
            raise ConfigError("archive", "must be given", remedy="For example archive=weights.tar")
        pack_store(folder, Path(cfg.archive))
        print(f"packed: {cfg.archive}")
    else:
        raise ConfigError("action", f"must be one of {', '.join(ACTIONS)}", found=cfg.action)


def _pull(models: list[str], folder: Path) -> None:
    if not models:
        raise ConfigError("model", "must name networks", remedy="For example model=[resnet18,resnet34]")
    from fistula.learning.weight_pull import pull_weights  # here, because it imports torch and timm

    for name in models:
        print(_line(pull_weights(name, folder), folder))
    print("next: copy this folder into the one that training runs in, or let FISTULA_WEIGHTS name it")


def _line(entry: Entry, folder: Path) -> str:
    path = folder / entry.file
    size = f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else "missing"
    return f"{entry.name}  {size}  {entry.license or 'no licence stated'}  {entry.source}  sha256 {entry.sha256[:12]}"
