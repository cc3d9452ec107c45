import subprocess
import sys
import time

import pytest

from fistula import __version__, cli


def test_help_lists_every_command(fistula):
    shown = fistula("--help")
    assert shown.returncode == 0
    assert all(f"  {command}" in shown.stdout for command in cli.COMMANDS)


def test_help_imports_nothing_heavy():
    """Help answers in under half a second; what costs time is importing, so that is what is held to account."""
    code = "import sys; sys.argv = ['fistula']; from fistula.cli import main; main(); print(len(sys.modules))"
    code += "; print([name for name in ('torch', 'hydra', 'polars', 'numpy', 'pydicom') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def test_version(fistula):
    assert fistula("--version").stdout == f"fistula {__version__}\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(fistula, command):
    shown = fistula(command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"fistula {command}")
    assert "options (key=value)" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["trian"], "trian: is not a command. Did you mean train?", id="command"),
        pytest.param(["train", "cohort=x", "model=resnet43"], "Did you mean resnet34", id="option of a group"),
        pytest.param(["train", "cohort=x", "epoch=3"], "epoch", id="key"),
        pytest.param(["train", "cohort=x", "epochs=1,2"], "error: configuration", id="a sweep without -m"),
        pytest.param(["train"], "cohort", id="a mandatory key"),
    ],
)
def test_a_misspelling_is_one_line_and_exit_code_2(fistula, tmp_path, arguments, message):
    shown = fistula(*arguments)
    assert shown.returncode == 2
    assert message in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1, shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(fistula):
    shown = fistula("trian", FISTULA_DEBUG="1")
    assert "Traceback" in shown.stderr


def test_help_answers_soon():
    """A wide margin over the promised half second: this machine may be busy. See test_help_imports_nothing_heavy."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fistula.cli", "--help"], check=True, capture_output=True)
    assert time.perf_counter() - start < 5
