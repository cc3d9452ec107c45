"""The package as it is installed: a wheel that carries its configuration and works from any folder."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from fistula import __version__
from fistula.mistakes import EXTRAS, mistake_behind

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_OURS = {"dev", "gpl-decoders", "weights"}  # extras that no command imports by name
# What only an extra brings, by the end of the command that asks for it; the third of them stands for any run.
NEEDS = {
    "serve run={run}": "serve",
    "export run={run} out=exported": "onnx",
    "predict run={run} source=phantom out=dicom dicom=true": "dicom",
    "predict run={run} source=dimse://PACS@127.0.0.1:4242/1.2.3 out=dimse": "dicom",
    "predict run={run} source=dicomweb://127.0.0.1:8042/dicom-web/studies/1.2.3 out=web": "dicom",
    "train -m cohort=cohort study=quick hydra/launcher=ray": "cluster",
    "train -m cohort=cohort study=quick hydra/launcher=slurm": "cluster",
    "train -m cohort=cohort study=tune": "optuna",
    "train cohort=cohort learning=end_to_end logger=mlflow": "tracking",
    "train cohort=cohort learning=end_to_end logger=tensorboard": "tracking",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from this checkout."""
    pytest.importorskip("hatchling", reason="the extra `dev` is not installed")
    if not PROJECT.is_file():
        pytest.skip("the tests run outside a checkout")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_source_archive_holds_all_that_its_tests_read(tmp_path):
    pytest.importorskip("hatchling", reason="the extra `dev` is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        held = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    read = {
        path for folder in ("fistula", "conf", "docs", "tests", "benchmarks") for path in (ROOT / folder).rglob("*")
    }
    read |= {ROOT / name for name in ("README.md", "SECURITY.md", "CITATION.cff", "Makefile", "requirements.lock")}
    files = {path.relative_to(ROOT) for path in read if path.is_file() and "__pycache__" not in path.parts}
    assert files - held == set()


@pytest.fixture
def unpacked(wheel, tmp_path):
    """Unpack the wheel, as an installation would."""
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


def test_the_version_stands_in_one_place_and_the_changelog_and_the_citation_agree_with_it():
    assert tomllib.loads(PROJECT.read_text())["tool"]["hatch"]["version"]["path"] == "fistula/__init__.py"
    release = re.search(r"^## \[(\d\S*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert release[1] == __version__
    cited = (ROOT / "CITATION.cff").read_text().splitlines()
    assert {f"version: {__version__}", f"date-released: {release[2]}"} <= set(cited)


def test_every_package_of_an_extra_is_known_by_the_name_that_is_imported():
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    promised = {
        (re.match(r"[\w-]+", requirement)[0].lower(), extra)
        for extra in set(extras) - NOT_OURS
        for requirement in extras[extra]
    } - {("python-multipart", "serve")}  # FastAPI imports it
    brought_by = packages_distributions()
    known = {(distribution.lower(), extra) for name, extra in EXTRAS.items() for distribution in brought_by[name]}
    parts = {("mlflow-skinny", "tracking"), ("mlflow-tracing", "tracking")}  # of mlflow
    assert known - parts == promised


@pytest.mark.parametrize("name", EXTRAS)
def test_without_an_extra_the_error_names_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        importlib.import_module(name)
    said = str(mistake_behind(caught.value, "train", keys=[], folder=Path()))
    assert said == (f"fistula train: needs {name}, which is not installed. pip install 'fistula[{EXTRAS[name]}]'")


def test_a_bug_behind_an_import_keeps_its_traceback():
    error = ImportError("cannot import name 'x' from 'fistula.array'")
    assert mistake_behind(error, "train", keys=[], folder=Path()) is None


@pytest.fixture
def uv():
    found = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(found).is_file():
        pytest.skip("uv is not installed")
    return found


def find_python(uv: str, version: str) -> str:
    """The interpreter of this version, also one of pyenv's that is not the chosen one; skips the test without."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")):
        return str(path)
    command = [uv, "python", "find", "--no-python-downloads", version]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"Python {version} is not installed")
    return found.stdout.strip()


# The command line, once for each line of its input: what every call of its own would import is imported once.
CALLS = """
import sys
from fistula.cli import main
for line in sys.stdin:
    sys.argv = ["fistula", *line.split()]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print(f"ended with {code}: {line.strip()}", file=sys.stderr, flush=True)
"""
STEPS = (
    "phantom out=phantom patients=8 controls=8 supersampling=1",
    "ingest source=phantom labels=phantom/labels.csv classes=[normal,fistula] out=cohort size=48 spacing_mm=1.3",
    "train -m cohort=cohort study=quick learning=transfer epochs=1 augmentation=none image_size=48",
    "report study=multirun/quick resamples=50",
    "predict run=multirun/quick source=phantom out=scores",
)


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_alone_goes_from_a_phantom_to_scores(uv, wheel, tmp_path, version):
    python, environment = find_python(uv, version), tmp_path / "environment"
    variables = os.environ | {"FISTULA_PSEUDONYM_KEY_FILE": str(tmp_path / "key"), "WANDB_MODE": "offline"}
    variables.pop("PYTHONPATH", None)
    subprocess.run([uv, "venv", "--quiet", "--python", python, str(environment)], check=True)
    own = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", own, f"{wheel}[weights]"], check=True, timeout=500)
    (tmp_path / "elsewhere").mkdir()
    settings = {"cwd": tmp_path / "elsewhere", "env": variables, "capture_output": True, "text": True, "timeout": 500}
    shown = subprocess.run([environment / "bin" / "fistula", "--version"], **settings)
    assert shown.stdout == f"fistula {__version__}\n"

    def calls(lines: Sequence[str]) -> list[str]:
        shown = subprocess.run([own, "-c", CALLS], input="\n".join(lines), **settings)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        return shown.stderr.splitlines()

    said = calls(STEPS)
    assert [line for line in said if line.startswith("ended")] == [f"ended with 0: {step}" for step in STEPS], said
    assert (tmp_path / "elsewhere" / "scores" / "predictions.csv").read_text().count("\n") > 16
    if version == PYTHONS[0]:
        (run,) = (tmp_path / "elsewhere" / "multirun" / "quick").glob("*transfer*")
        lines = [arguments.format(run=f"multirun/quick/{run.name}") for arguments in NEEDS]
        said = calls(lines)
        assert said[1::2] == [f"ended with 2: {line}" for line in lines], said
        for error, extra in zip(said[::2], NEEDS.values(), strict=True):
            assert f"pip install 'fistula[{extra}]'" in error


@pytest.mark.parametrize("place", ["learning.adjacent.channel_rows", "dicom.identity.read_pseudonyms"])
def test_what_scripts_of_others_import_is_where_it_was(place):
    module, _, name = place.rpartition(".")
    assert callable(getattr(importlib.import_module(f"fistula.{module}"), name))
