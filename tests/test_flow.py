"""The whole way: synthetic DICOM, cohort, sweep, report, through the command line."""

import json
import os
import shutil
import subprocess
import sys

import pytest

TINY_COHORT = (
    "patients=8",
    "controls=8",
    "slices.positive=2",
    "slices.negative=0",
    "slices.control=2",
    "supersampling=1",
)
TINY_STUDY = (
    "study=quick",
    "model.architecture=test_resnet",
    "learning=end_to_end",
    "image_size=32",
    "epochs=1,2",
    "hydra/launcher=in_process",
)


def chain(out):
    """The four commands, each with its arguments."""
    return (
        ("phantom", f"out={out}/phantom", *TINY_COHORT),
        (
            "ingest",
            f"source={out}/phantom",
            f"labels={out}/phantom/labels.csv",
            f"out={out}/cohort",
            "size=64",
            "classes=[normal,fistula]",
        ),
        ("train", "-m", f"cohort={out}/cohort", *TINY_STUDY, f"hydra.sweep.dir={out}/study"),
        ("report", f"study={out}/study", "resamples=50"),
    )


@pytest.mark.slow
def test_four_commands_lead_from_nothing_to_a_report_and_write_nowhere_else(fistula_here, tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    for command in chain("data"):
        code, shown, error = fistula_here(*command)
        assert code == 0, error
        print(shown)
    assert (tmp_path / "data" / "study" / "report" / "index.html").is_file()
    assert len(list((tmp_path / "data" / "study").glob("*/run.json"))) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"data", "key"}
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"phantom", "cohort", "study"}


@pytest.mark.slow
def test_no_stop_needs_a_network(tmp_path):
    """Every command in a network namespace that has no interface but loopback."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no network namespaces")
    environment = os.environ | {"FISTULA_PSEUDONYM_KEY_FILE": str(tmp_path / "key")}
    for command in chain(tmp_path):
        script = 'ip link set lo up 2>/dev/null; exec "$@"'
        call = ["unshare", "-rn", "sh", "-c", script, "sh", sys.executable, "-m", "fistula.cli", *command]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_second_sweep_trains_nothing_and_a_second_report_says_the_same(fistula_here, tmp_path, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    for command in chain("data"):
        assert fistula_here(*command)[0] == 0
    study = tmp_path / "data" / "study"
    before = {path: path.read_bytes() for path in study.glob("*/predictions.parquet")}
    numbers = json.loads((study / "report" / "report.json").read_text())["numbers"]
    for command in chain("data")[2:]:
        assert fistula_here(*command)[0] == 0
    assert {path: path.read_bytes() for path in study.glob("*/predictions.parquet")} == before
    assert json.loads((study / "report" / "report.json").read_text())["numbers"] == numbers
