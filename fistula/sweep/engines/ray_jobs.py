"""Run jobs through Ray: on this machine in as many slots as it has cards or cores for, or on a cluster."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fistula.errors import ConfigError
from fistula.sweep.engines.job import Job, check_shares

OBJECT_STORE_BYTES = 80_000_000  # nothing goes through it: runs read and write files


@dataclass(frozen=True)
class RayEngine:
    """Give each job its share of cards and cores; as many run at once as there are shares."""

    # ``local`` starts Ray on this machine, for the time of the sweep; ``auto`` takes the cluster that this machine
    # belongs to, any other that which answers there. A cluster has to share the file system.
    address: str
    # Jobs on a card, 2 for small networks, 0.5 for a job on two cards; no matter where there is none.
    jobs_per_gpu: float
    cpus_per_job: int

    def __post_init__(self) -> None:
        check_shares(may_be_auto=False, jobs_per_gpu=self.jobs_per_gpu, cpus_per_job=self.cpus_per_job)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int | None]]:
        import ray

        _join(ray, self.address)
        try:
            there = ray.cluster_resources()
            gpus = 1 / self.jobs_per_gpu if there.get("GPU", 0) else 0
            self._refuse_more_than(there, gpus)
            # Each job has a process of its own; Ray's, which only starts it and waits, may start the next one as well.
            start = ray.remote(num_cpus=self.cpus_per_job, max_retries=0)(_run)
            shares = {True: start.options(num_gpus=gpus), False: start}  # jobs on the processor claim no card
            started = {shares[job.wants_card].remote(job.with_threads(self.cpus_per_job)): job for job in jobs}
            while started:
                (ended,), _ = ray.wait(list(started), num_returns=1)
                job = started.pop(ended)
                try:
                    yield job, ray.get(ended)
                except ray.exceptions.RayError:
                    yield job, None  # the machine or Ray's own process is gone
        except SystemExit as end:  # of whatever code, which Ray makes 1
            raise SystemExit(128 + signal.SIGTERM) from end
        finally:
            ray.shutdown()

    def _refuse_more_than(self, there: Mapping[str, float], gpus: float) -> None:
        """Refuse a share of this machine that it does not have, for which Ray would wait for ever."""
        for key, what, wanted in (("cpus_per_job", "CPU", self.cpus_per_job), ("jobs_per_gpu", "GPU", gpus)):
            if self.address == "local" and wanted > there.get(what, 0):
                rule = f"gives each run {wanted:g} {what}s, more than there are"
                raise ConfigError(f"hydra.launcher.engine.{key}", rule, found=f"{there.get(what, 0):g} {what}s")


def _run(job: Job) -> int:
    return job.run()


def _join(ray: Any, address: str) -> None:
    """Start Ray or join a cluster, without a dashboard, statistics or talk; on this machine by loopback alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's announced default; it warns of its old one
    logging.getLogger("ray").setLevel(logging.ERROR)  # it warns that it asks for a token, which is as it should be
    own: dict[str, Any] = {}
    if address == "local":
        own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_node_ip_address": "127.0.0.1"}
    heeded = signal.getsignal(signal.SIGTERM)  # Ray's own answer is to end with 15
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except ConnectionError as error:
        remedy = "Start one with `ray start --head`, or use hydra/launcher=local"
        raise ConfigError(
            "hydra.launcher.engine.address", f"no Ray cluster answers at {address}", remedy=remedy
        ) from error
    finally:
        signal.signal(signal.SIGTERM, heeded)
