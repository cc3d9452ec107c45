import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

import fistula
from fistula.cohort.manifest import read_cohort

HERE = Path(__file__).parent


def needs_namespace():
    if shutil.which("Orthanc") is None:
        pytest.skip("no Orthanc on this machine (Debian: orthanc, orthanc-dicomweb)")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no network namespaces, and Orthanc would listen on all of its interfaces")


def make_certificates(folder):
    """An authority, a key and certificate of 127.0.0.1 that it signed, and another authority."""
    folder.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=another authority", "-keyout", "another.key", "-out", "another.pem")
    signed = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", "ca.pem", "-CAkey", "ca.key")
    openssl(*new, *signed, "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "own.key", "-out", "own.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "old.key", "-out", "old.csr")
    (folder / "name").write_text("subjectAltName=IP:127.0.0.1")
    by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key", "-extfile", "name")
    openssl("x509", "-req", "-in", "old.csr", *by_ca, "-days", "-1", "-out", "old.pem")
    for name, own in (("server", "own"), ("late", "old")):
        (folder / f"{name}.pem").write_text((folder / f"{own}.key").read_text() + (folder / f"{own}.pem").read_text())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "TLS"])
def test_predict_from_an_archive_and_store_back_by_both_protocols(study, phantom, tmp_path, is_encrypted):
    needs_namespace()
    secrets = [make_certificates(tmp_path / "tls")] if is_encrypted else []
    first, second = sorted({path.parent for path in phantom.rglob("*.dcm")})[:2]
    script = f"""ip link set lo up; "{HERE}/orthanc.sh" up || exit 9
    "{sys.executable}" "{HERE}/chain.py" "$@"; code=$?; "{HERE}/orthanc.sh" down; exit $code"""
    call = ["unshare", "-rn", "sh", "-c", script, "sh", *map(str, (study, first, second, tmp_path, *secrets))]
    environment = os.environ | {"FISTULA_ORTHANC_DIR": str(tmp_path / "orthanc"), "TLS": "".join(map(str, secrets))}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])

    for name, folder in (("web", first), ("dimse", second)):
        there, here = (read_cohort(tmp_path / f"cohort-{name}{where}") for where in ("", "-folder"))
        assert len(there.manifest) == len(list(folder.glob("*.dcm")))
        assert there.manifest["slice_key"].equals(here.manifest["slice_key"])
        np.testing.assert_array_equal(there.pixels, here.pixels)
        expected = fistula.load(study).predict(folder).slices
        with (tmp_path / name / "predictions.csv").open() as file:
            found = {row["slice_key"]: float(row["score"]) for row in csv.DictReader(file)}
        assert found == pytest.approx(dict(expected.select("slice_key", "score").iter_rows()), abs=1e-6)
        written = [pydicom.dcmread(path) for path in (tmp_path / name / "dicom").iterdir()]
        sources = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
        assert said["back"][name] == sorted(f"{one.Modality} {one.SOPInstanceUID}" for one in [*written, *sources])
        assert {one.Modality for one in written} == {"OT", "SR"}
    refusals = {"none": "has no such study or series", "many": "must have at most 1 instances"}
    if is_encrypted:
        refusals |= dict.fromkeys(("another authority", "no authority", "in the clear"), "does not respond|status 400")
    assert said["refusals"].keys() == refusals.keys()
    for name, rule in refusals.items():
        assert [bool(re.search(rule, message)) for message in said["refusals"][name]] == [True, True], said["refusals"]
