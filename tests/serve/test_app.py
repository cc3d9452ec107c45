import asyncio
import io
import os
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

import fistula
from fistula.commands.serve import _listen
from fistula.serve.app import create_app
from fistula.serve.uploads import UploadLimits

LIMITS = UploadLimits(max_upload_mb=4)


@pytest.fixture
def predictor(study):
    return fistula.load(study)


@pytest.fixture
def client(predictor):
    return TestClient(create_app(lambda: predictor, LIMITS), base_url="http://127.0.0.1")


@pytest.fixture
def archive(one_patient):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        for path in one_patient.glob("*.dcm"):
            packed.write(path, path.name)
    return content.getvalue()


def test_a_series_is_scored_as_predict_scores_it(client, predictor, archive, one_patient):
    answer = client.post("/predict", content=archive)
    assert answer.status_code == 200
    expected = dict(predictor.predict(one_patient).slices.select("slice_key", "score").iter_rows())
    assert {row["slice_key"]: row["score"] for row in answer.json()["slices"]} == pytest.approx(expected, abs=1e-12)
    assert answer.json()["patients"][0]["answer"] in ("normal", "fistula", "abstain")


def test_a_page_shows_every_slice_and_no_heat_map(client, archive, one_patient):
    answer = client.post("/page", content=archive)
    assert answer.status_code == 200
    assert answer.text.count("data:image/webp") == len(list(one_patient.glob("*.dcm")))


def test_the_first_page_shows_the_card_of_what_answers(client, predictor):
    page = client.get("/").text
    assert "Not a medical device" in page
    assert predictor.runs[0].record["checkpoint_sha256"] in page
    assert "<td>auroc</td>" in page
    assert '{"files": 2000, "mb": 4}' in page


def truncated(path):
    return path.read_bytes()[:2000]


@pytest.mark.parametrize(
    ("make", "status", "reason"),
    [
        (lambda path: b"", 400, "the upload is empty"),
        (lambda path: b"no DICOM at all", 422, "must hold at least one DICOM image"),
        (truncated, 422, "must hold at least one DICOM image"),
        (lambda path: bytes(5 << 20), 413, "at most 4 MiB"),
        (lambda path: b"PK\x03\x04" + bytes(100), 422, "must hold at least one DICOM image"),
    ],
    ids=["empty", "no DICOM", "truncated", "too large", "torn archive"],
)
def test_a_bad_upload_is_refused_and_the_service_goes_on(client, archive, one_patient, make, status, reason):
    answer = client.post("/predict", content=make(next(one_patient.glob("*.dcm"))))
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert "/tmp" not in answer.json()["error"]
    assert client.post("/predict", content=archive).status_code == 200
    assert client.get("/health").json()["waiting"] == 0


def test_a_form_is_answered_with_how_to_upload(client, archive):
    answer = client.post("/predict", files={"file": archive})
    assert (answer.status_code, "curl --data-binary @FILE" in answer.json()["error"]) == (415, True)


@pytest.mark.slow
def test_a_connection_that_asks_for_nothing_is_closed_and_a_service_that_is_ended_leaves_nothing(study, tmp_path):
    """Else 256 of them, which anyone who reaches the port can open, would keep everybody out."""
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    program = f"""
import sys
from fistula import cli
from fistula.commands import serve
serve.SILENT_S = 0.5
sys.argv = ["fistula", "serve", "run={study}", "only=*fold0-seed0*", "port=0"]
cli.main()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as started:
        port = int(started.stdout.readline().partition("127.0.0.1:")[2].partition(" ")[0])
        with socket.create_connection(("127.0.0.1", port), 60) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            assert silent.recv(100) == b""
        started.terminate()
        assert started.wait(60) == 0
    assert list((tmp_path / "temporary").iterdir()) == []


def test_another_kind_of_image_is_refused_with_its_reason(client, write_dicom, tmp_path):
    write_dicom(tmp_path / "ct.dcm", Modality="CT")
    answer = client.post("/predict", content=(tmp_path / "ct.dcm").read_bytes())
    assert answer.status_code == 422
    assert "modality CT (1)" in answer.json()["error"]


def test_a_token_is_asked_for_where_there_is_one(predictor, archive):
    client = TestClient(create_app(lambda: predictor, LIMITS, token="a long enough token", host="0.0.0.0"))
    assert client.get("/").status_code == 401
    assert client.post("/predict", content=archive).status_code == 401
    assert client.get("/", headers={"Authorization": "Bearer another token"}).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic !!!"}).status_code == 401
    assert client.get("/", headers={"Authorization": "Bearer a long enough token"}).status_code == 200
    assert client.get("/", auth=("anyone", "a long enough token")).status_code == 200


def test_a_name_that_is_not_this_machines_is_refused_on_loopback(client):
    assert client.get("/", headers={"Host": "rebound.example"}).status_code == 400


def test_more_uploads_than_may_wait_are_sent_away(predictor, archive):
    app = create_app(lambda: predictor, replace(LIMITS, waiting=1))
    client = TestClient(app, base_url="http://127.0.0.1")
    assert client.post("/predict", content=archive).status_code == 200
    busy = create_app(lambda: predictor, replace(LIMITS, seconds=0.001))
    answer = TestClient(busy, base_url="http://127.0.0.1").post("/predict", content=archive)
    assert answer.status_code == 408


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("host=0.0.0.0",), {}, "host: must be this machine unless FISTULA_SERVE_TOKEN is set, found 0.0.0.0"),
        (("port=70000",), {}, "port: must be at least 0 and at most 65535"),
        ((), {"FISTULA_SERVE_TOKEN": "short"}, "FISTULA_SERVE_TOKEN: must have at least 16 characters, found 5"),
        (("seconds=0",), {}, "seconds: must be at least 0.001 and at most 86400, found 0"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(fistula_here, monkeypatch, arguments, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, _, error = fistula_here("serve", "run=nowhere", *arguments)
    assert code == 2
    assert message in error


def test_a_port_that_another_program_has_is_refused_in_one_line_before_anything_is_loaded(fistula_here):
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, _, error = fistula_here("serve", "run=nowhere", f"port={other.getsockname()[1]}")
    assert code == 2
    assert "cannot be listened on (Address already in use). Name another port" in error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("HEAD", "/health", 200),
        ("PUT", "/predict", 405),
        ("GET", "/predict", 405),
        ("POST", "/predict", 400),  # nothing in it
        ("POST", "/predict/", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_no_answer_may_be_kept_or_load_anything_and_each_refusal_says_why(client, method, path, status):
    answer = client.request(method, path, follow_redirects=False)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert status < 400 or answer.json()["error"]


def test_a_fault_of_the_service_is_said_without_its_cause(predictor, archive, monkeypatch):
    app = create_app(lambda: predictor, LIMITS)
    monkeypatch.setattr(type(predictor), "predict", lambda *_: 1 / 0)
    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = client.post("/predict", content=archive)
    assert (answer.status_code, answer.json()) == (500, {"error": "the service failed; see its log"})
    assert answer.headers["cache-control"] == "no-store"


def test_an_answer_is_sent_without_waiting_for_its_first_part_to_be_acknowledged():
    async def no_delay():
        found = asyncio.get_running_loop().create_future()

        class Noting(asyncio.Protocol):
            def connection_made(self, transport):
                link = transport.get_extra_info("socket")
                found.set_result(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        listener = _listen("127.0.0.1", 0)
        server = await asyncio.get_running_loop().create_server(Noting, sock=listener)
        with socket.create_connection(listener.getsockname()):
            result = await found
        server.close()
        return result

    assert asyncio.run(no_delay())
