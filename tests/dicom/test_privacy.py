"""A marked string in every text of every object, and in every name, is found nowhere in what is written."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import httpx
import numpy as np
import polars as pl
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ..conftest import TINY_RUN
from .test_objects import with_bytes

CANARY = "KANARIE"
DIGITS = "9081726354"  # the mark inside UIDs and numbers kept as text
TEXT = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR")


def _fill(dataset: Dataset) -> None:
    """Put the mark into every text attribute of the standard that does not steer reading, and into private ones."""
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if vr in TEXT and keyword and not retired and group in range(0x0008, 0x0080) and keyword != "PatientID":
            dataset.add_new(Tag(tag), vr, f"{CANARY}{keyword[:4]}"[:16])
    block = dataset.private_block(0x0009, f"{CANARY} PRIVATE", create=True)
    block.add_new(0x01, "LT", f"{CANARY} in a private tag")
    block.add_new(0x02, "UN", CANARY.encode())
    item = Dataset()
    item.CodeMeaning, item.CodeValue = f"{CANARY} nested", CANARY
    dataset.ProcedureCodeSequence = [item]
    for keyword in ("BodyPartExamined", "SequenceVariant", "ScanOptions", "PatientPosition"):
        setattr(dataset, keyword, f"{CANARY}")
    dataset.ImageType = ["DERIVED", "PRIMARY", "W", CANARY]


@pytest.fixture
def marked_tree(tmp_path, write_dicom):
    random = np.random.default_rng(0)
    lines = ["sop_instance_uid,label"]
    for patient in range(4):
        for place in range(2):
            uid = f"2.25.{DIGITS}{patient}{place}"
            path = tmp_path / f"{CANARY} tree" / f"{CANARY}^{patient}" / f"{CANARY}{place}.dcm"
            dataset = write_dicom(
                path,
                random.integers(0, 4000, (24, 20)).astype(np.uint16),
                SOPInstanceUID=uid,
                SeriesInstanceUID=f"2.25.{DIGITS}1{patient}",
                StudyInstanceUID=f"2.25.{DIGITS}2{patient}",
                PatientID=f"{CANARY}{patient}",
                FrameOfReferenceUID=f"2.25.{DIGITS}3",
                ImagePositionPatient=[0, 0, 3.0 * place],
            )
            _fill(dataset)
            dataset.save_as(path)
            lines.append(f"{uid},{place}")
    (tmp_path / f"{CANARY} tree" / f"{CANARY}.txt").write_text(CANARY)
    (tmp_path / f"{CANARY}.csv").write_text("\n".join(lines))
    return tmp_path / f"{CANARY} tree", tmp_path / f"{CANARY}.csv"


def _everything(folder):
    return b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_no_mark_reaches_the_cohort(marked_tree, tmp_path, fistula_here):
    source, labels = marked_tree
    arguments = ("workers.count=1", "size=16", "spacing_mm=1", f"out={tmp_path / 'cohort'}")
    code, _, error = fistula_here("ingest", f"source='{source}'", f"labels='{labels}'", *arguments)
    assert code == 0, error
    written = _everything(tmp_path / "cohort").lower()
    for mark in (CANARY, DIGITS, "Doe", "19800101", "20200101", "1980-01-01"):
        assert mark.lower().encode() not in written
    # Parquet may compress: the decoded table is searched as well.
    table = pl.read_parquet(tmp_path / "cohort" / "manifest.parquet").select(pl.exclude(pl.List)).write_csv().lower()
    assert CANARY.lower() not in table
    assert DIGITS not in table


def test_doctor_prints_and_stores_no_mark_but_the_path(marked_tree, tmp_path, fistula_here):
    source, _ = marked_tree
    source.rename(tmp_path / "tree")
    code, shown, error = fistula_here("doctor", "source=tree", "json=doctor.json", "decode=true", "workers.count=1")
    assert code == 0, error
    records = json.loads((tmp_path / "doctor.json").read_text())
    assert len(records) == 9
    without_paths = json.dumps([{**record, "path": ""} for record in records])
    assert CANARY not in without_paths
    assert DIGITS not in without_paths
    assert f"{CANARY}Manu" not in shown


@pytest.mark.slow
def test_no_mark_reaches_the_run_its_tracker_the_report_or_a_prediction(marked_tree, tmp_path, fistula_here):
    source, labels = marked_tree
    arguments = ("workers.count=1", "size=32", "spacing_mm=1", f"out={tmp_path / 'cohort'}")
    assert fistula_here("ingest", f"source='{source}'", f"labels='{labels}'", *arguments)[0] == 0
    # random pixels resemble nothing, but every patient has both labels: the split is checked, the scores are chance
    tiny = [override for override in TINY_RUN if not override.startswith("logger")]
    code, _, error = fistula_here("train", f"cohort={tmp_path / 'cohort'}", *tiny, "hydra.run.dir=run")
    assert code == 0, error
    code, _, error = fistula_here("report", "study=run", "resamples=20")
    assert code == 0, error
    assert list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    written = _everything(tmp_path / "run").lower()
    for mark in (CANARY, DIGITS, "Doe^", "19800101", "1980-01-01"):
        assert mark.lower().encode() not in written
    arguments = (f"source='{source}'", "out=prediction", "workers.count=1")
    code, shown, error = fistula_here("predict", "run=run", *arguments)
    assert code == 0, error
    assert (tmp_path / "prediction" / "index.html").is_file()
    written = _everything(tmp_path / "prediction").lower()
    # Whoever asks for a prediction has to find the images again: the UIDs of image and series are in its tables.
    for patient in range(4):
        for uid in (f"{patient}0", f"{patient}1", f"1{patient}"):
            written = written.replace(f"2.25.{DIGITS}{uid}".encode(), b"")
    for mark in (CANARY, DIGITS, "Doe^", "19800101", "1980-01-01"):
        assert mark.lower().encode() not in written
        assert mark.lower() not in shown.lower()


# What libraries would like to complain of, with the value: bytes that no library would write.
DAMAGE = {
    "SpecificCharacterSet": b"FOO ",
    "SeriesNumber": f"{DIGITS}12".encode(),
    "PatientWeight": CANARY.encode() + b" ",
    "StudyTime": CANARY.encode() + b" ",
    "FrameOfReferenceUID": f"2.25.{DIGITS}.0{CANARY}".encode(),
    "PatientBirthDate": b"19270304",
    "StudyDate": b"20200102",
}


def _serve(source, folder):
    """Upload a slice, all of them under their own names, and what is no image; give the answers and what was said."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in source.rglob("*"):
            archive.write(path, path.relative_to(source))
    settings = {"FISTULA_PSEUDONYM_KEY_FILE": str(folder / "key"), "PYTHONWARNINGS": "always"}
    command = [sys.executable, "-u", "-m", "fistula.cli", "serve", "run=run", "port=0"]
    output = (folder / "serve.txt").open("w+")
    with subprocess.Popen(command, cwd=folder, env=os.environ | settings, stdout=output, stderr=output) as serving:
        try:
            while not (found := re.search(r"http://\S+", (folder / "serve.txt").read_text())):
                assert serving.poll() is None, (folder / "serve.txt").read_text()
                time.sleep(0.1)
            uploads = [next(source.rglob("*.dcm")).read_bytes(), packed.getvalue(), f"{CANARY}^John".encode()]
            asked = [(at, content) for at in ("predict", "page") for content in uploads]
            answers = [httpx.post(f"{found[0]}/{at}", content=content, timeout=120) for at, content in asked]
        finally:
            serving.send_signal(signal.SIGINT)
    assert [answer.status_code for answer in answers] == [200, 200, 422] * 2
    pictures = re.compile(r"data:[\w/+-]+;base64,[\w+/=]+")  # any three letters stand in one of them
    return pictures.sub("", "".join(answer.text for answer in answers)), (folder / "serve.txt").read_text()


@pytest.mark.slow
def test_no_mark_reaches_a_terminal_or_file_of_any_command(marked_tree, tmp_path, fistula):
    """In processes of their own, whose terminals show what libraries log and warn of, too."""
    source, labels = marked_tree
    for path in source.rglob("*.dcm"):
        with_bytes(path, path, **DAMAGE)
    marks = (CANARY, DIGITS, "Doe", "19270304", "1927-03-04", "20200102", "2020-01-02", "92.8", "FOO ")

    def said(*arguments, code=0, but=(), **environment):
        done = fistula(
            *arguments,
            **{"FISTULA_PSEUDONYM_KEY_FILE": str(tmp_path / "key"), "PYTHONWARNINGS": "always"} | environment,
        )
        assert done.returncode == code, done.stdout + done.stderr
        shown = (done.stdout + done.stderr).lower()
        for mark in marks:
            assert mark in but or mark.lower() not in shown, (arguments[0], mark)
        return shown

    small = ("workers.count=1", "size=32", "spacing_mm=1")
    said("ingest", f"source='{source}'", f"labels='{labels}'", "out=cohort", *small)
    manifest = pl.read_parquet(tmp_path / "cohort" / "manifest.parquet")
    assert manifest["age"].unique().to_list() == [90.0]
    # Doctor shows on this screen whose the series are, and the path; never a UID or a date.
    said("doctor", f"source='{source}'", "json=doctor.json", "decode=true", "workers.count=1", but=(CANARY,))
    said("train", "cohort=cohort", *[one for one in TINY_RUN if not one.startswith("logger")], "hydra.run.dir=run")
    said("report", "study=run", "resamples=20")
    said("predict", "run=run", f"source='{source}'", "out=prediction", "dicom=true", "overlays=all", "workers.count=1")
    assert len(list((tmp_path / "prediction" / "dicom").glob("*.dcm"))) == 12
    answered, told = _serve(source, tmp_path)
    for patient in range(4):  # whoever uploads has to find the images again
        for uid in (f"{patient}0", f"{patient}1", f"1{patient}"):
            answered = answered.replace(f"2.25.{DIGITS}{uid}", "")
    assert "image_number" in answered
    for mark in marks:
        assert mark.lower() not in told.lower(), ("serve", mark)
        assert mark not in answered, ("serve's answers", mark)
    shutil.rmtree(tmp_path / "prediction" / "dicom")  # they name the patient, as was asked
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "90+" in page
    for folder in ("cohort", "run", "prediction"):
        written = _everything(tmp_path / folder)
        for table in (tmp_path / folder).rglob("*.parquet"):  # which may compress
            written += pl.read_parquet(table).select(pl.exclude(pl.List)).write_csv().encode()
        for patient in range(4):
            for uid in (f"{patient}0", f"{patient}1", f"1{patient}"):
                written = written.replace(f"2.25.{DIGITS}{uid}".encode(), b"") if folder == "prediction" else written
        written = re.sub(rb"\d+\.\d{4,}", b"", written)  # coordinates of a plot; an age has one decimal
        for mark in marks:
            assert mark.encode() not in written, (folder, mark)
