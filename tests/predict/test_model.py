import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fistula.errors import DataError
from fistula.learning.data.slices import Resize
from fistula.predict.runs.model import load_run
from fistula.predict.runs.network import call_known, network_of


def change(path: Path, **facts):
    record = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


def test_a_loaded_run_is_ready_to_score(run_folders):
    run = load_run(run_folders[0])
    assert not run.classifier.training
    assert run.classes == ["normal", "fistula"]
    assert run.config.image_size == 48
    stored = torch.load(run_folders[0] / "best.ckpt", weights_only=True)["state_dict"]
    plain = network_of(run.folder, run.config, run.record, run.cohort)
    plain.load_state_dict(stored)
    images = run.images(np.arange(4))
    with torch.no_grad():
        torch.testing.assert_close(run.classifier(images), plain.eval()(images))


def test_weights_that_were_changed_are_refused(copied_run):
    checkpoint = copied_run / "best.ckpt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(DataError, match=r"best.ckpt: must have the SHA-256 stated in run.json .* Train the run again"):
        load_run(copied_run)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def test_a_checkpoint_that_holds_code_is_refused_even_with_its_hash(copied_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"state_dict": Evil()})
    (copied_run / "best.ckpt").write_bytes(content)
    change(copied_run / "run.json", checkpoint_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(DataError, match="is not a checkpoint of weights"):
        load_run(copied_run)
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"state": "failed"}, "must be a finished run, found failed"),
        ({"checkpoint_sha256": None}, "has no checkpoint_sha256"),
    ],
)
def test_a_run_that_is_no_finished_run_is_refused(copied_run, facts, message):
    change(copied_run / "run.json", **facts)
    with pytest.raises(DataError, match=message):
        load_run(copied_run)


def test_a_configuration_that_names_foreign_code_is_refused(copied_run):
    config = copied_run / "config.yaml"
    config.write_text(config.read_text().replace("fistula.learning.backbone.create_backbone", "os.system"))
    with pytest.raises(DataError, match=r"config.yaml: model: _target_ must be one of .* found os.system"):
        load_run(copied_run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\nmodel: {}\n", r"must have no alias"),
        ("model: ${oc.env:HOME}\n", r"nothing to fill in"),
        ("!!python/object/apply:os.system ['true']\n", r"cannot be read \(could not determine a constructor"),
        ("model: [1, 2]\n", "must be the configuration of a run"),
        ("- model\n", "must be the configuration of a run"),
        ("model: {\n", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_configuration_that_no_run_wrote_is_refused(copied_run, content, message):
    (copied_run / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=rf"config.yaml: .*{message}"):
        load_run(copied_run)


@pytest.mark.parametrize(
    "facts",
    [
        {"operating_point": "x"},
        {"operating_point": {"threshold": None}},
        {"patient_operating_point": {"threshold": float("nan")}},
        {"aggregation": "median"},
        {"aggregation": [1]},
        {"image_size": "large"},
        {"network": {"architecture": "resnet18", "download": True}},
        {"network": ["resnet18"]},
        {"interpolation": 3},
        {"image_size": 0},
    ],
)
def test_a_record_that_asks_for_what_no_run_does_is_refused(copied_run, facts):
    change(copied_run / "run.json", **facts)
    with pytest.raises(DataError, match=r"is damaged|interpolation: must be one of"):
        load_run(copied_run)


def test_weights_of_another_network_are_refused(copied_run):
    config = copied_run / "config.yaml"
    config.write_text(config.read_text().replace("architecture: test_resnet", "architecture: test_efficientnet"))
    with pytest.raises(DataError, match=r"best.ckpt: does not fit the network that config.yaml describes"):
        load_run(copied_run)


def test_a_missing_checkpoint_or_cohort_is_refused(copied_run):
    (copied_run / "best.ckpt").unlink()
    with pytest.raises(DataError, match=r"best.ckpt: cannot be read \(No such file"):
        load_run(copied_run)
    shutil.rmtree(copied_run.parent / "cohort")
    with pytest.raises(DataError, match="is not a cohort folder"):
        load_run(copied_run)


def test_a_cohort_that_the_run_did_not_learn_from_is_refused(copied_run):
    change(copied_run / "run.json", cohort_fingerprint="0" * 64)
    with pytest.raises(DataError, match=r"cohort: is not the cohort that run was trained on"):
        load_run(copied_run)


def test_only_what_is_known_is_called(tmp_path):
    target = "fistula.learning.data.slices.Resize"
    known = {"_target_": target, "image_size": 32, "interpolation": "bicubic"}
    assert call_known(known, [Resize], where="here") == Resize(32, "bicubic")
    with pytest.raises(DataError, match="here: does not fit fistula"):
        call_known({"_target_": target, "y": 1}, [Resize], where="here")
    with pytest.raises(DataError, match=rf"here: _target_ must be one of {target}$"):
        call_known("text", [Resize], where="here")
