"""Weights fetched from a hub that answers as the real one does, or as one should not; nothing else is spoken to."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from safetensors.torch import save

from fistula.learning.weight_store import STORE_VARIABLE
from fistula.learning.weights import find_weights

FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one file as a hub does: under its name, with its checksum and the commit that it is of."""

    daemon_threads = True

    def __init__(self, manner):
        super().__init__(("127.0.0.1", 0), Answer)
        self.manner = manner
        self.state = timm.create_model("test_resnet", pretrained=False).state_dict()
        self.content = save(self.state)
        self.asked = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(self.server.content)

    def answer(self, body):
        manner, whole = self.server.manner, self.server.content
        self.server.asked.append(f"{self.command} {self.path}")
        if manner == "a page":
            page = b"<html>Please log in</html>"
            self.give(200, {"Content-Type": "text/html", "Content-Length": len(page)}, page if body else b"")
        elif manner == "forbidden":
            self.give(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."})
        elif manner == "empty" or self.path != FILE:
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


def test_what_a_hub_gives_is_carried_to_a_machine_that_speaks_to_nobody(hub, fistula_here, tmp_path, monkeypatch):
    code, out, error = fistula_here("weights", "pull", "model=[test_resnet]", "to=store")
    assert code == 0, error
    assert "hub: timm/test_resnet.r160_in1k" in out
    assert {f"HEAD {FILE}", f"GET {FILE}"} <= set(hub.asked)
    assert fistula_here("weights", "verify", "to=store")[1].startswith("1 files are")
    assert "test_resnet.r160_in1k" in fistula_here("weights", "list", "to=store")[1]
    assert fistula_here("weights", "pack", "to=store", "archive=w.tar")[0] == 0
    with tarfile.open(tmp_path / "w.tar") as tar:
        tar.extractall(tmp_path / "carried", filter="data")
    monkeypatch.setattr("socket.socket.connect", lambda *arguments: pytest.fail(f"spoke to {arguments[1]}"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "carried" / "store"))
    found = find_weights("test_resnet", download=False)
    assert found.source.startswith("store: test_resnet.r160_in1k, sha256 ")
    for name, value in found.overlay["state_dict"].items():
        assert torch.equal(value, hub.state[name]), name


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        ("empty", "has none of model.safetensors, pytorch_model.bin"),
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
    assert line.startswith("error: model.architecture=test_resnet: timm/test_resnet.r160_in1k gave no weights (")
    assert message in line
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_the_hub_may_be_one_that_the_environment_names(hub, tmp_path):
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "fistula.cli", "weights", "pull", "model=[test_resnet]", "to=store"]
    pulled = subprocess.run(command, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, timeout=300)
    assert pulled.returncode == 0, pulled.stderr
    (entry,) = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert entry["source"] == "hub: timm/test_resnet.r160_in1k"
