"""`fistula train`: one run, or the runs of a study."""

import logging
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fistula import __version__
from fistula.cohort.gate import pass_gate
from fistula.cohort.keep import keep_cohort
from fistula.cohort.manifest import read_cohort
from fistula.cohort.split_table import split_fingerprint, write_split
from fistula.errors import ConfigError
from fistula.evidence.aggregate import AGGREGATIONS
from fistula.folder import write_whole
from fistula.sweep.provenance import commit, versions
from fistula.sweep.run_folder import RunFolder, identity_of, register_run_name

register_run_name()
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Train one run into its folder, unless it is there already."""
    try:
        _check(cfg)
        cohort = read_cohort(Path(cfg.cohort))
        split = instantiate(cfg.split)
        table = split(cohort.manifest)
        resolved: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        fingerprints = {"cohort_fingerprint": cohort.fingerprint, "split_fingerprint": split_fingerprint(table)}
        folder = RunFolder(Path(cfg.output_dir), identity_of(resolved, **fingerprints, version=__version__))
        folder.check()
        if folder.is_done:
            log.info("%s: done before", cfg.run_name)
            return
        log.info("%s", cfg.run_name)
        # Here, because importing torch takes seconds, and nothing above needs it.
        from fistula.learning.experiment import build

        experiment = build(cfg, cohort, table)
        study = _study_folder(folder.path)
        audit = pass_gate(
            cohort,
            table,
            study,
            audit=instantiate(cfg.audit),
            split=split.name,
            leaky_by_design=split.leaky_by_design,
        )
    except Exception:
        _remove_while_empty(Path(cfg.output_dir))
        raise
    keep_cohort(cohort, study)
    write_split(study / f"split-{split.name}.parquet", table)
    write_whole(folder.path / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    facts = {
        "name": cfg.run_name,
        "factors": _factors(cfg),
        "fold": cfg.split.fold,
        "seed": cfg.seed,
        "leaky_by_design": split.leaky_by_design,
        "audit": audit,
        **fingerprints,
        **experiment.facts(),
        "versions": versions(),
        "commit": commit(),
    }
    folder.write("running", **facts)
    started = time.monotonic()
    try:
        summary = experiment.train(description=resolved | facts | {"fingerprint": folder.fingerprint})
    except BaseException as error:
        folder.fail(error)
        log.error("%s failed: %s", cfg.run_name, error)
        raise
    folder.write("done", seconds=round(time.monotonic() - started, 1), **summary)
    log.info("%s", _one_line(summary["metrics"]))
    for warning in summary["warnings"]:
        log.warning("%s: %s", cfg.run_name, warning)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        _say_next(HydraConfig.get().run.dir)


class AfterStudy(Callback):
    """Say, when a study has ended, what to do with it."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _say_next(config.hydra.sweep.dir)


def _say_next(study: str) -> None:
    print(f"next: fistula report study={study}")


def _check(cfg: DictConfig) -> None:
    """Refuse numbers that no training can have, before anything is read."""
    for key in ("epochs", "batch_size", "image_size"):
        if cfg[key] < 1:
            raise ConfigError(key, "must be at least 1", found=cfg[key], remedy=f"For example {key}=50")
    if cfg.aggregation not in AGGREGATIONS:
        raise ConfigError("aggregation", f"must be one of {', '.join(AGGREGATIONS)}", found=cfg.aggregation)
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and hydra.sweeper.params:
        study = f"study={hydra.runtime.choices['study']}"
        raise ConfigError(study, "is a sweep of several runs", remedy=f"Say so: fistula train -m {study} ...")


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


def _remove_while_empty(folder: Path) -> None:
    """Take back the folders that Hydra has made for a run that did not start."""
    here = Path.cwd()
    while folder.is_dir() and folder != here and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _one_line(metrics: dict[str, Any]) -> str:
    if "test" not in metrics:
        return "; ".join(f"{name}: {_one_line(node)}" for name, node in metrics.items())
    values = {level: metrics["test"][level]["auroc"]["value"] for level in ("slice", "patient")}
    return "test " + "  ".join(
        f"AUROC by {level} " + ("n/a" if value is None else f"{value:.3f}") for level, value in values.items()
    )
