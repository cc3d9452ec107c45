"""A time limit around the reading of one file."""

import signal
import threading
from types import FrameType, TracebackType

from fistula.dicom.outcome import Refused


class TimeLimit:
    """Raise Refused in the block after `seconds`; without effect off the main thread and where there is no SIGALRM.

    A decoder written in C notices only when it returns; the workers' own limit ends one that never does.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_able = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self.is_able:
            self._before = signal.signal(signal.SIGALRM, _stop)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_able:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Refused("took longer than the time limit", "Raise seconds_per_file if the disk is slow")
