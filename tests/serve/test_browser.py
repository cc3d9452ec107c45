"""The service as a process, in a real browser and over a bare socket."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest


@pytest.fixture
def service(study, tmp_path):
    """Address of a running `fistula serve`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fistula.cli", "serve", f"run={study}", f"port={port}", "max_upload_mb=64"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ.copy())
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                httpx.get(f"{address}/health", trust_env=False)
                break
            except httpx.ConnectError:
                time.sleep(0.2)
        yield address, port
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_a_folder_is_scored_in_a_browser_and_a_huge_one_refused_before_it_is_read(
    browser, service, one_patient, tmp_path
):
    address, port = service
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2147483648\r\n\r\n" + bytes(1000))
        assert b"413" in link.recv(200).split(b"\r\n")[0]
    wrong = []
    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.click("#go")
    assert page.inner_text("#state") == "Choose a file first."
    (tmp_path / "text.dcm").write_text("no DICOM")
    page.set_input_files("#file", tmp_path / "text.dcm")
    page.click("#go")
    # Not a function: as text it would need `unsafe-eval`, which the page forbids.
    page.wait_for_selector("#state:has-text('must hold')", timeout=30000)
    page.set_input_files("#file", [])
    page.set_input_files("#folder", one_patient)
    page.click("#go")
    number = len(list(one_patient.glob("*.dcm")))
    page.wait_for_selector(f"h1:has-text('Scores of {number} slices of 1 patient')", timeout=60000)
    page.wait_for_selector(".pane canvas.slice")
    page.click("a[href='/']")
    page.wait_for_selector("#drop")
    page.close()
    assert wrong == []
    assert httpx.get(f"{address}/health", trust_env=False).json()["waiting"] == 0
