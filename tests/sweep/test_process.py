import subprocess
import sys
from dataclasses import replace

import pytest

from fistula.sweep.folder.process import this_process


def test_this_process_is_alive():
    assert this_process().is_alive is True


@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        pytest.param({"pid": 2**22 + 1}, False, id="no process has this number"),
        pytest.param({"started": "1"}, False, id="another process has the number now"),
        pytest.param({"boot": "before the reboot", "machine": "m"}, False, id="the machine has started anew since"),
        pytest.param({"host": "elsewhere"}, None, id="another machine"),
        pytest.param({"boot": "of another container", "machine": ""}, None, id="a machine that cannot be told apart"),
    ],
)
def test_a_process_is_judged_only_where_it_can_be_seen(changes, alive, monkeypatch):
    here = replace(this_process(), machine=changes.get("machine", "m"))
    monkeypatch.setattr("fistula.sweep.folder.process.this_process", lambda: here)
    assert replace(here, **changes).is_alive is alive


def test_a_killed_process_that_nobody_has_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process = replace(this_process(), pid=child.pid, started=_started(child.pid))
    assert process.is_alive is True
    child.kill()
    # The kernel needs a moment, but never a parent.
    while process.is_alive:
        pass
    child.wait()


def _started(pid):
    from fistula.sweep.folder.process import _started as started

    return started(pid)
