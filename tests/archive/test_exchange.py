import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

import fistula

HERE = Path(__file__).parent


def needs_namespace():
    if shutil.which("Orthanc") is None:
        pytest.skip("no Orthanc on this machine (Debian: orthanc, orthanc-dicomweb)")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no network namespaces, and Orthanc would listen on all of its interfaces")


@pytest.mark.slow
def test_predict_from_an_archive_and_store_back_by_both_protocols(study, phantom, tmp_path):
    needs_namespace()
    first, second = sorted({path.parent for path in phantom.rglob("*.dcm")})[:2]
    script = f"""ip link set lo up; "{HERE}/orthanc.sh" up || exit 9
    "{sys.executable}" "{HERE}/chain.py" "$@"; code=$?; "{HERE}/orthanc.sh" down; exit $code"""
    call = ["unshare", "-rn", "sh", "-c", script, "sh", *map(str, (study, first, second, tmp_path))]
    environment = os.environ | {"FISTULA_ORTHANC_DIR": str(tmp_path / "orthanc")}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])

    for name, folder in (("web", first), ("dimse", second)):
        expected = fistula.load(study).predict(folder).slices
        with (tmp_path / name / "predictions.csv").open() as file:
            found = {row["slice_key"]: float(row["score"]) for row in csv.DictReader(file)}
        assert found == pytest.approx(dict(expected.select("slice_key", "score").iter_rows()), abs=1e-6)
        written = [pydicom.dcmread(path) for path in (tmp_path / name / "dicom").iterdir()]
        sources = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
        assert said["back"][name] == sorted(f"{one.Modality} {one.SOPInstanceUID}" for one in [*written, *sources])
        assert {one.Modality for one in written} == {"OT", "SR"}
    assert "has no such study or series" in said["refusals"]["web"]
    assert "has no such study or series" in said["refusals"]["dimse"]
    assert "must have at most 1 instances" in said["refusals"]["many"]
    assert "must have at most 1 instances" in said["refusals"]["many dimse"]
