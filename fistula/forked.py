"""Importing this, in the process that others are forked from, keeps silent those whose command ends as they begin.

They find neither what they were sent nor the semaphores that they share with it, and Python would print a traceback.
"""

import sys
from types import TracebackType


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, EOFError | FileNotFoundError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say
