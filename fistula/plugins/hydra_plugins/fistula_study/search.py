"""A search: Optuna proposes runs inside each outer fold; the best by validation becomes a run of the study."""

import copy
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class SearchSweeper(Sweeper):
    """Nested search: the folds of `outer` are never seen by the search inside them.

    Args:
        params: What to search, in Hydra's words: ``choice``, ``range``, ``interval``, ``tag(log, interval(...))``.
        outer: What a search of its own is done for, each combination.
        trials: Of each search.
        parallel: Trials at a time.
    """

    def __init__(self, params: dict[str, str], outer: dict[str, str], trials: int, parallel: int, seed: int) -> None:
        self.params, self.outer, self.trials, self.parallel, self.seed = params, outer, trials, parallel, seed

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from fistula.sweep.keys import check_sweep

        check_sweep(config, hydra_context.config_loader)
        self.config, self.hydra_context = config, hydra_context
        self.study = Path(config.hydra.sweep.dir)
        apart = copy.deepcopy(config)  # trials are no runs of the study: its report must not choose among them again
        with open_dict(apart):
            apart.hydra.sweep.dir = str(self.study / "search")
            apart.hydra.overrides.hydra.append(f"hydra.sweep.dir='{apart.hydra.sweep.dir}'")
        start = Plugins.instance().instantiate_launcher
        self.launcher = start(hydra_context=hydra_context, task_function=task_function, config=config)
        self.trial_launcher = start(hydra_context=hydra_context, task_function=task_function, config=apart)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        from fistula.sweep.launch import raise_failures
        from fistula.sweep.search import Search, distribution

        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides([f"{key}={value}" for key, value in self.params.items()] + arguments)
        latest = {override.get_key_element(): override for override in given}
        fixed = [str(override.input_line) for override in latest.values() if not override.is_sweep_override()]
        space = {key: distribution(override) for key, override in latest.items() if override.is_sweep_override()}
        folds = parser.parse_overrides([f"{key}={value}" for key, value in self.outer.items()])
        chosen = []
        for fold in BasicSweeper.split_arguments(folds, max_batch_size=None)[0]:
            search = Search(
                name=" ".join(fold) or "search",
                database=self.study / "search" / "search.db",
                launch=lambda lists: self.trial_launcher.launch(lists, initial_job_idx=0),
                space=space,
                fixed=[*fixed, *fold],
                trials=self.trials,
                parallel=self.parallel,
                seed=self.seed,
            )
            chosen.append([*fixed, *fold, *search.best()])
        returns = self.launcher.launch(chosen, initial_job_idx=0)
        raise_failures(returns, self.study)
        return returns
