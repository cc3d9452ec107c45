"""A study: all runs of a sweep, of which one that fails stops no other."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fistula.errors import ConfigError

with suppress(ImportError):
    import hydra_plugins.hydra_ray_launcher._config  # noqa: F401 (stores an option of its own when it is imported)

# Hydra would otherwise take what plugins have stored under these names for the schema of the files in conf/.
for _group, _option in (("launcher", "basic"), ("launcher", "ray"), ("sweeper", "basic")):
    ConfigStore.instance().repo["hydra"][_group].pop(f"{_option}.yaml", None)


class StudySweeper(BasicSweeper):
    """The product of all lists, as Hydra's own sweeper; but every run is tried before the sweep ends with an error.

    `params` are overrides of the study, which those of the command line replace.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from fistula.sweep.keys import check_sweep

        check_sweep(config, hydra_context.config_loader)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        from fistula.sweep.launch import raise_failures

        assert self.hydra_context is not None
        assert self.launcher is not None
        assert self.config is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides(list(arguments))
        keys = {override.get_key_element() for override in given}
        params = [f"{key}={value}" for key, value in self.params.items() if key not in keys]
        overrides = [*parser.parse_overrides(params), *given]
        (batch,) = self.split_arguments(overrides, max_batch_size=None)
        if not batch:
            empty = [text.input_line for text in overrides if text.is_sweep_override() and not [*text.sweep_iterator()]]
            raise ConfigError(", ".join(map(str, empty)), "names no value, and so no run")
        returns = self.launcher.launch(batch, initial_job_idx=0)
        raise_failures(returns, Path(self.config.hydra.sweep.dir))
        return returns


class StudyLauncher(BasicLauncher):
    """Run what is not done yet, each run in a process of its own, where a `fistula.sweep.engines.job.Engine` says."""

    def __init__(self, engine: Callable[..., Any]) -> None:
        super().__init__()
        self.engine = engine

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from fistula.sweep.launch import launch

        assert self.hydra_context is not None
        assert self.config is not None
        if self.config.hydra.job.config_name != "train":
            return super().launch(job_overrides, initial_job_idx)
        return launch(self.hydra_context.config_loader, self.config, job_overrides, engine=self.engine)
