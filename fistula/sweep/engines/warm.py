"""Processes of runs that begin with their imports done: each is forked from one that has imported, and nothing else.

Importing PyTorch, timm and Lightning takes seconds of a core, for every run of a sweep. Nothing leaks from one run to
the next: the process they are forked from never runs any of them.
"""

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from fistula.ahead import KIND, PRELOADED
from fistula.sweep.engines.job import Job
from fistula.sweep.folder.run import LOG


def context() -> BaseContext:
    """Where processes come from that need what a run imports."""
    found = multiprocessing.get_context(KIND)
    if KIND == "forkserver":
        found.set_forkserver_preload(PRELOADED["train"])
    return found


def start(job: Job, environment: Mapping[str, str]) -> BaseProcess:
    """Start a job's process; what it says goes to `log.txt` in the job's folder."""
    job.folder.mkdir(parents=True, exist_ok=True)
    whole = dict(job.variables()) | dict(environment)
    log = str(job.folder / LOG)
    process = context().Process(target=_run, args=(list(job.arguments), str(job.cwd), whole, log), name=job.name)  # type: ignore[attr-defined]
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
