"""Start the process that others are forked from before this one imports its own modules: both imports then overlap."""

import multiprocessing
import os
import sys
from multiprocessing import forkserver

KIND = "forkserver" if sys.platform == "linux" else "spawn"  # elsewhere no library promises to work after a fork
# What the processes of a command need.
PRELOADED = {
    "ingest": ["fistula.source.read"],
    # Not the command line itself, which a process that it has started runs under another name first.
    "train": ["fistula.commands.train", "fistula.learning.experiment", "hydra.main", "hydra._internal.hydra"],
}
# The arrays of a volume come and go. Where the C library gives such memory back, the kernel clears every page anew.
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 29), "MALLOC_TRIM_THRESHOLD_": str(1 << 29)}  # bytes


def start_ahead(command: str) -> None:
    """Begin to import what processes of a command need, and let joblib fork its own from there; on Linux alone.

    For the command line: a forked process imports the program that is run, which an unguarded script does not survive.
    """
    if KIND != "forkserver":
        return
    if command == "ingest":
        for name, value in KEPT.items():
            os.environ.setdefault(name, value)
    multiprocessing.get_context(KIND).set_forkserver_preload(PRELOADED[command])
    forkserver.ensure_running()

    from joblib.externals.loky.backend.context import set_start_method  # here: its import takes as long as the start

    set_start_method(KIND, force=True)
