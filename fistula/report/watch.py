"""Draw a study's page anew as its runs end, so that a sweep can be followed in a browser."""

import time
from pathlib import Path

from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.study import read_study
from fistula.sweep.status import ENDED, read_status


def watch(folder: Path, settings: Settings, *, every: float) -> None:
    """Draw the page whenever more runs are done, until every run has ended; the last page is left to the caller.

    It looks, and a browser reads the page anew, after every so many seconds.

    Raises:
        DataError: As `read_status` and `write_report`.
    """
    drawn = 0
    while True:
        states = [run.state for run in read_status(folder)]
        if set(states) <= ENDED:
            return
        if states.count("done") > drawn:
            drawn = states.count("done")
            page = write_report(read_study(folder), settings, reload=every)
            print(f"{drawn} of {len(states)} runs: {page}", flush=True)
        time.sleep(every)
