"""Run a study: plan every run, skip what is done, check the rest before the first starts, and run them."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from fistula.errors import ConfigError, FistulaError, TrainingError, as_typed
from fistula.folder import write_whole
from fistula.learning.weights.store import check_weights
from fistula.sweep.engines.job import Engine, Job, arguments_of
from fistula.sweep.engines.local import context
from fistula.sweep.index import Index
from fistula.sweep.plan import Planner, RunPlan
from fistula.sweep.supervise import StudyRun, run_all


class StudyError(FistulaError):
    """Some runs of a study failed."""


def launch(
    loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]], *, engine: Engine
) -> list[JobReturn]:
    """Run those runs of a sweep that are not done; each has its list of overrides.

    Gives one for each list of overrides; a failed run's holds its error.
    """
    setup_globals()
    study = Path(config.hydra.sweep.dir)
    planner, index = Planner(), Index(study, config)
    names: list[str] = []
    plans: list[RunPlan] = []
    jobs: dict[Path, Job] = {}
    for overrides in job_overrides:
        name = index.done(overrides, planner)
        if name is None:
            plan = planner.plan(_compose(loader, config, overrides))
            name = plan.folder.path.name
            plans.append(plan)
            arguments = arguments_of(config.hydra, overrides)
            wants_card = plan.resolved["trainer"]["accelerator"] != "cpu"
            jobs[plan.folder.path] = Job(plan.name, plan.folder.path, arguments, Path.cwd(), wants_card=wants_card)
            index.add(overrides, plan)
        names.append(name)
    missing = [plan for plan in check_folders(plans) if not plan.folder.is_done]
    if missing:
        check_weights([plan.resolved["model"] for plan in missing])
        check_splits(missing, study)
        check_networks(missing)
        for plan in missing:
            plan.folder.queue()
        write_whole(study / "multirun.yaml", OmegaConf.to_yaml(config))
    if plans:
        index.write()
    runs = [StudyRun(plan.folder, jobs[plan.folder.path]) for plan in missing]
    with _ended_by_sigterm():
        errors = run_all(runs, engine=engine, num_done=len(set(names)) - len(missing))
    if not errors:
        print("next: fistula report", as_typed(f"study={study}"))
    status = {name: JobStatus.FAILED if name in errors else JobStatus.COMPLETED for name in names}
    return [
        JobReturn(overrides, working_dir=str(study / name), status=status[name], _return_value=errors.get(name))
        for name, overrides in zip(names, job_overrides, strict=True)
    ]


def check_folders(plans: Sequence[RunPlan]) -> list[RunPlan]:
    """The plans, each run once, none in a folder that holds something else.

    Raises:
        ConfigError: If a folder does, or if two different runs would share one.
    """
    distinct: dict[Path, RunPlan] = {}
    for plan in plans:
        plan.folder.check()
        other = distinct.setdefault(plan.folder.path, plan)
        if other.folder.fingerprint != plan.folder.fingerprint:
            differing = [key for key, value in plan.folder.identity.items() if other.folder.identity.get(key) != value]
            rule = f"two runs of this sweep, which differ in {', '.join(differing)}, would share this folder"
            raise ConfigError(plan.folder.path, rule, remedy="Put what differs into hydra.sweep.subdir")
    return list(distinct.values())


def check_splits(plans: Sequence[RunPlan], study: Path) -> None:
    """Let each split of the sweep pass the audit. Raises LeakageError if one has a leak that nothing allows."""
    for plan in {(plan.split.name, plan.fingerprints["split_fingerprint"]): plan for plan in plans}.values():
        plan.pass_gate(study)


def check_networks(plans: Sequence[RunPlan]) -> None:
    """Build the networks of the sweep and its other parts once, each, in a process that gives its memory back.

    Each network, pretrained weights included, is tried with images of the size and channels asked for, without
    computing anything (`dry_run`); each augmentation is drawn from, and each optimizer takes steps.

    Raises:
        FistulaError: If one does not exist, cannot be built or does not take such images, or its weights cannot be had.
    """
    wanted = {}
    for plan in plans:
        number, size = len(plan.cohort.classes), plan.cfg.image_size
        seen = {"num_classes": number, "image_size": size, "available": plan.cohort.sequences}
        given = {"model": seen, "loss": {"class_counts": [1] * number}}
        for group in ("learning", "augmentation", "optimizer", "schedule", "loss", "operating_point", "model"):
            part = {"group": group, "node": plan.resolved[group], "given": given.get(group, {}), "size": size}
            part |= {"head": plan.resolved["head"]} if group == "model" else {}
            wanted[json.dumps(part, sort_keys=True)] = part
    try:
        with ProcessPoolExecutor(1, mp_context=context()) as executor:
            executor.submit(_build, list(wanted.values())).result()
    except BrokenProcessPool as error:
        rule = "cannot be tried: the process that builds it was ended from outside, most often for want of memory"
        raise TrainingError("model", rule, remedy="Free memory, or take a smaller network") from error


def _build(parts: list[dict[str, Any]]) -> None:
    from fistula.cohort.manifest import POINTS
    from fistula.learning.building.making import make, try_optimizer, try_pipeline

    for part in sorted(parts, key=lambda part: part["group"] == "model"):
        group, size = part["group"], part["size"]
        made = make(OmegaConf.create({group: part["node"]})[group], **part["given"])
        if group == "model":
            make(OmegaConf.create({"head": part["head"]}).head, backbone=made, kinds=POINTS, pixel_mm=None)
        if group == "optimizer":
            try_optimizer(made)
        if group == "augmentation":
            try_pipeline(made, size if isinstance(size, int) else 224)


def raise_failures(returns: Sequence[JobReturn], study: Path) -> None:
    """End a sweep with an error if a run of it failed, with the runs' own exit code where they agree.

    Raises:
        StudyError: If runs of several failed; the run's own error if it is the only one.
    """
    errors = [job._return_value for job in returns if job.status is JobStatus.FAILED]
    if not errors:
        return
    if len(returns) == 1:
        raise errors[0]
    codes = {getattr(error, "exit_code", 1) for error in errors}
    rule = f"{len(errors)} of {len(returns)} runs failed"
    status = shlex.join(["fistula", "status", f"study={study}"])
    remedy = f"`{status}` shows why; repeating the command trains only these"
    failure = StudyError(study, rule, remedy=remedy)
    failure.exit_code = codes.pop() if len(codes) == 1 else 1
    raise failure


def _compose(loader: ConfigLoader, config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Compose a run's configuration as its own process will, with the folder it will have."""
    composed = loader.load_sweep_config(config, list(overrides))
    for part in ("launcher", "sweeper.params"):
        told, own = (
            OmegaConf.to_container(OmegaConf.select(one.hydra, part), resolve=False) for one in (config, composed)
        )
        if told != own:
            rule = f"cannot be set by what is swept ({' '.join(set(overrides) - set(config.hydra.overrides.task))})"
            raise ConfigError(
                f"hydra.{part}", rule, remedy="Give each study or experiment that sets it a sweep of its own"
            )
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = 0
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
    OmegaConf.set_readonly(composed.hydra, False)
    composed.hydra.runtime.output_dir = str(folder.absolute())
    HydraConfig.instance().set_config(composed)
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let a terminated sweep end its runs as an interrupted one does."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
