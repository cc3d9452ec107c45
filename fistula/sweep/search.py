"""Search for the best settings with Optuna, by validation alone; what was tried is in the study's folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from fistula.errors import ConfigError
from fistula.sweep.folder.run import read_record

# Of `fistula.learning.callbacks`, which imports what takes seconds.
PRUNED = "PrunedError"
TRIAL = "FISTULA_TRIAL"
Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]


@dataclass
class Search:
    """A search inside one outer fold; the same call again goes on where an earlier one stopped."""

    name: str  # of the outer fold, and of the search in its database
    database: Path
    launch: Launch
    space: dict[str, BaseDistribution]  # what to search, by key
    fixed: Sequence[str]
    trials: int  # how many to end, pruned and failed ones included
    parallel: int
    seed: int
    study: optuna.Study = field(init=False)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.database.parent.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{self.database.absolute()}"
        self.study = optuna.create_study(
            study_name=self.name, storage=storage, direction="maximize", load_if_exists=True
        )
        # A sampler of the same seed would draw again what it drew before it was stopped.
        self.study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(self.study.trials))

    def best(self) -> list[str]:
        """Train what is left to train, and give the overrides of the trial that was best on validation.

        Raises:
            ConfigError: If no trial came to an end.
        """
        self._redo([trial for trial in self.study.trials if trial.state is TrialState.RUNNING])
        while (left := self.trials - len(self.study.trials)) > 0:
            self._redo([self.study.ask(self.space) for _ in range(min(left, self.parallel))])
        if not any(trial.state is TrialState.COMPLETE for trial in self.study.trials):
            raise ConfigError(self.name, "no trial of the search was completed", remedy="See the errors above")
        return _overrides(self.study.best_trial.params)

    def _redo(self, trials: Sequence[Any]) -> None:
        """Train asked trials and tell what they came to; those that another process had begun go on as any run does."""
        if not trials:
            return
        storage = f"sqlite:///{self.database.absolute()}"
        told = [{"storage": storage, "study": self.name, "number": trial.number} for trial in trials]
        lists = [
            [*self.fixed, *_overrides(trial.params), f"+hydra.job.env_set.{TRIAL}='{json.dumps(one)}'"]
            for trial, one in zip(trials, told, strict=True)
        ]
        for trial, ended in zip(trials, self.launch(lists), strict=True):
            value, state = _result(ended)
            self.study.tell(trial.number, value, state=state)


def distribution(override: Override) -> BaseDistribution:
    """What Optuna draws from, of a sweep in Hydra's words: ``choice``, ``range``, ``interval``, ``tag(log, interval)``.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> [lr] = OverridesParser.create().parse_overrides(["lr=tag(log, interval(0.001, 0.1))"])
        >>> distribution(lr)
        FloatDistribution(high=0.1, log=True, low=0.001, step=None)
    """
    try:
        return _distribution(override)
    except ValueError as error:
        raise ConfigError(override.key_or_group, "cannot be searched", found=str(error)) from error


def _distribution(override: Override) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        return FloatDistribution(float(value.start), float(value.end), log="log" in value.tags)
    if isinstance(value, RangeSweep) and isinstance(value.start, int) and isinstance(value.step, int):
        return IntDistribution(value.start, int(list(value.range())[-1]), step=value.step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _overrides(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _result(ended: JobReturn) -> tuple[float | None, TrialState]:
    """AUROC on validation of what was scored: nothing here reads what a run says of its test part."""
    folder = Path(ended.hydra_cfg.hydra.runtime.output_dir if ended.hydra_cfg else str(ended.working_dir))
    record = read_record(folder) if (folder / "run.json").exists() else {}
    if record.get("error_kind") == PRUNED:
        return None, TrialState.PRUNED
    if ended.status is not JobStatus.COMPLETED:
        return None, TrialState.FAIL
    metrics = record["metrics"]
    binary = [metrics] if "val" in metrics else list(metrics.values())
    values = [float(next(iter(node["val"].values()))["auroc"]["value"]) for node in binary]
    return sum(values) / len(values), TrialState.COMPLETE
