"""Several experiment trackers as one logger, none of which can stop a run: the run's own files are the truth."""

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)


class Trackers(Logger):
    """Tell each tracker everything; one that fails is left out from then on, which is said once."""

    def __init__(self, loggers: Mapping[str, Logger]) -> None:
        super().__init__()
        self.loggers = dict(loggers)

    @property
    def name(self) -> str:
        return "+".join(self.loggers)

    @property
    def version(self) -> str | None:
        return None

    def each(self, tell: Callable[[Logger], None]) -> None:
        """Call `tell` with each tracker that has not failed."""
        for name, logger in list(self.loggers.items()):
            try:
                tell(logger)
            except Exception as error:
                del self.loggers[name]
                first = (str(error) or type(error).__name__).splitlines()[0]
                log.warning("logger=%s failed (%s): the run continues without it", name, first)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.each(lambda logger: logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self.each(lambda logger: logger.log_hyperparams(params, *args, **kwargs))

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        self.each(lambda logger: logger.after_save_checkpoint(checkpoint_callback))

    def save(self) -> None:
        self.each(lambda logger: logger.save())

    def finalize(self, status: str) -> None:
        """Nothing: Lightning calls this when fitting ends, and the results come after; see `tracking.finish`."""
