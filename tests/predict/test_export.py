import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fistula.errors import ConfigError, TrainingError
from fistula.learning.data.slices import Resize
from fistula.predict.exported.graph import Grow, Shrink, area_weights
from fistula.predict.exported.write import export, onnx_scorer
from fistula.predict.out.model_card import _say_split
from fistula.predict.predictor import load
from fistula.predict.runs.model import load_run
from fistula.predict.source import reading
from fistula.source.workers import Workers


@pytest.mark.parametrize(("size", "image_size"), [(96, 64), (64, 48), (256, 224), (64, 32), (96, 32), (256, 128)])
def test_shrinking_in_the_graph_is_that_of_training_bit_for_bit(size, image_size):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    expected = np.stack([Resize(image_size, "bicubic")(image) for image in images])
    np.testing.assert_array_equal(Shrink(size, image_size)(torch.from_numpy(images)).numpy(), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("size", "image_size"), [(64, 96), (96, 224), (200, 224), (64, 128)])
def test_growing_in_the_graph_is_that_of_training_bit_for_bit(size, image_size, interpolation):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    images[0] = 255 * (images[0] > 127)  # as far over the edge of what 8 bits hold as can be
    resize = Resize(image_size, interpolation)
    expected = np.stack([resize(image) for image in images])
    np.testing.assert_array_equal(Grow(size, resize)(torch.from_numpy(images)).numpy(), expected)


def test_area_weights_worked_by_hand():
    np.testing.assert_allclose(area_weights(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)


@pytest.fixture
def run(run_folders):
    return load_run(run_folders[0])


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_the_exported_model_scores_an_ingested_slice_as_training_did(run, tmp_path, kind):
    exported = export([run], tmp_path, kind=kind)
    order = {key: row for row, key in enumerate(run.cohort.manifest["slice_key"])}
    pixels = np.asarray(run.cohort.pixels[[order[key] for key in run.predictions["slice_key"]]])
    path = tmp_path / exported.name
    if kind == "onnx":
        scores = onnx_scorer(path)(pixels)[:, 1]
    else:
        scores = torch.jit.load(path)(torch.from_numpy(pixels)).detach().numpy()[:, 1]
    np.testing.assert_allclose(scores, run.predictions["score"], rtol=0, atol=1e-6)
    assert exported.difference < 1e-6


def test_the_card_says_what_the_network_is_and_is_not(run, tmp_path):
    export([run], tmp_path, kind="torchscript")
    card, record = (tmp_path / "MODEL_CARD.md").read_text(), json.loads((tmp_path / "export.json").read_text())
    assert card.startswith(f"# {run.name}\n\n**Not a medical device.**")
    for said in (run.record["fingerprint"], run.record["checkpoint_sha256"], run.cohort.fingerprint, "1 mm a pixel"):
        assert said in card
    auroc = run.record["metrics"]["test"]["slice"]["auroc"]["value"]
    assert f"| {run.name} | slice | auroc | {auroc:.3f}" in card
    assert "nsemble" not in card
    assert record["input"]["shape"] == ["N", 64, 64]
    assert set(record["sha256"]) == {"model.pt"}


def test_the_card_says_of_a_split_that_its_audit_found_leaks(run):
    assert "leak" not in _say_split(run)
    audit = {"verdict": "leaks allowed by audit=warn", "is_marked": True}
    marked = replace(run, record=run.record | {"audit": audit})
    assert _say_split(marked).endswith(" **The audit of this split found leaks (leaks allowed by audit=warn).**")


def test_a_model_that_scores_otherwise_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "fistula.predict.exported.graph.Shrink.forward", lambda self, slices: slices[:, :48, :48].float()
    )
    with pytest.raises(TrainingError, match=r"must score as the run does, to 0.0001, found 0\.\d+"):
        export([run], tmp_path, kind="torchscript")


def test_an_unknown_format_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="format: must be onnx or torchscript"):
        export([run], tmp_path, kind="pickle")


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_an_ensemble_is_one_file_that_gives_the_mean_of_its_runs(study, phantom, tmp_path, fistula_here, kind):
    code, shown, error = fistula_here("export", f"run={study}", "out=model", f"format={kind}", "only=*fold*")
    assert code == 0, error
    assert "of the mean of 2 runs" in shown
    predictor = load(study)
    with reading(phantom, predictor.reader, Workers(1)) as slices:
        pixels, decided = np.array(slices.pixels), predictor.judge(slices).slices
    path = tmp_path / "model" / ("model.onnx" if kind == "onnx" else "model.pt")
    if kind == "onnx":
        scores = onnx_scorer(path)(pixels)
    else:
        scores = torch.jit.load(path)(torch.from_numpy(pixels)).detach().numpy()
    np.testing.assert_allclose(scores[:, 1], decided["score"], rtol=0, atol=1e-6)
    record = json.loads((path.parent / "export.json").read_text())
    assert ((scores[:, 1] >= record["threshold"]) == (decided["decision"] == "fistula").to_numpy()).all()
    card = (path.parent / "MODEL_CARD.md").read_text()
    assert card.startswith("# Ensemble of 2 runs: ")
    assert "Each run by itself, not the ensemble" in card
    for run, told in zip(predictor.runs, record["runs"], strict=True):
        assert (told["name"], told["checkpoint_sha256"]) == (run.name, run.record["checkpoint_sha256"])
        auroc = run.record["metrics"]["test"]["slice"]["auroc"]["value"]
        for said in (f"`{run.name}`", told["checkpoint_sha256"], f"| {run.name} | slice | auroc | {auroc:.3f}"):
            assert said in card


def test_the_command_writes_all_or_nothing(run_folders, tmp_path, fistula_here):
    code, shown, error = fistula_here("export", f"run={run_folders[0]}", "out=model", "format=torchscript")
    assert code == 0, error
    assert shown.splitlines()[-1] == "read model/MODEL_CARD.md"
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.pt", "export.json", "MODEL_CARD.md"}
    code, _, error = fistula_here("export", f"run={run_folders[0]}", "out=other", "format=pickle")
    assert (code, (tmp_path / "other").exists()) == (2, False)


@pytest.mark.slow
def test_onnx_runtime_reports_nothing_to_its_maker(tmp_path):
    watched = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {name: value for name, value in os.environ.items() if name not in watched}
    program = "import fistula.predict.exported.write, onnxruntime"
    subprocess.run([sys.executable, "-c", program], env=environment | {"TMPDIR": str(tmp_path)}, check=True)
    assert not (tmp_path / ".ses").exists()  # of the session that would be reported
