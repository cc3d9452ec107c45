"""Run jobs on this machine, in as many slots as it has cards, or shares of them, or cores."""

import atexit
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import joblib

from fistula.ahead import KIND, PRELOADED
from fistula.errors import ConfigError
from fistula.sweep.engines.job import AUTO, END_S, Job, check_shares
from fistula.sweep.folder.run import LOG

if TYPE_CHECKING:  # no such thing on Windows
    from multiprocessing.context import ForkServerContext, SpawnContext

GB_OF_A_JOB = 8.0  # of a card's memory; a run that needs more is tried again alone
MOST_ON_A_CARD = 4
DEVICES = Path("/dev")
# In the list of nvidia-smi, cards and their parts: "  MIG 3g.20gb     Device  0: (UUID: MIG-...)".
PARTS = re.compile(r"(?m)^(?:GPU|\s*(MIG) \S*?(\d+)gb).*UUID: ([\w-]+)")


@dataclass(frozen=True)
class LocalEngine:
    """Give each job a slot: a card or a share of one, and its share of the cores; jobs on the processor claim no card.

    Args:
        jobs_per_gpu: Jobs on a card, 2 for small networks, 0.5 for a job on two cards; ``auto``: one for each 8 GB of
            its memory, up to 4. No matter where there is no card.
        cpus_per_job: Cores of a job (on several cards, of its process for each), and its number of threads; ``auto``:
            the cores shared out among the cards' slots, 1 where there is no card, since runs of one thread beside each
            other beat one run of many.
    """

    jobs_per_gpu: float | str
    cpus_per_job: int | str

    def __post_init__(self) -> None:
        check_shares(may_be_auto=True, jobs_per_gpu=self.jobs_per_gpu, cpus_per_job=self.cpus_per_job)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, int | None]]:
        slots = {wants: deque(self.slots(cards() if wants else {})) for wants in {job.wants_card for job in jobs}}
        waiting = deque(jobs)
        running: dict[object, tuple[BaseProcess, Job, dict[str, str]]] = {}
        try:
            while waiting or running:
                for job in list(waiting):
                    if slots[job.wants_card]:
                        waiting.remove(job)
                        slot = slots[job.wants_card].popleft()
                        process = start(job, slot)
                        running[process.sentinel] = process, job, slot
                for sentinel in wait([process.sentinel for process, _, _ in running.values()]):
                    process, job, slot = running.pop(sentinel)
                    process.join()
                    slots[job.wants_card].append(slot)
                    yield job, process.exitcode
        finally:
            end(process for process, _, _ in running.values())

    def slots(self, memory: Mapping[str, float]) -> list[dict[str, str]]:
        """What each slot adds to the environment of the job in it.

        Of cards the memory in GB is given, by the name that CUDA knows each by; without any, cores alone are shared
        out.
        """
        cores = joblib.cpu_count()
        places = _places(memory, self.jobs_per_gpu)
        if self.cpus_per_job == AUTO:
            threads = max(1, cores // (",".join(places).count(",") + 1)) if places else 1
        else:
            threads = int(self.cpus_per_job)
        places = places or [""] * max(1, cores // threads)
        number = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return [number | {"CUDA_VISIBLE_DEVICES": place} for place in places]


def _places(memory: Mapping[str, float], per_card: float | str) -> list[str]:
    """The cards of each slot, as CUDA takes them; a card's slots follow those of the others."""
    if per_card == AUTO:
        number = {name: min(MOST_ON_A_CARD, max(1, int(gb // GB_OF_A_JOB))) for name, gb in memory.items()}
        return [name for turn in range(MOST_ON_A_CARD) for name in memory if turn < number[name]]
    if float(per_card) >= 1:
        return list(memory) * int(per_card)
    together, names = round(1 / float(per_card)), list(memory)
    if 0 < len(names) < together:  # else the jobs would run on the processor, and nobody would know
        rule = f"gives each run {together} GPUs, more than there are"
        raise ConfigError("hydra.launcher.engine.jobs_per_gpu", rule, found=f"{per_card:g} with {len(names)}")
    return [",".join(names[at : at + together]) for at in range(0, len(names) - together + 1, together)]


def cards() -> dict[str, float]:
    """Memory in GB of the cards that this process may use, by a name that CUDA takes; empty where there is none.

    Where CUDA_VISIBLE_DEVICES chooses, by the names there; else by UUID: CUDA need not count cards as nvidia-smi does.
    Of a card that is cut up (MIG), its parts.

    Raises:
        ConfigError: If there are cards but no nvidia-smi: the runs would have none, and nobody would know.
    """
    if shutil.which("nvidia-smi") is None and any(DEVICES.glob("nvidia[0-9]*")):
        remedy = "In a container, NVIDIA_DRIVER_CAPABILITIES=compute,utility brings it; or use hydra/launcher=basic"
        raise ConfigError("hydra/launcher=local", "needs nvidia-smi to share out this machine's GPUs", remedy=remedy)
    found: list[tuple[str, str, float]] = []
    with suppress(OSError, subprocess.CalledProcessError):
        for line in _said("--query-gpu=index,uuid,memory.total,compute_mode", "--format=csv,noheader,nounits"):
            index, uuid, mib, mode = (part.strip() for part in line.split(","))
            # Some clusters set cards so that only one process at a time may use each.
            is_shared = mib.isdigit() and not mode.startswith("Exclusive")
            found.append((index, uuid, float(mib) * 2**20 / 1e9 if is_shared else GB_OF_A_JOB))
        parts: dict[str, list[tuple[str, str, float]]] = {}
        whole = ""
        for is_part, gb, uuid in PARTS.findall("\n".join(_said("--list-gpus"))):
            if is_part:
                parts.setdefault(whole, []).append(("", uuid, float(gb)))
            else:
                whole = uuid
        found = [one for card in found for one in parts.get(card[1], [card])]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not found:
        return {uuid: gb for _, uuid, gb in found}
    names = takewhile(lambda name: name and not name.startswith("-"), (name.strip() for name in visible.split(",")))
    # UUIDs may be cut short.
    return {
        name: next((gb for index, uuid, gb in found if name == index or uuid.startswith(name)), GB_OF_A_JOB)
        for name in names
    }


def _said(*asked: str) -> list[str]:
    command = ["nvidia-smi", *asked]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def context() -> "ForkServerContext | SpawnContext":
    """Where processes come from that need what a run imports: forked from one that has imported it, and nothing else.

    Importing PyTorch, timm and Lightning takes seconds of a core, for every run of a sweep. Nothing leaks from one run
    to the next: the process they are forked from never runs any of them.
    """
    if KIND == "spawn":
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED["train"])
    return found


def start(job: Job, environment: Mapping[str, str]) -> BaseProcess:
    """Start a job's process; what it says goes to `log.txt` in the job's folder."""
    job.folder.mkdir(parents=True, exist_ok=True)
    whole = dict(job.variables()) | dict(environment)
    log = str(job.folder / LOG)
    process = context().Process(target=_run, args=(list(job.arguments), str(job.cwd), whole, log), name=job.name)
    process.start()
    return process


def _run(arguments: Sequence[str], cwd: str, environment: Mapping[str, str], log: str) -> None:
    """Be the process that `fistula` with these arguments would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the process that it is forked from ignores
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, (path, how) in enumerate([(os.devnull, os.O_RDONLY), (log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)]):
        opened = os.open(path, how, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = ["fistula", *arguments]
    import torch

    # The library has read the variable already, which may hold a number for each level of nesting.
    if (threads := environment.get("OMP_NUM_THREADS", "").partition(",")[0]).isdigit():
        torch.set_num_threads(int(threads))

    try:
        importlib.import_module("fistula.cli").main()  # as `python -m fistula.cli` is in a process of its own
    finally:
        atexit._run_exitfuncs()  # which a process of `multiprocessing` leaves out: trackers have some


def one_by_one(jobs: Sequence[Job]) -> Iterator[tuple[Job, int | None]]:
    """Run jobs in turn, on this machine, each with all that it has."""
    for job in jobs:
        process = start(job, {})
        try:
            process.join()
            yield job, process.exitcode
        finally:
            end([process])


def end(processes: Iterator[BaseProcess] | Sequence[BaseProcess]) -> None:
    """End processes that are still there, because this one has been interrupted."""
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.terminate()
    for process in alive:
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()
