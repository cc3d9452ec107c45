"""Libraries where the user has no home that can be written to."""

import os
import subprocess
import sys

import pytest

MATPLOTLIB = (
    "from fistula.home import give_matplotlib_a_folder\n"
    "give_matplotlib_a_folder()\n"
    "import matplotlib\n"
    "print(matplotlib.get_configdir(), matplotlib.get_cachedir())\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a home is always named")
@pytest.mark.parametrize("can_be_written", [True, False])
def test_matplotlib_has_a_folder_that_stays_and_says_nothing(tmp_path, can_be_written):
    variables = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    home = tmp_path / "home" if can_be_written else "/dev/null/home"
    environment |= {"HOME": str(home), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", MATPLOTLIB], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    kept = [home / ".config" / "matplotlib", home / ".cache" / "matplotlib"] if can_be_written else []
    assert done.stdout.split() == [str(path) for path in kept or 2 * [tmp_path / f"matplotlib-{os.getuid()}"]]
