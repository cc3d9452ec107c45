"""`fistula train`: one run, or the runs of a study."""

import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from fistula.cohort.split_table import write_split
from fistula.cohort.study_copy import link_cohort
from fistula.errors import ConfigError, as_typed
from fistula.folder import write_whole
from fistula.learning.data.bags import FACTORS
from fistula.learning.training.ranks import end_with_parent, ending_together, followers, is_follower, is_of_srun
from fistula.sweep.engines.job import arguments_of
from fistula.sweep.folder.ownership import Claim, claim
from fistula.sweep.folder.provenance import commit, versions
from fistula.sweep.folder.run import one_line
from fistula.sweep.plan import Planner, RunPlan

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Train one run into its folder, unless it is there already."""
    with ending_together():
        _follow(cfg) if is_follower() else _lead(cfg)


def _lead(cfg: DictConfig) -> None:
    _refuse_unasked_study()
    plan = Planner().plan(cfg)
    plan.folder.check()
    if plan.folder.is_done:
        log.info("%s: already done", plan.name)
        return
    own = claim(plan.folder.path)
    try:
        # Another process may have trained it between the two looks.
        if not plan.folder.is_done:
            _train(plan)
    finally:
        _give_back(own, plan)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        print("next: fistula report", as_typed(f"study={HydraConfig.get().run.dir}"))


def _train(plan: RunPlan) -> None:
    """Build, train and record; a run that was announced is recorded as failed whatever stops it."""
    try:
        log.info("%s", plan.name)
        # Here, because importing torch takes seconds, and nothing above needs it.
        from fistula.learning.experiment import build
        from fistula.learning.training.hardware import num_processes

        tracking_id, parts = plan.folder.fingerprint[:16], plan.folder.record().get("micro_batches")
        experiment = build(plan.cfg, plan.cohort, plan.table, micro_batches=parts, tracking_id=tracking_id)
        hydra = HydraConfig.get()
        study = Path(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else plan.folder.path
        audit = plan.pass_gate(study)
        plan.folder.queue()  # before anything else lies in the folder, or a kill now would leave it as nobody's
        link_cohort(plan.cohort, study)
        write_split(study / f"split-{plan.split.name}.parquet", plan.table)
        write_whole(plan.folder.path / "config.yaml", OmegaConf.to_yaml(plan.cfg, resolve=True))
        facts = _facts(plan) | {"audit": audit} | experiment.facts()
        plan.folder.start(**facts)
        arguments = arguments_of(hydra, hydra.overrides.task)
        started = time.monotonic()
        with followers(num_processes(plan.cfg.trainer), arguments, give_up=partial(_give_up, plan)):
            settings = {key: value for key, value in plan.resolved.items() if key not in ("output_dir", "logger")}
            summary = experiment.train(description=settings | facts | {"fingerprint": plan.folder.fingerprint})
    except BaseException as error:
        if plan.folder.record():
            log.error("%s failed: %s", plan.name, str(error) or type(error).__name__)
            try:
                # Unless another task of Slurm's has recorded why this one has lost it.
                if not (is_of_srun() and plan.folder.record().get("state") == "failed"):
                    plan.folder.fail(error)
            except OSError as full:
                log.error("%s: that could not be recorded (%s)", plan.name, full)
        raise
    if (parts := facts["micro_batches"]) != (asked := plan.cfg.micro_batches):
        how = f"each batch is split into {parts} parts instead of {asked}, which affects batch normalization"
        summary["warnings"].append(f"out of memory: {how}")
    plan.folder.write("done", seconds=round(time.monotonic() - started, 1), **summary)
    log.info("%s", one_line(summary["metrics"]))
    for warning in summary["warnings"]:
        log.warning("%s: %s", plan.name, warning)


def _follow(cfg: DictConfig) -> None:
    """Take part in the training of a process that has claimed the run; it alone writes and scores."""
    if not is_of_srun():
        end_with_parent()
    plan = Planner().plan(cfg)
    if plan.folder.is_done:  # Slurm has started this process nevertheless
        return
    from fistula.learning.experiment import build

    try:
        build(plan.cfg, plan.cohort, plan.table, micro_batches=plan.folder.record().get("micro_batches")).fit()
    except Exception as error:
        if is_of_srun() and plan.folder.record().get("state") == "running":
            plan.folder.fail(error)  # the process that leads would know of a lost connection alone
        raise


def _give_up(plan: RunPlan, error: BaseException) -> None:
    """End a process that waits on a card for another which has failed."""
    log.error("%s failed: %s", plan.name, error)
    plan.folder.fail(error)
    os._exit(1)


def _facts(plan: RunPlan) -> dict[str, Any]:
    """What describes a run before it has begun."""
    cfg, choices = plan.cfg, HydraConfig.get().runtime.choices
    is_clinical = cfg.model.architecture == "clinical"
    factors = {
        "model": cfg.model.architecture,
        # What is fitted without an image passes through no mode of learning.
        "learning": "logistic_regression" if is_clinical else choices["learning"],
        "epochs": cfg.epochs,
        "augmentation": choices["augmentation"],
        "split": choices["split"],
        "labelling": choices["labelling"],
        # Slices pass through no pooling.
        "head": choices["head"],
        "unit": FACTORS[cfg.unit].format(pooling=choices["pooling"]),
        "covariates": ", ".join([*([] if is_clinical else ["images"]), *cfg.covariates]),
    }
    return {
        "name": plan.name,
        "factors": factors,
        "fold": cfg.split.fold,
        "seed": cfg.seed,
        "leaky_by_design": plan.split.leaky_by_design,
        **plan.fingerprints,
        "versions": versions(),
        "commit": commit(),
    }


def _refuse_unasked_study() -> None:
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and hydra.sweeper.params:
        study = f"study={hydra.runtime.choices['study']}"
        raise ConfigError(study, "is a sweep of several runs", remedy=f"Add -m: fistula train -m {study} ...")


def _give_back(own: Claim, plan: RunPlan) -> None:
    """Leave no trace of a run that was not begun; keep who held one that was begun and is not done."""
    record = plan.folder.record()
    for path in plan.folder.path.glob(".*.partial"):  # of a process that was killed while it wrote
        path.unlink(missing_ok=True)
    if record.get("state") == "done" or (not record and own.is_first):
        own.clear()
    else:
        own.release()
