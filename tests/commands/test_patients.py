"""One study of patients, `unit=patient`, through every command."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import fistula
from fistula.cli import run_command
from fistula.evidence.probability.conformal import p_values
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits

from ..conftest import TRAIN
from ..predict.conftest import head, write_series

SWEEP = (
    "unit=patient", "pooling=transformer", "slices_per_step=2", "ema=0.5", "epochs=3", "optimizer.lr=3e-3",
    "sampler=class_balanced", "operating_point=sensitive", "batch_size=4", "hydra/launcher=in_process",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """The folder of a study of two folds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("patients")
        patch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
        patch.chdir(folder)
        tiny = [text for text in TRAIN if not text.startswith(("epochs", "batch_size"))]
        run_command("train", ["-m", f"cohort={made / 'cohort'}", *tiny, *SWEEP, "hydra.sweep.dir=study"])
    return folder / "study"


@pytest.fixture
def patients(trained, made, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(made / "key"))
    return trained


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_scores_each_patient_once_by_a_threshold_of_patients(patients):
    runs = sorted(path.parent for path in patients.glob("*/run.json"))
    assert len(runs) == 2
    tested = []
    for run in runs:
        record, scores = json.loads((run / "run.json").read_text()), pl.read_parquet(run / "predictions.parquet")
        val, test = (scores.filter(pl.col("part") == part) for part in ("val", "test"))
        assert set(record["metrics"]["test"]) == {"patient"}
        point = record["operating_point"]
        assert point["threshold"] == record["patient_operating_point"]["threshold"]
        found = val.filter(pl.col("label") == 1)["score"] >= point["threshold"]
        assert point["sensitivity"] == pytest.approx(found.mean())  # of patients of validation, and of nothing else
        tested += test["patient_key"].to_list()
    assert len(tested) == len(set(tested)) == 16


def test_new_patients_are_predicted_with_the_slices_that_decided_first(patients, one_patient, fistula_here, tmp_path):
    words = (f"run={patients}", f"source={one_patient}", "out=out", "overlays=all", "workers.count=1", "dicom=true")
    code, _, error = fistula_here("predict", *words)
    assert code == 0, error
    rows = table(tmp_path / "out" / "predictions.csv")
    weights = {row["slice_key"]: float(row["weight"]) for row in rows}
    assert sum(weights.values()) == pytest.approx(1)
    page = (tmp_path / "out" / "index.html").read_text()
    shown = [part.partition('"')[0] for part in page.split('class="frame" data-go="')[1:]]
    assert [weights[key] for key in shown] == sorted(weights.values(), reverse=True)
    assert "Each patient has one score, computed from all slices" in page
    # What a viewer or an archive reads, by a library that shares no code with what wrote it.
    (path,) = (tmp_path / "out" / "dicom").glob("report-*.dcm")
    groups = highdicom.sr.srread(path).content.get_image_measurement_groups()
    uids, found = {row["instance_uid"]: weights[row["slice_key"]] for row in rows}, []
    for group in groups:
        said = {one.name.meaning: float(one.value) for one in group.get_measurements()}
        if "Weight in the patient's score" in said:
            (source,) = group.source_images
            found.append((uids[source.referenced_sop_instance_uid], said["Weight in the patient's score"]))
            assert 0 <= said["Model score of the single slice"] <= 1
    assert len(found) == len(weights)
    np.testing.assert_allclose([own for own, _ in found], [told for _, told in found], atol=1e-6)
    assert [told for _, told in found] == sorted((told for _, told in found), reverse=True)
    if shutil.which("dciodvfy"):
        shown = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
        assert "Error" not in shown


def test_slices_that_are_scored_have_no_weight_in_a_report(study, one_patient, fistula_here, tmp_path):
    words = (f"run={study}", f"source={one_patient}", "out=out", "overlays=none", "workers.count=1", "dicom=true")
    assert fistula_here("predict", *words)[0] == 0
    (path,) = (tmp_path / "out" / "dicom").glob("report-*.dcm")
    assert len(highdicom.sr.srread(path).content.get_image_measurement_groups()) == 1
    assert "computed from all slices" not in (tmp_path / "out" / "index.html").read_text()


def test_a_service_answers_as_predict_does(patients, one_patient, tmp_path):
    predictor = fistula.load(patients)
    client = TestClient(create_app(lambda: predictor, UploadLimits(max_upload_mb=4)), base_url="http://127.0.0.1")
    packed = Path(shutil.make_archive(str(tmp_path / "one"), "zip", one_patient))
    answer = client.post("/predict", content=packed.read_bytes()).json()
    expected = predictor.predict(one_patient)
    assert answer["patients"][0]["score"] == pytest.approx(expected.patients["score"][0], abs=1e-12)
    told = {row["slice_key"]: row["weight"] for row in answer["slices"]}
    assert told == pytest.approx(dict(expected.slices.select("slice_key", "weight").iter_rows()), abs=1e-12)


def test_the_classes_that_remain_possible_are_those_of_known_patients(patients, phantom):
    predictor = fistula.load(patients, error=0.2)
    found = predictor.predict(phantom).patients
    stored = [pl.read_parquet(run.folder / "predictions.parquet") for run in predictor.runs]
    tested = pl.concat(stored).filter(pl.col("part") == "test")
    calibration = predictor.tested.calibration
    own = np.where(tested["label"] == 1, tested["score"], 1 - tested["score"])  # each run's own test patients
    np.testing.assert_allclose(np.sort(calibration.scores), np.sort(own), atol=1e-12)
    assert len(calibration.scores) == 16
    scores = np.stack([run_scores(predictor, index, phantom) for index in range(2)])
    fits = p_values(calibration, np.stack([1 - scores, scores], axis=2)) > 0.2
    assert found["possible"].to_list() == ["|".join(np.array(["normal", "fistula"])[row]) for row in fits]


def run_scores(predictor, index, source):
    """What one run says of patients, in the order of their keys."""
    one = fistula.predict.predictor.of_runs([predictor.runs[index]], error=0.2)
    return one.predict(source).patients.sort("patient_key")["score"].to_numpy()


def test_what_looks_unlike_all_that_was_learned_from_gets_no_answer(patients, phantom, tmp_path):
    predictor = fistula.load(patients)
    own = predictor.predict(phantom)
    assert (own.series["marks"] == "").mean() > 0.8
    strange = predictor.predict(write_series(tmp_path / "head", head()))
    assert "look unlike the training images" in strange.series["marks"][0]
    assert strange.patients["answer"].to_list() == ["abstain"]


def test_maps_explain_what_a_slice_comes_to_alone(patients, fistula_here):
    run = sorted(path.parent for path in patients.glob("*/run.json"))[0]
    code, shown, error = fistula_here("explain", f"run={run}", "tolerance_mm=8")
    assert code == 0, error
    assert "test slices with a known opening" in shown
    kept = json.loads((run / "explain.json").read_text())["grad_cam"]
    tested = pl.read_parquet(run / "slices.parquet").filter((pl.col("part") == "test") & (pl.col("label") == 1))
    assert kept["maps"]["slices"] == len(tested)
    (run / "explain.json").unlink()


@pytest.mark.slow
def test_the_report_is_of_patients_and_its_reading_room_has_their_slices(patients, fistula_here):
    code, _, error = fistula_here("report", f"study={patients}")
    assert code == 0, error
    assert {row["level"] for row in table(patients / "report" / "results.csv")} == {"patient"}
    reading = (patients / "report" / "reading.html").read_text()
    assert '"weights":[' in reading.replace(" ", "")
    shutil.rmtree(patients / "report")
