"""Before anything is imported: keep freed memory, forget ranks, and start the process that others are forked from."""

import ctypes
import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver

KIND = "forkserver" if sys.platform == "linux" else "spawn"  # elsewhere no library promises to work after a fork
# What the processes of a command need.
PRELOADED = {
    "ingest": ["fistula.forked", "fistula.sparing", "fistula.source.read"],
    # Not the command line itself, which a process that it has started runs under another name first.
    "train": [
        "fistula.forked",
        "fistula.sparing",
        "fistula.commands.train",
        "fistula.learning.experiment",
        "hydra.main",
        "hydra._internal.hydra",
        "wandb.sdk.launch",  # which W&B imports at the start of every run
    ],
}
KEPT = 1 << 29  # bytes
UNTRACKED = "ignore:resource_tracker:UserWarning"
# What torchrun and the like tell the processes that they start, of which Lightning takes this run for one.
RANKS = ("LOCAL_RANK", "RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "JSM_NAMESPACE_RANK")
PARAMETERS = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}  # as glibc's `malloc.h` numbers them


def keep_freed_memory() -> None:
    """Let glibc keep the memory of arrays that come and go, in this process and those that it starts.

    Where it is given back, the kernel clears every page anew: a tenth of an epoch on a CPU, and of reading a volume.
    """
    for name, parameter in PARAMETERS.items():
        if sys.platform == "linux" and name not in os.environ:
            os.environ[name] = str(KEPT)
            if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # other C libraries have none
                mallopt(parameter, KEPT)


def forget_ranks() -> None:
    """Take out of the environment what says that this process is one of another program's: it would write nothing."""
    if "FISTULA_FOLLOWS" not in os.environ:  # fistula.learning.training.ranks sets it for those that are of a run
        for name in RANKS:
            os.environ.pop(name, None)


def start_ahead(command: str) -> None:
    """Begin to import what processes of a command need, and let joblib fork its own from there; on Linux alone.

    For the command line: a forked process imports the program that is run, which an unguarded script does not survive.
    """
    if KIND != "forkserver":
        return
    multiprocessing.get_context(KIND).set_forkserver_preload(PRELOADED[command])
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches that process too, in the midst of an import
    # Of what an interrupted command has removed, and had no time to say so, the tracker that starts here would warn.
    said = os.environ.get("PYTHONWARNINGS", "")
    os.environ["PYTHONWARNINGS"] = f"{said},{UNTRACKED}".lstrip(",")
    forkserver.ensure_running()
    os.environ["PYTHONWARNINGS"] = said
    signal.signal(signal.SIGINT, heeded)

    from joblib.externals.loky.backend.context import set_start_method  # here: its import takes as long as the start

    set_start_method(KIND, force=True)
