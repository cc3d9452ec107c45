import json

import polars as pl
import pytest
from omegaconf import OmegaConf

from fistula.cli import config_folder

from ..learning.read_wandb import read_wandb
from ..report.conftest import write_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study")


def test_a_report_ends_with_the_path_of_its_page(fistula_here, study):
    code, shown, error = fistula_here("report", f"study={study}", "resamples=20")
    assert (code, error) == (0, "")
    assert shown.splitlines()[0] == "6 finished runs in 2 configurations"
    assert shown.splitlines()[-1] == str(study / "report" / "index.html")
    ensemble = f"run={study} 'only=resnet18-transfer-patient_kfold-fold*-seed*'"
    assert f"next: fistula predict {ensemble} source=DIR out=scores" in shown
    assert (study / "report" / "index.html").is_file()
    code, shown, _ = fistula_here("report", f"study={study}", "verify=true")
    assert code == 0
    assert shown.endswith("numbers recomputed from the stored predictions, all as reported\n")
    path = study / "report" / "report.json"
    path.write_text(path.read_text().replace('"value": 90', '"value": 91', 1))
    code, _, error = fistula_here("report", f"study={study}", "verify=true")
    assert code == 2
    assert "every number must follow from the stored predictions, found 1 of" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resamples=0", "resamples: must be at least 1, found 0"),
        ("primary=study", "primary: must be one of auto, slice, patient, found study"),
        ("scaling=isotonic", "scaling: must be one of platt, temperature, found isotonic"),
        ("maps=some", "maps: must be one of best, all, none, found some"),
        ("margin=0", "margin: must lie between 0 and 1, found 0"),
        ("prevalence=2", "prevalence: must lie between 0 and 1, found 2"),
    ],
)
def test_settings_that_no_report_can_have_are_refused(fistula_here, study, override, message):
    code, _, error = fistula_here("report", f"study={study}", override)
    assert code == 2
    assert message in error
    assert not (study / "report").exists()


def test_an_empty_folder_is_one_line(fistula_here, tmp_path):
    code, _, error = fistula_here("report", f"study={tmp_path}")
    assert code == 2
    assert "must hold a finished run, found no run" in error
    assert len(error.strip().splitlines()) == 1


def test_a_report_without_maps_needs_neither_torch_nor_dicom(fistula, study):
    shown = fistula("report", f"study={study}", "resamples=20", "maps=none", PYTHONPROFILEIMPORTTIME="1")
    assert shown.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "matplotlib" in imported
    assert not imported & {"torch", "pydicom", "pytorch_lightning", "timm", "wandb"}


@pytest.fixture
def tracked_study(study):
    """The study, its runs' configurations saying that they were told to W&B."""
    logger = OmegaConf.load(config_folder() / "logger" / "wandb.yaml")
    logger.wandb.update(name="run", group=study.name, tags=[], save_dir=str(study / "run"), mode="offline")
    for run in study.glob("resnet18*"):
        OmegaConf.save({"logger": logger}, run / "config.yaml")
    return study


@pytest.mark.slow
def test_where_its_runs_were_told_to_wandb_a_study_has_a_run_of_its_results(fistula, tracked_study):
    for _ in range(2):  # the second takes the place of the first
        shown = fistula("report", f"study={tracked_study}", "resamples=20", "maps=none")
        assert (shown.returncode, shown.stderr) == (0, "")
    (path,) = tracked_study.glob("wandb/offline-run-*/*.wandb")
    told = read_wandb(path)
    assert told["run"] == {
        "id": path.stem.removeprefix("run-"), "project": "fistula", "name": "study report", "group": "study",
    }  # fmt: skip
    assert told["exit"] == 0
    table = json.loads((path.parent / "files" / told["summary"]["results.path"]).read_text())
    results = pl.read_csv(tracked_study / "report" / "results.csv", infer_schema_length=None)
    assert table["columns"] == results.columns
    assert len(table["data"]) == results.height
    files = told["artifacts"]["study-report"]
    assert {"index.html", "results.csv", "report.json"} <= set(files)
    assert "reading.html" not in files  # it holds the patients' images


def test_a_report_is_whole_without_wandb(fistula_here, tracked_study, monkeypatch):
    (tracked_study / "wandb").write_text("in the way of its folder")
    code, shown, _ = fistula_here("report", f"study={tracked_study}", "resamples=20", "maps=none")
    assert code == 0
    assert shown.splitlines()[-1] == str(tracked_study / "report" / "index.html")
