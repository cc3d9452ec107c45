"""Three classes, from the table of labels to every way of using a run."""

import json

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import fistula
from fistula.errors import ConfigError
from fistula.predict.exported.write import export
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits

from ..conftest import TRAIN, run_command

pytestmark = pytest.mark.slow
CLASSES = ["none", "low", "high"]


@pytest.fixture(scope="module")
def study_of_three(made, tmp_path_factory):
    """Two folds of a network on the phantom, whose patients were dealt out to three classes."""
    folder = tmp_path_factory.mktemp("three")
    files = sorted((made / "phantom").rglob("*.dcm"))
    patients = sorted({file.parent for file in files})
    lines = [f"{file.relative_to(made / 'phantom')},{CLASSES[patients.index(file.parent) % 3]}" for file in files]
    (folder / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
        source = [f"source={made / 'phantom'}", f"labels={folder / 'labels.csv'}", f"out={folder / 'cohort'}"]
        run_command("ingest", [*source, "classes=[none,low,high]", "size=64", "spacing_mm=1", "workers.count=1"])
        train = ["-m", f"cohort={folder / 'cohort'}", *TRAIN, "hydra/launcher=in_process"]
        run_command("train", [*train, f"hydra.sweep.dir={folder / 'study'}"])
    return folder / "study"


def test_the_score_of_an_ingested_slice_is_that_of_training(study_of_three, phantom, study):
    run = sorted(path.parent for path in study_of_three.glob("*/run.json"))[0]
    predictor = fistula.load(run)
    found = predictor.predict(phantom).slices
    assert found["decision"].is_in(CLASSES).all()
    columns = [f"score_{name}" for name in CLASSES]
    stored = predictor.runs[0].predictions.join(found.select("slice_key", *columns), on="slice_key", suffix="_new")
    assert len(stored) == len(predictor.runs[0].predictions)
    for column in columns:
        np.testing.assert_allclose(stored[f"{column}_new"], stored[column], rtol=0, atol=1e-6)


def test_three_classes_are_shifted_and_reported(study_of_three, fistula_here, study):
    code, _, err = fistula_here("evaluate", f"run={study_of_three}", "shifts=true")
    assert code == 0, err
    code, _, err = fistula_here("report", f"study={study_of_three}", "resamples=20", "maps=none")
    assert code == 0, err
    assert 'id="robustness"' in (study_of_three / "report" / "index.html").read_text()
    assert fistula_here("report", f"study={study_of_three}", "verify=true")[0] == 0


def test_a_set_of_classes_stands_in_every_answer(study_of_three, one_patient, tmp_path, fistula_here, study):
    arguments = (f"run={study_of_three}", f"source={one_patient}", "out=answer", "error=0.3")
    code, out, err = fistula_here("predict", *arguments)
    assert code == 0, out + err
    (patient,) = pl.read_csv(tmp_path / "answer" / "patients.csv").to_dicts()
    possible = patient["possible"].split("|") if patient["possible"] else []
    assert possible == [name for name in CLASSES if name in possible]
    assert patient["answer"] == (possible[0] if possible == [patient["decision"]] else "abstain")
    assert f"<td>{' or '.join(possible) or 'none'}</td>" in (tmp_path / "answer" / "index.html").read_text()
    with TestClient(
        create_app(lambda: fistula.load(study_of_three, error=0.3), UploadLimits()), "http://localhost"
    ) as client:
        served = client.post("/predict", content=sorted(one_patient.glob("*.dcm"))[0].read_bytes())
    assert set(served.json()["patients"][0]["possible"].split("|")) <= {*CLASSES, ""}


def test_few_known_patients_keep_every_class_possible_and_say_so(study_of_three, one_patient, study):
    found = fistula.load(study_of_three, error=0.01).predict(one_patient)
    assert found.patients["possible"].to_list() == ["none|low|high"]
    assert found.patients["answer"].to_list() == ["abstain"]
    assert (
        "too few known patients to exclude none or low or high at an error of 0.01: all abstain"
        in (found.summary["notes"])
    )


def test_the_exported_model_scores_three_classes(study_of_three, tmp_path):
    runs = fistula.load(study_of_three).runs
    assert export(runs, tmp_path, kind="onnx").difference < 1e-6
    assert "| high slice | auroc |" in (tmp_path / "MODEL_CARD.md").read_text()
    assert json.loads((tmp_path / "export.json").read_text())["classes"] == CLASSES
    with pytest.raises(ConfigError, match=r"int8: is for two classes.*found 3 classes"):
        export(runs[:1], tmp_path, kind="onnx", int8=True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["predict", "dicom=true"], "dicom: is for two classes and DICOM images"),
        (["explain"], "must have two classes, of which the second has an opening"),
    ],
)
def test_what_makes_no_sense_of_three_classes_is_refused(
    study_of_three, tmp_path, fistula_here, study, command, message
):
    # No such source: it is refused before anything is read.
    of_new = ["source=nowhere", "out=answer"] if command[0] == "predict" else []
    code, _, err = fistula_here(command[0], f"run={study_of_three}", *of_new, *command[1:])
    assert code == 2
    assert message in err
    assert not (tmp_path / "answer").exists()
