"""`fistula train`: one run, or the runs of a study."""

import logging
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fistula import __version__
from fistula.cohort.keep import keep_cohort
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split_table import split_fingerprint, write_split
from fistula.errors import ConfigError, FistulaError
from fistula.folder import write_whole
from fistula.learning.experiment import build, make
from fistula.learning.training import train
from fistula.sweep.run_folder import RunFolder, identity_of, register_run_name

register_run_name()
log = logging.getLogger(__name__)

PACKAGES = ("torch", "timm", "pytorch-lightning", "albumentations", "torchmetrics", "numpy", "wandb")


def run(cfg: DictConfig) -> None:
    """Train one run into its folder, unless it is there already."""
    _check(cfg)
    started = time.monotonic()
    cohort = read_cohort(Path(cfg.cohort))
    split = make(cfg.split)
    table = split(cohort.manifest)
    resolved: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    fingerprints = {"cohort_fingerprint": cohort.fingerprint, "split_fingerprint": split_fingerprint(table)}
    folder = RunFolder(Path(cfg.output_dir), identity_of(resolved, **fingerprints, version=__version__))
    folder.check()
    if folder.is_done:
        log.info("%s: already done", cfg.run_name)
        return
    log.info("%s", cfg.run_name)
    try:
        experiment = build(cfg, cohort, table)
    except FistulaError:
        _remove_if_empty(folder.path)
        raise
    study = _study_folder(folder.path)
    keep_cohort(cohort, study)
    write_split(study / f"split-{split.name}.parquet", table)
    write_whole(folder.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    facts = {
        "name": cfg.run_name,
        "factors": _factors(cfg),
        "fold": cfg.split.fold,
        "seed": cfg.seed,
        "leaky_by_design": split.leaky_by_design,
        **fingerprints,
        "weights": experiment.classifier.backbone.weights,
        "versions": {"fistula": __version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "commit": _commit(),
        "hardware": _hardware(),
    }
    folder.write("running", **facts)
    try:
        summary = train(
            experiment,
            folder.path,
            fold=cfg.split.fold,
            choose_threshold=make(cfg.operating_point),
            description=resolved | facts | {"fingerprint": folder.fingerprint},
        )
    except BaseException as error:
        folder.fail(error)
        raise
    folder.write("done", seconds=round(time.monotonic() - started, 1), **summary)
    log.info("%s", _one_line(summary))


class SayNext(Callback):
    """Say, when a study has ended, what to do with it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        print(f"next: fistula report study={config.hydra.sweep.dir}")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        print(f"next: fistula report study={config.hydra.run.dir}")


def _check(cfg: DictConfig) -> None:
    """Refuse numbers that no training can have, before anything is read."""
    for key in ("epochs", "batch_size", "image_size"):
        if cfg[key] < 1:
            raise ConfigError(key, "must be at least 1", found=cfg[key], remedy=f"For example {key}=50")


def _factors(cfg: DictConfig) -> dict[str, Any]:
    """What a study compares its runs by."""
    choices = HydraConfig.get().runtime.choices
    return {
        "model": cfg.model.architecture,
        "learning": choices["learning"],
        "epochs": cfg.epochs,
        "augmentation": choices["augmentation"],
        "split": choices["split"],
    }


def _study_folder(run_folder: Path) -> Path:
    """The folder that holds the cohort and the split: a sweep's, or that of the only run."""
    hydra = HydraConfig.get()
    return Path(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else run_folder


def _remove_if_empty(folder: Path) -> None:
    """Take back the folder that Hydra has made for a run that did not start, and the study's if it holds nothing."""
    for path in (folder, folder.parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _commit() -> str | None:
    """The git commit of the code that runs, marked where it was changed since; None for an installed package."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _one_line(summary: dict[str, Any]) -> str:
    metrics = summary["metrics"]
    if "test" not in metrics:
        return "; ".join(f"{name}: {_one_line({'metrics': node})}" for name, node in metrics.items())
    return "test " + "  ".join(
        f"{level} AUROC {metrics['test'][level]['auroc']['value']:.3f}" for level in ("slice", "patient")
    )
