"""Run a study: plan every run, skip what is done, start the rest, and say what has become of each."""

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from fistula.errors import FistulaError, as_typed
from fistula.folder import write_whole
from fistula.learning.weights.store import check_weights
from fistula.sweep.engines.job import Engine, Job, arguments_of
from fistula.sweep.index import Index
from fistula.sweep.plan import Planner, RunPlan
from fistula.sweep.preflight import check_folders, check_networks, check_splits
from fistula.sweep.supervise import StudyRun, run_all


class StudyError(FistulaError):
    """Some runs of a study failed."""


def launch(
    loader: ConfigLoader, config: DictConfig, job_overrides: Sequence[Sequence[str]], *, engine: Engine
) -> list[JobReturn]:
    """Run those runs of a sweep that are not done; each has its list of overrides.

    Returns:
        One for each list of overrides; a failed run's holds its error.
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
    return [
        _job_return(overrides, study / name, errors.get(name))
        for name, overrides in zip(names, job_overrides, strict=True)
    ]


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
    with open_dict(composed):
        composed.hydra.job.id = composed.hydra.job.num = 0
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
    OmegaConf.set_readonly(composed.hydra, False)
    composed.hydra.runtime.output_dir = str(folder.absolute())
    HydraConfig.instance().set_config(composed)
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def _job_return(overrides: Sequence[str], folder: Path, error: Exception | None) -> JobReturn:
    status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
    return JobReturn(overrides=list(overrides), working_dir=str(folder), status=status, _return_value=error)


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
