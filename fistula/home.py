"""Folders elsewhere for what libraries keep in a home that cannot be written to, as in containers and batch systems."""

import os
import sys
import tempfile
from pathlib import Path


def give_matplotlib_a_folder() -> None:
    """Name one: matplotlib would say so and make one, which each forked process would remove."""
    own = [_kept("XDG_CONFIG_HOME", ".config", "matplotlib"), _kept("XDG_CACHE_HOME", ".cache", "matplotlib")]
    if sys.platform == "linux" and not all(map(_can_be_written, own)):
        os.environ.setdefault("MPLCONFIGDIR", _spare("matplotlib"))


def give_wandb_folders() -> None:
    """Name them: W&B's process would log on the terminal, and tables fail. The cache of the hub stays where it is."""
    if sys.platform != "linux":
        return
    cache = _kept("XDG_CACHE_HOME", ".cache")
    os.environ.setdefault("HF_HOME", str(cache / "huggingface"))
    # Named even where it can be written to: that process knows no home but that of a variable.
    os.environ["XDG_CACHE_HOME"] = str(cache) if _can_be_written(cache) else _spare("wandb")
    if not _can_be_written(_kept("XDG_DATA_HOME", ".local/share", "wandb")):
        os.environ.setdefault("WANDB_DATA_DIR", _spare("wandb"))


def _kept(variable: str, otherwise: str, *parts: str) -> Path:
    try:
        home = Path.home()  # without the variable HOME, as the system's list of users has it
    except RuntimeError:
        home = Path("/nonexistent")
    return Path(os.environ.get(variable) or home / otherwise, *parts)


def _can_be_written(folder: Path) -> bool:
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _spare(name: str) -> str:
    return str(Path(tempfile.gettempdir(), f"{name}-{os.getuid()}"))
