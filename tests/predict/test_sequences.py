"""A run that looks at two sequences, from training to every way of using it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from fastapi.testclient import TestClient

import fistula
from fistula.cohort.manifest import read_cohort
from fistula.errors import DataError
from fistula.predict.exported.write import export
from fistula.predict.out.write import draw_overlays
from fistula.predict.outside import refuse_unlike
from fistula.predict.runs.model import load_run
from fistula.predict.source import reading
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits
from fistula.source.workers import Workers
from tests.conftest import TINY_RUN, run_command
from tests.two_sequences import OPTIONS, stack, tree

PATIENTS = 12
pytestmark = pytest.mark.slow
TRAINED = (*TINY_RUN, "model.channels=sequences", "image_size=24", "num_workers=0")


@pytest.fixture(scope="module")
def made(key_of_all, tmp_path_factory):
    """A tree, a cohort of which every third patient lacks T2, and a run of it; another of those who have both."""
    folder = tmp_path_factory.mktemp("sequences")
    tree(folder, patients=PATIENTS, lacking=(0, 3, 6, 9), corner=(-21.5, -22, 1), gap=3.1, slices=8, spacing=(1.7, 2.4))
    told = [f"source={folder / 'tree'}", f"labels={folder / 'labels.csv'}", *OPTIONS]
    run_command("ingest", [*told, f"out={folder / 'masked'}", "missing=mask"])
    run_command("train", [f"cohort={folder / 'masked'}", *TRAINED, f"hydra.run.dir={folder / 'run'}"])
    return folder


@pytest.fixture(scope="module")
def strict(made, tmp_path_factory):
    """A run of patients who all have both."""
    folder = tmp_path_factory.mktemp("strict")
    tree(folder, patients=PATIENTS)
    run_command("ingest", [f"source={folder / 'tree'}", f"labels={folder / 'labels.csv'}", *OPTIONS,
                           f"out={folder / 'cohort'}"])  # fmt: skip
    run_command("train", [f"cohort={folder / 'cohort'}", *TRAINED, f"hydra.run.dir={folder / 'run'}"])
    return folder


def test_the_score_of_an_ingested_slice_is_that_of_training(made):
    predictor = fistula.load(made / "run", device="cpu")
    found = predictor.predict(made / "tree")
    new = found.slices.select("slice_key", pl.col("score").alias("new"))
    stored = predictor.runs[0].predictions.join(new, on="slice_key")
    assert len(stored) == len(predictor.runs[0].predictions) > 0
    assert len(found.slices) == PATIENTS * 5
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    assert "t2 is missing in 4 patients: blank, as in training" in " ".join(found.summary["notes"])


def test_the_second_sequence_and_its_lack_count(made):
    run = load_run(made / "run")
    grid = run.cohort.grid
    images = run.images(grid["row"].to_numpy())
    assert images.shape[1] == 3
    is_blank = (images[:, 2] == 255).flatten(1).all(dim=1)
    assert is_blank.sum() == 4 * 5
    assert not images[is_blank, 1].any()
    logits = run.classifier(images[~is_blank])
    without = images[~is_blank].clone()
    without[:, 1] = 0
    assert not torch.allclose(run.classifier(without), logits)
    without = images[~is_blank].clone()
    without[:, 2] = 255
    assert not torch.allclose(run.classifier(without), logits)


def test_a_patient_who_lacks_one_is_not_scored_unless_training_had_such(strict, tmp_path):
    predictor = fistula.load(strict / "run", device="cpu")
    stack(tmp_path / "one", "T1", patient=90)
    with pytest.raises(DataError, match="must hold each sequence that the run was trained on"):
        predictor.predict(tmp_path / "one")
    stack(tmp_path / "both", "T1", patient=90)
    stack(tmp_path / "both", "T1", patient=91)
    stack(tmp_path / "both", "T2", patient=91)
    found = predictor.predict(tmp_path / "both")
    assert len(found.slices) == 5
    assert found.left_out["reason"].value_counts().sort("reason").rows()[0] == ("of a patient who lacks t2", 5)


def test_a_second_sequence_of_which_half_did_not_arrive_is_said(strict, tmp_path):
    shutil.copytree(strict / "tree" / "P02", tmp_path / "P02")
    found = fistula.load(strict / "run", device="cpu").predict(tmp_path / "P02")
    assert "covers less than half" not in " ".join(found.summary["notes"])
    files = [path for path in (tmp_path / "P02").rglob("*.dcm") if path.name.startswith("T2")]
    for path in sorted(files)[: len(files) // 2]:
        path.unlink()
    found = fistula.load(strict / "run", device="cpu").predict(tmp_path / "P02")
    assert any(note.startswith("slices of which t2 covers less than half: ") for note in found.summary["notes"])


def test_what_is_exported_scores_as_the_run(made, tmp_path):
    run = load_run(made / "run")
    for kind in ("onnx", "torchscript"):
        (tmp_path / kind).mkdir()
        assert export([run], tmp_path / kind, kind=kind).difference <= 1e-6
    said = json.loads((tmp_path / "onnx" / "export.json").read_text())["input"]
    assert said["shape"] == ["N", 3, 24, 24]
    assert said["channels"] == ["t1c", "t2", "t2 lacks: 255 where it is absent and its own channel is 0, else 0"]
    assert "Channels: t1c; t2; t2 lacks" in (tmp_path / "onnx" / "MODEL_CARD.md").read_text()


def test_maps_are_drawn_on_the_slices_of_the_first_sequence(made):
    predictor = fistula.load(made / "run", device="cpu")
    with reading(made / "tree", predictor.reader, Workers(1)) as slices:
        drawn, _ = draw_overlays(predictor, slices, predictor.judge(slices), which="all")
    assert len(drawn) == PATIENTS * 5


def test_a_service_takes_both_series_and_its_page_shows_both(strict, made, tmp_path):
    for patient in (90, 91):
        stack(tmp_path / "both", "T1", patient=patient)
        stack(tmp_path / "one", "T1", patient=patient)
    stack(tmp_path / "both", "T2", patient=90)
    stack(tmp_path / "both", "T2", patient=91, slices=3)  # of five
    packed = {name: shutil.make_archive(str(tmp_path / name), "zip", tmp_path / name) for name in ("both", "one")}
    upload = {name: Path(path).read_bytes() for name, path in packed.items()}
    lacking = {"strict": 422, "masked": 200}  # a T2 of nobody
    for name, folder in (("strict", strict), ("masked", made)):
        predictor = fistula.load(folder / "run", device="cpu")
        app = create_app(lambda one=predictor: one, UploadLimits(max_upload_mb=8))
        client = TestClient(app, base_url="http://127.0.0.1")
        told = client.post("/predict", content=upload["both"]).json()
        expected = predictor.predict(tmp_path / "both")
        scores = dict(expected.slices.select("slice_key", "score").iter_rows())
        assert {row["slice_key"]: row["score"] for row in told["slices"]} == pytest.approx(scores, abs=1e-12)
        assert set(expected.patients["answer"]) <= {"0", "1", "abstain"}
        stacks = re.search(r'id="stacks">(.*?)</script>', client.post("/page", content=upload["both"]).text)[1]
        shown = sorted(
            sorted((one["pane"], one["title"], len(one["slices"])) for one in patient)
            for patient in json.loads(stacks).values()
        )
        assert shown == [[(0, "t1c", 5), (1, "t2", 3)], [(0, "t1c", 5), (1, "t2", 5)]]
        answer = client.post("/predict", content=upload["one"])
        assert answer.status_code == lacking[name]
        refused = "must hold each sequence that the run was trained on, found 10 slices: of a patient who lacks t2"
        assert answer.json().get("error", refused).startswith(refused)


def test_another_cohort_is_evaluated_with_its_sequences(made, fistula_here, tmp_path):
    tree(tmp_path, patients=6, lacking=(40,), first=40)  # others than the run's
    run_command("ingest", [f"source={tmp_path / 'tree'}", f"labels={tmp_path / 'labels.csv'}", *OPTIONS,
                           f"out={tmp_path / 'other'}", "missing=mask"])  # fmt: skip
    code, _, said = fistula_here("evaluate", f"run={made / 'run'}", f"cohort={tmp_path / 'other'}",
                                 f"out={tmp_path / 'evaluated'}", "device=cpu")  # fmt: skip
    assert code == 0, said
    stored = pl.read_parquet(tmp_path / "evaluated" / "predictions.parquet")
    found = fistula.load(made / "run", device="cpu").predict(tmp_path / "tree").slices
    both = stored.join(found.select("slice_key", pl.col("score").alias("new")), on="slice_key")
    assert len(both) == 30
    np.testing.assert_allclose(both["new"], both["score"], rtol=0, atol=1e-6)


def test_only_slices_of_the_first_sequence_are_scored_where_a_run_sees_that_alone(strict, tmp_path):
    run_command("train", [f"cohort={strict / 'cohort'}", *TINY_RUN, f"hydra.run.dir={tmp_path / 'run'}"])
    predictor = fistula.load(tmp_path / "run", device="cpu")
    found = predictor.predict(strict / "tree")
    assert len(found.slices) == PATIENTS * 5
    assert found.left_out["reason"].to_list() == ["of sequence t2, resampled onto t1c"] * PATIENTS * 5
    stored = predictor.runs[0].predictions.join(found.slices.select("slice_key", new="score"), on="slice_key")
    assert len(stored) == len(predictor.runs[0].predictions) > 0
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)


def test_names_decide_and_a_cohort_with_another_first_sequence_is_refused(strict):
    run = load_run(strict / "run")
    first, second = run.cohort.record["keep"]["sequences"].items()
    refuse_unlike(run, run.cohort)
    for keep in ({second[0]: second[1], first[0]: first[1]}, {first[0]: first[1], "dwi": second[1]}):
        record = run.cohort.record | {"keep": run.cohort.record["keep"] | {"sequences": keep}}
        with pytest.raises(DataError, match="must have the sequences that the run uses: t1c, t2, t1c first"):
            refuse_unlike(run, replace(run.cohort, record=record))


def test_a_cohort_of_patients_who_lack_one_is_refused_to_a_run_that_has_seen_none(strict, made):
    with pytest.raises(DataError, match=r"must have t2 of every patient: .*, found 4 who lack it"):
        refuse_unlike(load_run(strict / "run"), read_cohort(made / "masked"))
    refuse_unlike(load_run(made / "run"), read_cohort(strict / "cohort"))


def test_a_cohort_without_sequences_is_refused_before_anything_is_written(cohort_folder, tmp_path, fistula_here):
    code, _, said = fistula_here("train", f"cohort={cohort_folder}", *TRAINED, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 2
    assert "model.channels: needs a cohort with several sequences" in said
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("channels", ["sequences", "late"])
def test_patients_are_scored_from_both_sequences_as_in_training_and_as_exported(made, fistula_here, tmp_path, channels):
    told = (f"cohort={made / 'masked'}", *TRAINED, f"model.channels={channels}", "unit=patient", "pooling=attention",
            "batch_size=4")  # fmt: skip
    code, _, said = fistula_here("train", *told, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 0, said
    predictor = fistula.load(tmp_path / "run", device="cpu")
    found = predictor.predict(made / "tree").patients.select("patient_key", pl.col("score").alias("new"))
    stored = predictor.runs[0].predictions.join(found, on="patient_key")
    assert len(stored) == len(predictor.runs[0].predictions) > 0
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)
    assert set(read_cohort(made / "masked").grid["sequence"]) == {"t1c"}
    with reading(made / "tree", predictor.reader, Workers(1)) as slices:
        drawn, failed = draw_overlays(predictor, slices, predictor.judge(slices), which="all")
    assert (len(drawn), failed) == (PATIENTS * 5, [])
    (tmp_path / "exported").mkdir()
    kind = {"late": "onnx", "sequences": "torchscript"}[channels]  # the other two are alike
    assert export(predictor.runs, tmp_path / "exported", kind=kind).difference <= 1e-6
