"""Weights fetched from a hub that answers as the real one does, or as one should not; nothing else is spoken to."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from safetensors.torch import save

from fistula.errors import ConfigError, WeightsError
from fistula.learning.backbone import create_backbone
from fistula.learning.weights.store import STORE_VARIABLE, read_store, weights_fingerprint
from fistula.predict.runs.model import load_run

from ..conftest import TINY_RUN
from .weights_of import weights_of

RESNET = "timm/test_resnet.r160_in1k"
FILE = f"/{RESNET}/resolve/main/model.safetensors"
PAGE = b"---\nlicense: apache-2.0\n---\nA network.\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one file as a hub does: under its name, with its checksum and the commit that it is of."""

    daemon_threads = True

    def __init__(self, manner):
        super().__init__(("127.0.0.1", 0), Answer)
        self.manner = manner
        self.state = timm.create_model("test_resnet", pretrained=False).state_dict()
        self.files = {FILE: save(self.state), f"/{RESNET}/resolve/main/README.md": PAGE}
        self.asked = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(self.server.files.get(self.path, b""))

    def answer(self, body):
        manner, whole = self.server.manner, self.server.files.get(self.path)
        self.server.asked.append(f"{self.command} {self.path}")
        if manner == "a page":
            page = b"<html>Please log in</html>"
            self.give(200, {"Content-Type": "text/html", "Content-Length": len(page)}, page if body else b"")
        elif manner == "forbidden":
            self.give(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."})
        elif manner == "empty" or whole is None:
            self.give(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        else:
            digest = hashlib.sha256(whole).hexdigest()
            facts = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Size": len(whole)}
            if manner == "breaking off" and "Range" in self.headers:  # and the rest is never had
                self.give(503, {})
            else:
                sent = body[: len(body) // 2] if manner == "breaking off" else body
                self.give(200, facts | {"Content-Length": len(whole)}, sent)

    def give(self, code, headers, body=b""):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(request, tmp_path, monkeypatch):
    hub = Hub(getattr(request, "param", "as a hub"))
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    for name in ("constants", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


def carried(tmp_path, monkeypatch):
    """The store on a machine that speaks to nobody."""
    with tarfile.open(tmp_path / "w.tar", "w") as tar:
        tar.add(tmp_path / "store", "store")
    with tarfile.open(tmp_path / "w.tar") as tar:
        tar.extractall(tmp_path / "carried")
    monkeypatch.setattr("socket.socket.connect", lambda *arguments: pytest.fail(f"spoke to {arguments[1]}"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "carried" / "store"))
    return tmp_path / "carried" / "store"


def test_what_a_hub_gives_is_carried_to_a_machine_that_speaks_to_nobody(hub, fistula_here, tmp_path, monkeypatch):
    code, out, error = fistula_here("weights", "pull", "model=[test_resnet]", "to=store")
    assert code == 0, error
    digest = hashlib.sha256(hub.files[FILE]).hexdigest()
    assert f"{RESNET}/model.safetensors  1.9 MB  apache-2.0  sha256 {digest[:12]}" in out
    assert {f"HEAD {FILE}", f"GET {FILE}"} <= set(hub.asked)
    assert fistula_here("weights", "verify", "to=store")[1].startswith("1 files match their checksums")
    assert f"{RESNET}/model.safetensors" in fistula_here("weights", "list", "to=store")[1]
    assert fistula_here("weights", "list", "to=elsewhere")[1] == "no weights in elsewhere\n"
    folder = carried(tmp_path, monkeypatch)
    found = weights_of("test_resnet")
    assert found.source == f"store: {RESNET}, sha256 {digest}"
    assert weights_fingerprint({"architecture": "test_resnet", "pretrained": True}) == digest
    for name, value in found.overlay["state_dict"].items():
        assert torch.equal(value, hub.state[name]), name
    next(folder.rglob("model.safetensors")).resolve().write_bytes(b"damaged")
    code, _, error = fistula_here("weights", "verify", f"to={folder}")
    assert (code, f"has damaged weights, found {RESNET}/model.safetensors" in error) == (2, True)
    with pytest.raises(WeightsError, match=r"model\.safetensors: is damaged: its checksum is not its name"):
        weights_of("test_resnet")


@pytest.mark.slow
def test_a_network_of_somebodys_on_the_hub_works_by_its_name_and_so_does_a_copy_of_its_folder(
    hub, fistula_here, cohort_folder, tmp_path, monkeypatch
):
    network = timm.create_model("test_vit", num_classes=3, global_pool="avg", img_size=64)
    config = {
        "architecture": "test_vit",
        "num_classes": 3,
        "model_args": {"global_pool": "avg", "img_size": 64},
        "pretrained_cfg": dict(network.pretrained_cfg, mean=[0.1] * 3, std=[0.2] * 3, input_size=[3, 64, 64]),
    }
    hub.files = {
        "/me/mine/resolve/main/config.json": json.dumps(config, default=list).encode(),
        "/me/mine/resolve/main/model.safetensors": save(network.state_dict()),
    }
    with pytest.raises(WeightsError, match=r"hf-hub:me/mine: is not on this machine, and model\.download is false"):
        create_backbone("hf-hub:me/mine", pretrained=True, download=False, num_classes=2)
    assert hub.asked == []
    code, _, error = fistula_here("weights", "pull", "model=['hf-hub:me/mine']", "to=store")
    assert code == 0, error
    folder = carried(tmp_path, monkeypatch)
    snapshot = next(folder.rglob("config.json")).parent
    for name in ("hf-hub:me/mine", f"local-dir:{snapshot}"):
        backbone = create_backbone(name, pretrained=True, download=False, num_classes=2)
        assert (backbone.input_size, backbone.heads[0].out_features) == (64, 2)
        assert torch.equal(backbone.network.pos_embed, network.pos_embed)
        assert float(backbone.scale) == pytest.approx(1 / (255 * 0.2))
        assert backbone.resolved["network"]["architecture"] == "test_vit"
        # Other images than those of its weights: the positions are scaled.
        assert create_backbone(name, pretrained=True, download=False, num_classes=2, image_size=96)(
            torch.zeros(1, 1, 96, 96)
        ).shape == (1, 2)
    # The machine that predicts has neither the name nor the folder.
    run = ("train", f"cohort={cohort_folder}", *TINY_RUN, "model.architecture='hf-hub:me/mine'", "hydra.run.dir=run")
    code, _, error = fistula_here(*run, "model.pretrained=true", "image_size=pretrained")
    assert code == 0, error
    monkeypatch.setenv(STORE_VARIABLE, "nowhere")
    loaded = load_run(tmp_path / "run")
    assert (loaded.resize.image_size, loaded.classifier.backbone.network.global_pool) == (64, "avg")


def test_the_vision_tower_of_an_openclip_model_is_taken_with_its_colours(hub):
    tower = timm.create_model("test_vit", num_classes=0)
    state = {f"visual.trunk.{name}": value for name, value in tower.state_dict().items()}
    state |= {"text.transformer.weight": torch.zeros(2, 2), "visual.head.proj.weight": torch.zeros(2, 2)}
    about = {"preprocess_cfg": {"mean": [0.2] * 3, "std": [0.25] * 3}}
    hub.files = {
        "/me/clip/resolve/main/open_clip_model.safetensors": save(state),
        "/me/clip/resolve/main/open_clip_config.json": json.dumps(about).encode(),
    }
    build = partial(create_backbone, "test_vit", pretrained=True, num_classes=2, weights="hub:me/clip")
    backbone = build(download=True)
    assert torch.equal(backbone.network.blocks[0].attn.qkv.weight, tower.blocks[0].attn.qkv.weight)
    assert float(backbone.scale) == pytest.approx(1 / (255 * 0.25))
    assert backbone.weights.startswith("hub: me/clip, sha256 ")
    # What the configuration says goes before what the page says; and what is here is not asked for again.
    asked = len(hub.asked)
    assert float(build(download=False, std=0.5).scale) == pytest.approx(1 / (255 * 0.5))
    assert len(hub.asked) == asked


def test_one_file_of_a_repository_with_several_may_be_named(hub):
    state = {f"backbone.{name}": value for name, value in hub.state.items() if not name.startswith("fc")}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    hub.files = {"/me/many/resolve/main/Small.pt": buffer.getvalue()}
    found = weights_of("test_resnet", source="hub:me/many/Small.pt", download=True)
    assert torch.equal(found.overlay["state_dict"]["conv1.0.weight"], hub.state["conv1.0.weight"])
    with pytest.raises(ConfigError, match=r"model\.weights: must be hub:OWNER/NAME or .*, found hub:me"):
        weights_of("test_resnet", source="hub:me")


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        ("empty", "none of model.safetensors, pytorch_model.bin"),
        ("forbidden", "(401 Client Error."),
        ("a page", "it does not seem to be served by a Hugging Face Hub"),
        ("breaking off", "peer closed connection without sending complete message body"),
    ],
    indirect=["hub"],
)
def test_a_hub_that_gives_no_weights_is_one_line_and_leaves_nothing(hub, message, fistula_here, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client waits before it tries again
    code, out, error = fistula_here("weights", "pull", "model=[test_resnet]", "to=store")
    assert (code, "sha256" in out) == (2, False)
    line = error.splitlines()[-1]  # the hub's client tells of each new attempt
    assert re.match(r"error: model=test_resnet: timm/test_resnet\.r160_in1k (gave|has) no weights \(", line)
    assert message in line
    assert read_store(tmp_path / "store") == []


@pytest.mark.slow
def test_the_hub_may_be_one_that_the_environment_names(hub, tmp_path):
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "fistula.cli", "weights", "pull", "model=[test_resnet]", "to=store"]
    pulled = subprocess.run(command, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, timeout=300)
    assert pulled.returncode == 0, pulled.stderr
    assert [entry.name for entry in read_store(tmp_path / "store")] == [f"{RESNET}/model.safetensors"]
