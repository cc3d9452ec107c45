import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import polars as pl
import pytest
from omegaconf import OmegaConf
from wandb_workspaces.workspaces import Workspace, internal

from fistula.cli import config_folder

from ..learning.read_wandb import read_wandb
from ..report.conftest import write_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study")


def test_a_report_ends_with_the_path_of_its_page(fistula_here, study):
    code, shown, error = fistula_here("report", f"study={study}", "resamples=20")
    assert (code, error) == (0, "")
    assert shown.splitlines()[0] == "6 finished runs of 2 configurations"
    assert shown.splitlines()[-1] == str(study / "report" / "index.html")
    ensemble = f'run={study} "only=resnet18-transfer-patient_kfold-fold*-seed*"'
    assert f"next: fistula predict {ensemble} source=DIR out=scores" in shown
    assert (study / "report" / "index.html").is_file()
    code, shown, _ = fistula_here("report", f"study={study}", "verify=true")
    assert code == 0
    assert shown.endswith("numbers recomputed from the stored predictions, all as reported\n")
    code, _, error = fistula_here("report", f"study={study}", "verify=true", "primary=slice")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: primary: has no influence on verify=true")
    path = study / "report" / "report.json"
    path.write_text(path.read_text().replace('"value": 90', '"value": 91', 1))
    code, _, error = fistula_here("report", f"study={study}", "verify=true")
    assert code == 2
    assert "every number must follow from the stored predictions, found 1 of" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resamples=0", "resamples: must be at least 1 and at most 1000000, found 0"),
        ("resamples=99999999999999999999", "resamples: must be at least 1 and at most 1000000"),
        ("readers=[]", "readers: must name files, found []"),
        ("readers=none.csv", "readers: must name files, found none.csv. Check the path"),
        ("scores=none.csv", "scores: must name files, found none.csv. Check the path"),
        ("primary=study", "primary: must be one of auto, slice, patient, found study"),
        ("scaling=isotonic", "scaling: must be platt or temperature, found isotonic"),
        ("maps=some", "maps: must be one of best, all, none, found some"),
        ("margin=0", "margin: must lie between 0 and 1, found 0"),
        ("prevalence=2", "prevalence: must lie between 0 and 1, found 2"),
        ("cutoff=50", "cutoff: needs readers, found 50. Add readers=FILE, or leave it out"),
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
        "host": "",
    }  # fmt: skip
    assert told["exit"] == 0
    table = json.loads((path.parent / "files" / told["summary"]["results.path"]).read_text())
    results = pl.read_csv(tracked_study / "report" / "results.csv", infer_schema_length=None)
    assert table["columns"] == results.columns
    assert len(table["data"]) == results.height
    files = told["artifacts"]["study-report"]
    assert {"index.html", "results.csv", "report.json"} <= set(files)
    assert "reading.html" not in files  # it holds the patients' images


class Views(ThreadingHTTPServer):
    """Stands for W&B's server, which cannot be had here: it knows one user, and keeps the pages that it is sent."""

    def __init__(self):
        self.views = []
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if "upsertView" in asked["query"]:
            self.server.views.append(asked["variables"])
            found = {"upsertView": {"view": {"id": "v", "name": asked["variables"]["name"]}, "inserted": True}}
        content = json.dumps({"data": found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def wandb_server():
    with Views() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.slow
def test_a_page_of_the_study_is_laid_out_at_wandb_and_reads_back(fistula, tracked_study, wandb_server):
    address = f"http://127.0.0.1:{wandb_server.server_port}"
    variables = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40}
    for _ in range(2):  # the second takes the place of the first
        shown = fistula("report", f"study={tracked_study}", "workspace=me", "resamples=20", "maps=none", **variables)
        assert (shown.returncode, shown.stderr) == (0, "")
    first, second = wandb_server.views
    assert first["name"] == second["name"]
    assert (first["entityName"], first["projectName"], first["displayName"]) == ("me", "fistula", "fistula: study")
    assert f"W&B: {address}/me/fistula?nw={first['name'][3:-2]}\n" in shown.stdout
    spec = internal.WorkspaceViewspec.model_validate_json(first["spec"])
    view = internal.View(entity="me", project="fistula", display_name="", name=first["name"], id="v", spec=spec)
    page = Workspace._from_model(view)
    settings, training = page.sections
    drawn = [(str(getattr(column.metric, "name", column.metric))) for column in settings.panels[0].columns]
    assert drawn == [
        "factors.model", "factors.learning", "factors.epochs", "factors.augmentation", "test/patient/auroc",
    ]  # fmt: skip
    assert [panel.groupby.name for panel in settings.panels[1:]] == drawn[:-1]
    assert [metric.name for panel in training.panels for metric in panel.y] == ["val/auroc", "val/loss", "train/loss"]
    assert page.runset_settings.filters == "Metric(\"Group\") == 'study' and Metric(\"JobType\") == 'train'"


def test_a_page_at_wandb_is_refused_before_the_report_where_it_cannot_be(
    fistula_here, study, tracked_study, monkeypatch
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(study / "none"))
    code, _, error = fistula_here("report", f"study={tracked_study}", "workspace=me", "resamples=20")
    assert (code, error.count("\n")) == (2, 1)
    assert "workspace: needs W&B online (there is no key; `wandb login` asks for one)" in error
    for path in study.glob("*/config.yaml"):
        path.unlink()
    code, _, error = fistula_here("report", f"study={study}", "workspace=me", "resamples=20")
    assert code == 2
    assert "workspace: needs a study whose runs were logged to W&B, found study" in error
    assert not (study / "report").exists()


@pytest.mark.slow
def test_a_report_is_whole_without_wandb(fistula_here, tracked_study, monkeypatch):
    (tracked_study / "wandb").write_text("in the way of its folder")
    code, shown, _ = fistula_here("report", f"study={tracked_study}", "resamples=20", "maps=none")
    assert code == 0
    assert shown.splitlines()[-1] == str(tracked_study / "report" / "index.html")
