"""A run that sees each slice between its neighbours, from training to every way of using it."""

import io
import json
import zipfile

import numpy as np
import polars as pl
import pytest
import torch
from fastapi.testclient import TestClient

import fistula
from fistula.explain.cam import saliency
from fistula.predict.exported.write import export
from fistula.predict.out.write import draw_overlays
from fistula.predict.runs.model import load_run
from fistula.report.reading_room.slices import reading_data
from fistula.report.results import results
from fistula.report.study import read_study
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits

from ..conftest import TRAIN, run_command

ADJACENT = (*[text for text in TRAIN if not text.startswith("split.fold=")], "model.channels=adjacent", "epochs=1")


@pytest.fixture(scope="module")
def run_folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adjacent") / "run"
    run_command("train", [f"cohort={made / 'cohort'}", *ADJACENT, f"hydra.run.dir={folder}"])
    return folder


def test_the_score_of_an_ingested_slice_is_that_of_training(run_folder, phantom, study):
    predictor = fistula.load(run_folder)
    (run,) = predictor.runs
    assert run.classifier.backbone.network.conv1[0].in_channels == 3
    found = predictor.predict(phantom)
    new = found.slices.select("slice_key", pl.col("score").alias("new"))
    stored = run.predictions.join(new, on="slice_key")
    assert len(stored) == len(run.predictions)
    np.testing.assert_allclose(stored["new"], stored["score"], rtol=0, atol=1e-6)


def test_the_neighbours_count(run_folder, study):
    (run,) = fistula.load(run_folder).runs
    images = run.images(np.arange(8))
    assert images.shape == (8, 3, 48, 48)
    with torch.inference_mode():
        assert not torch.allclose(run.classifier(images), run.classifier(images[:, [1, 1, 1]]), atol=1e-6)


def test_maps_and_overlays_are_of_the_slice_in_the_middle(run_folder, one_patient, study):
    from fistula.predict.source import reading
    from fistula.source.workers import Workers

    predictor = fistula.load(run_folder)
    with reading(one_patient, predictor.reader, Workers(1)) as slices:
        overlays, _ = draw_overlays(predictor, slices, predictor.judge(slices), which="all")
        assert [overlay.image.shape for overlay in overlays] == [(64, 64, 3)] * len(slices.table)
    with reading(next(one_patient.glob("*.dcm")), predictor.reader, Workers(1)) as slices:
        assert predictor.channels(slices).tolist() == [[0, 0, 0]]
        assert len(predictor.judge(slices).slices) == 1
    (run,) = predictor.runs
    assert saliency(run.classifier, run.images(np.arange(2)), target=1).shape == (2, 48, 48)


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_the_exported_model_takes_a_slice_with_its_neighbours(run_folder, tmp_path, study, kind):
    (run,) = fistula.load(run_folder).runs
    assert export([run], tmp_path, kind=kind).difference < 1e-6
    assert json.loads((tmp_path / "export.json").read_text())["input"]["shape"] == ["N", 3, 64, 64]
    assert "uint8 `(N, 3, 64, 64)`" in (tmp_path / "MODEL_CARD.md").read_text()
    assert "at either end, the slice itself is repeated" in (tmp_path / "MODEL_CARD.md").read_text()


def test_a_frozen_network_is_probed_with_neighbours_too(fistula_here, made, tmp_path):
    probe = [*ADJACENT, "learning=linear_probe", "model.pretrained=false"]
    assert fistula_here("train", f"cohort={made / 'cohort'}", *probe, "hydra.run.dir=run")[0] == 0
    run = load_run(tmp_path / "run")
    rows = run.cohort.manifest.with_row_index("row").join(run.predictions, on="slice_key", maintain_order="right")[
        "row"
    ]
    with torch.inference_mode():
        scores = run.classifier(run.images(rows.to_numpy()))[:, 1]
    np.testing.assert_allclose(scores, run.predictions["score"], rtol=0, atol=1e-6)


def test_the_reading_room_and_the_pointing_game_show_what_the_network_saw(run_folder, fistula_here, study):
    read = read_study(run_folder)
    rows = results(read, resamples=20, scaling="platt", prevalence=None)
    room = reading_data(read, [row for row in rows if row.level == "patient"], first=0, maps="all")
    shown = [run for view in room["views"] for run in view["runs"]]
    assert shown
    assert all(run["maps"] and run["without_maps"] == "" for run in shown)
    code, out, error = fistula_here("explain", f"run={run_folder}")
    assert (code, "pointing at the mean opening" in out) == (0, True), error


def test_an_uploaded_series_is_scored_with_its_neighbours(run_folder, one_patient, study):
    predictor = fistula.load(run_folder)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for path in one_patient.glob("*.dcm"):
            packed.write(path, path.name)
    client = TestClient(create_app(lambda: predictor, UploadLimits(max_upload_mb=4)), base_url="http://127.0.0.1")
    answer = client.post("/predict", content=content.getvalue())
    assert answer.status_code == 200
    expected = dict(predictor.predict(one_patient).slices.select("slice_key", "score").iter_rows())
    assert {row["slice_key"]: row["score"] for row in answer.json()["slices"]} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "call", [["hydra.run.dir=run"], ["-m", "seed=0,1", "hydra.sweep.dir=run"]], ids=["run", "study"]
)
def test_pictures_without_a_place_are_refused_in_one_line_before_a_run_starts(fistula_here, made, tmp_path, call):
    from fistula.cohort.manifest import manifest_fingerprint, read_cohort

    cohort = read_cohort(made / "cohort")
    manifest = cohort.manifest.with_columns(position_mm=pl.lit(None, pl.Float64()))
    (tmp_path / "flat").mkdir()
    manifest.write_parquet(tmp_path / "flat" / "manifest.parquet")
    np.save(tmp_path / "flat" / "pixels.npy", cohort.pixels)
    record = cohort.record | {"fingerprint": manifest_fingerprint(manifest)}
    (tmp_path / "flat" / "ingest.json").write_text(json.dumps(record))
    code, _, error = fistula_here("train", *call, "cohort=flat", *ADJACENT)
    assert code == 2
    assert len(error.splitlines()) == 1, error
    assert "model.channels=adjacent: needs the position of every slice" in error
    assert not (tmp_path / "run").exists()
