"""A time limit around the reading of one file."""

import signal
import threading
from types import FrameType, TracebackType

from fistula.dicom.outcome import Refused

SLOW = "took longer than the time limit"


class OutOfTimeError(BaseException):
    """The time for one file is over; not an Exception, so that no `except Exception` on the way can swallow it."""


class TimeLimit:
    """Raise Refused after the block was ended at `seconds`; without effect off the main thread and without SIGALRM.

    A decoder written in C notices only when it returns; the workers' own limit ends one that never does.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_able = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self.is_able:
            self._before = signal.getsignal(signal.SIGALRM)
            if self._before is not _stop:
                signal.signal(signal.SIGALRM, _stop)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_able:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if self._before not in (_stop, signal.SIG_DFL):  # left in place where nobody else waits for the signal
                signal.signal(signal.SIGALRM, self._before)
        if isinstance(error, OutOfTimeError):
            raise Refused(SLOW, "Raise seconds_per_file if the disk is slow") from error


def _stop(signum: int, frame: FrameType | None) -> None:
    raise OutOfTimeError
