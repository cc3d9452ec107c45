"""Which code a run ran on."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import fistula

PACKAGES = ("torch", "timm", "pytorch-lightning", "albumentations", "torchmetrics", "numpy", "wandb")


def versions() -> dict[str, str]:
    """Versions of this package, of Python, and of what decides a run's numbers."""
    ours = {"fistula": fistula.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in PACKAGES}


def commit() -> str | None:
    """The git commit of this package, marked where it was changed since; None where it is not a checkout."""
    checkout = Path(fistula.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
