import json
import shutil

import pytest

from fistula.errors import ConfigError
from fistula.predict.runs.ensemble import load_runs

from .test_model import change


def test_a_study_gives_its_runs_in_order(study, run_folders):
    assert [run.folder for run in load_runs(study)] == run_folders
    assert [run.folder for run in load_runs(study, only="*fold1*")] == run_folders[1:]


def test_a_run_that_is_not_done_takes_no_part_and_that_is_said(copied_run, caplog):
    other = copied_run.parent / "other"
    shutil.copytree(copied_run, other)
    change(other / "run.json", state="running")
    assert len(load_runs(copied_run.parent)) == 1
    assert "1 of 2 runs are not finished and are excluded" in caplog.text


def test_runs_of_several_configurations_are_no_ensemble(copied_run):
    other = copied_run.parent / "other"
    shutil.copytree(copied_run, other)
    identity = json.loads((other / "run.json").read_text())["identity"]
    change(other / "run.json", identity=identity | {"epochs": 99})
    with pytest.raises(ConfigError, match=r"several configurations.*found other, run\. Name one with only="):
        load_runs(copied_run.parent)
    assert len(load_runs(copied_run.parent, only="run")) == 1


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must hold a finished run named like \*, found none"):
        load_runs(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        load_runs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("facts", "found"), [({"image_size": 40}, "image_size"), ({"interpolation": "nearest"}, "interpolation")]
)
def test_runs_that_are_fed_otherwise_are_no_ensemble(copied_run, facts, found):
    other = copied_run.parent / "other"
    shutil.copytree(copied_run, other)
    change(other / "run.json", **facts)
    with pytest.raises(ConfigError, match=f"holds runs that disagree in {found}, which cannot form an ensemble, found"):
        load_runs(copied_run.parent)


def test_runs_whose_cohorts_were_read_otherwise_are_no_ensemble(copied_run):
    other = copied_run.parent / "other"
    shutil.copytree(copied_run, other)
    shutil.copytree(copied_run.parent / "cohort", other / "cohort")
    change(other / "cohort" / "ingest.json", spacing_mm=2.0, classes=["no", "yes"])
    with pytest.raises(ConfigError, match="disagree in classes, spacing_mm, which cannot form an ensemble"):
        load_runs(copied_run.parent)
