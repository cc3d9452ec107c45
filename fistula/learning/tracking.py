"""What a run tells its experiment trackers: everything that describes it, then its results, then that it ended."""

import logging
import netrc
import os
import re
import shutil
import socket
import sqlite3
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # W&B would otherwise call home when it fails
os.environ.setdefault("WANDB_SILENT", "true")  # its lines at start and end; a failure still raises
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # each waits twice as long: its own seven take minutes

import numpy as np
import polars as pl
import wandb
from numpy.typing import NDArray
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from fistula.errors import refuse_other
from fistula.evidence.ranking.roc import roc_curve
from fistula.home import give_wandb_folders

READING_ROOM = "reading.html"
MODES = ("offline", "online", "shared", "disabled")
LOCK_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 3.0  # W&B itself gives up after a minute and a half

log = logging.getLogger(__name__)
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it says each retry, at length


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
                first = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
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
        """Nothing: Lightning calls this when fitting ends, and the results come after; see `finish`."""

    def finish(self, exit_code: int) -> None:
        """Close the run at each. Without this the next run in this process would merge into it at W&B."""
        status = "success" if exit_code == 0 else "failed"
        self.each(lambda one: wandb.finish(exit_code) if isinstance(one, WandbLogger) else one.finalize(status))


def wandb_logger(*, mode: str, **settings: Any) -> WandbLogger:
    """W&B's logger, in one of `MODES`; offline where it is to be online and cannot be.

    Raises:
        ConfigError: If the mode is another; W&B's own of its settings, which would else end its part in the run.
    """
    refuse_other("logger.wandb.mode", mode, MODES)
    wandb.Settings(**settings.get("settings", {}))
    give_wandb_folders()
    reason = why_not_online() if mode == "online" else None
    if reason:
        log.warning("W&B: %s. This run is logged offline; `wandb sync` sends it later", reason)
    logger = WandbLogger(mode="offline" if reason else mode, **settings)
    del logger._wandb_init["anonymous"]  # Lightning passes it always, and W&B warns of it in every run
    return logger


def mlflow_logger(**settings: Any) -> MLFlowLogger:
    """MLflow's logger; its page of a study opens on the table of runs, and not on what is for language models.

    A relative SQLite file is made absolute: MLflow keeps one open store for each address, which in one process would
    still be that of the folder it first worked in.
    """
    address = str(settings.get("tracking_uri", ""))
    file = Path(address.removeprefix("sqlite:///")).absolute() if address.startswith("sqlite:///") else None
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        settings["tracking_uri"] = f"sqlite:///{file}"
    with nullcontext() if file is None else _one_at_a_time(file):
        logger = MLFlowLogger(**settings)
        # What fails now fails again when the run is described to it, and is left out then.
        with suppress(Exception):
            experiment = logger.experiment
            experiment.set_experiment_tag(logger.experiment_id, "mlflow.experimentKind", "custom_model_development")
    return logger


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """Wait for other processes that are in the block: of runs that begin at once each would create MLflow's tables."""
    with closing(sqlite3.connect(file.with_name(f".{file.name}.lock"), timeout=LOCK_TIMEOUT_S)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def why_not_online() -> str | None:
    """Why W&B cannot be reached from here: there is no key, or no answer; None where it can."""
    address = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    host = address.hostname or ""
    try:
        has_key = bool(os.environ.get("WANDB_API_KEY")) or netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        has_key = False
    if not has_key:
        return "there is no key; `wandb login` asks for one"
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return f"{host} cannot be reached ({error})"
    return None


def record_results(
    trackers: Trackers, metrics: dict[str, float], predictions: pl.DataFrame, operating_point: dict[str, Any]
) -> None:
    """Send final metrics; to W&B as the run's summary, with tables of the test ROC and the confusion counts.

    Metrics are flat, by ``part/level/name``; the others are as in `predictions.parquet` and `run.json`.
    """

    def tell(logger: Logger) -> None:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update(metrics)
            _log_tables(logger, predictions, operating_point)
        else:
            logger.log_metrics({name: value for name, value in metrics.items() if np.isfinite(value)})

    trackers.each(tell)


def _log_tables(logger: WandbLogger, predictions: pl.DataFrame, operating_point: dict[str, Any]) -> None:
    test = predictions.filter(pl.col("part") == "test")
    scores = [column for column in test.columns if column.startswith("score")]
    for label, column in enumerate(scores):
        positive = test["label"] == (1 if len(scores) == 1 else label)
        name = column.removeprefix("score").removeprefix("_")
        point = operating_point[name] if name else operating_point
        tables = _tables(positive.to_numpy(), test[column].to_numpy(), point["threshold"], f"test/{name}".rstrip("/"))
        logger.experiment.log(tables)


def _tables(positive: NDArray, scores: NDArray, threshold: float, prefix: str) -> dict[str, wandb.Table]:
    curve = zip(*roc_curve(positive, scores), strict=True)
    called = scores >= threshold
    counts = [[truth, call, int(((positive == truth) & (called == call)).sum())] for truth in (0, 1) for call in (0, 1)]
    roc_columns: list[str | int] = ["false_positive_rate", "sensitivity", "threshold"]
    return {
        f"{prefix}/roc": wandb.Table(columns=roc_columns, data=[[float(value) for value in point] for point in curve]),
        f"{prefix}/confusion": wandb.Table(columns=["label", "called", "slices"], data=counts),
    }


def record_study(settings: Mapping[str, Any], *, name: str, key: str, report: Path) -> None:
    """Send a study's results to W&B as a run of its own: the final table, and the report as an artifact.

    The reading room stays here: it holds the patients' images. A second call takes the place of the first.
    """
    own = {"id": key, "name": f"{name} report", "group": name, "job_type": "report", "tags": ["report"]}
    settings = {**settings, **own, "save_dir": str(report.parent)}
    for earlier in report.parent.glob(f"wandb/*-{key}"):
        shutil.rmtree(earlier)
    logger = wandb_logger(**settings)
    try:
        for which in ("results", "outside"):  # the latter where an external cohort was evaluated
            if (report / f"{which}.csv").is_file():
                table = pl.read_csv(report / f"{which}.csv", infer_schema_length=None, glob=False)
                logger.experiment.log({which: wandb.Table(columns=list(table.columns), data=table.rows())})
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{name}-report"), type="report")
        for path in sorted(report.iterdir()):
            if path.name != READING_ROOM:
                artifact.add_file(str(path), policy="immutable")
        logger.experiment.log_artifact(artifact)
    finally:
        wandb.finish()
