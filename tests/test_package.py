"""The package as it is installed: a wheel that carries its configuration and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def unpacked(tmp_path):
    """Build the wheel from this checkout and unpack it, as an installation would."""
    pytest.importorskip("hatchling", reason="the extra `dev` is not installed")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("the tests run outside a checkout")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_the_wheel_holds_every_file_of_the_configuration_and_of_the_report(unpacked):
    conf = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert {
        path.relative_to(unpacked / "fistula" / "conf") for path in (unpacked / "fistula" / "conf").rglob("*.yaml")
    } == conf
    shipped = {
        path.relative_to(ROOT)
        for path in (ROOT / "fistula").rglob("*")
        if path.suffix in {".py", ".html", ".csv", ".typed"}
    }
    assert {path for path in shipped if not (unpacked / path).is_file()} == set()


def test_it_works_from_a_folder_that_is_no_checkout(unpacked, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    code = "import fistula; from fistula.cli import main; print(fistula.__file__); main()"
    command = [sys.executable, "-c", code, "phantom", "--help"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(str(unpacked))
    assert "patients: 58" in shown.stdout
