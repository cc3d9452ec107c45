"""Three classes, from the table of labels to every way of using a run."""

import json

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from sklearn.metrics import roc_auc_score

import fistula
from fistula.predict.exported.write import export
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits

from ..conftest import TRAIN, run_command

pytestmark = pytest.mark.slow
CLASSES = ["none", "low", "high"]


def cohort_of_three(phantom, folder):
    """The phantom's patients, dealt out to three classes, as a cohort."""
    files = sorted(phantom.rglob("*.dcm"))
    patients = sorted({file.parent for file in files})
    lines = [f"{file.relative_to(phantom)},{CLASSES[patients.index(file.parent) % 3]}" for file in files]
    folder.parent.mkdir(exist_ok=True)
    labels = folder.with_suffix(".csv")
    labels.write_text("\n".join(["path,label", *lines]) + "\n")
    source = [f"source={phantom}", f"labels={labels}", f"out={folder}", "classes=[none,low,high]"]
    run_command("ingest", [*source, "size=64", "spacing_mm=1", "workers.count=1"])
    return folder


@pytest.fixture(scope="module")
def study_of_three(made, tmp_path_factory):
    """Two folds of a network on the phantom, whose patients were dealt out to three classes."""
    folder = tmp_path_factory.mktemp("three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
        cohort = cohort_of_three(made / "phantom", folder / "cohort")
        train = ["-m", f"cohort={cohort}", *TRAIN, "hydra/launcher=in_process"]
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


def test_three_classes_are_scored_where_nothing_is_drawn(study_of_three, phantom, study, fistula_here, tmp_path):
    run = sorted(path.parent for path in study_of_three.glob("*/run.json"))[0]
    code, _, err = fistula_here("predict", f"run={run}", f"source={phantom}", "out=scores", "overlays=none")
    assert code == 0, err
    assert set(pl.read_csv(tmp_path / "scores" / "predictions.csv")["decision"]) <= set(CLASSES)


def test_three_classes_are_shifted_evaluated_outside_and_reported(study_of_three, other, fistula_here, study, tmp_path):
    code, _, err = fistula_here("evaluate", f"run={study_of_three}", "shifts=true")
    assert code == 0, err
    hospital = cohort_of_three(other.parent / "phantom", tmp_path / "hospital")
    code, shown, err = fistula_here("evaluate", f"run={study_of_three}", f"cohort={hospital}")
    assert code == 0, err
    folder = study_of_three / "external" / "hospital"
    record = json.loads((folder / "evaluate.json").read_text())
    numbers, table = record["numbers"], pl.read_parquet(folder / "predictions.parquet")
    # Each patient by the mean of slices and runs, each class by itself and all of them at once.
    columns = [f"score_{name}" for name in CLASSES]
    means = table.group_by("patient_key").agg(pl.col("label").first(), pl.col(columns).mean())
    truth, scores = np.eye(3)[means["label"]], means.select(columns).to_numpy()
    areas = [roc_auc_score(truth[:, number], scores[:, number]) for number in range(3)]
    for name, area in zip(CLASSES, areas, strict=True):
        said = numbers[f"outside / hospital / {name} / patient / auroc"]["value"]
        assert said == pytest.approx(area, rel=1e-12)
        assert f"{name}, per patient: AUROC {area:.3f}" in shown
    place = "outside / hospital / all classes / patient"
    assert numbers[f"{place} / macro_auroc"]["value"] == pytest.approx(np.mean(areas), rel=1e-12)
    right = scores.argmax(axis=1) == truth.argmax(axis=1)
    assert numbers[f"{place} / accuracy"]["value"] == pytest.approx(right.mean())
    assert f"all classes, per patient: macro AUROC {np.mean(areas):.3f}" in shown
    code, _, err = fistula_here("report", f"study={study_of_three}", "resamples=20", "maps=none")
    assert code == 0, err
    page = (study_of_three / "report" / "index.html").read_text()
    assert 'id="robustness"' in page
    assert "16 patients of the external cohort hospital (" in page
    reported = json.loads((study_of_three / "report" / "report.json").read_text())["numbers"]
    inside = reported[next(name for name in reported if name.startswith("all classes") and "macro" in name)]["value"]
    single = reported[f"{place} / macro_auroc of single networks"]["value"]
    assert reported[f"{place} / macro_auroc internal minus external"]["value"] == pytest.approx(inside - single)
    for table, value in (("outside", np.mean(areas)), ("results", inside)):
        lines = pl.read_csv(study_of_three / "report" / f"{table}.csv", infer_schema_length=None)
        (line,) = lines.filter((pl.col("class") == "all classes") & pl.col("macro_auroc").is_not_null()).to_dicts()
        assert line["level"] == "patient"
        assert line["macro_auroc"] == pytest.approx(value)
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
