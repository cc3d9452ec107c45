import csv
import json
import sys

import pydicom
import pytest
from PIL import Image

from ..dicom.test_objects import with_bytes
from ..dicom.test_privacy import CANARY, _everything, _fill


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_patient_is_scored_into_tables_overlays_and_a_page(study, one_patient, fistula_here, tmp_path):
    arguments = (f"run={study}", f"source={one_patient}", "out=out", "overlays=all", "workers.count=1")
    code, shown, error = fistula_here("predict", *arguments)
    assert code == 0, error
    assert shown.splitlines()[-1] == "out/index.html"
    out = tmp_path / "out"
    slices, patients = table(out / "predictions.csv"), table(out / "patients.csv")
    assert len(slices) == len(list(one_patient.glob("*.dcm")))
    assert all(row["instance_uid"].startswith("2.25.") and 0 <= float(row["score"]) <= 1 for row in slices)
    assert [row["slices"] for row in patients] == [str(len(slices))]
    assert patients[0]["known"] in ("trained on", "validated on")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["slices"] == len(slices)
    assert len(summary["runs"]) == 2
    drawn = {path.stem for path in (out / "overlays").glob("*.png")}
    assert drawn == {row["slice_key"] for row in slices}
    assert Image.open(out / "overlays" / f"{slices[0]['slice_key']}.png").size == (64, 64)
    page = (out / "index.html").read_text()
    assert page.count("data:image/webp") == 2 * len(slices)
    assert page.count("do not use them to locate it") == 1  # nobody asked `fistula explain`
    called = summary["called_from"]
    for rows, limit in ((slices, called["slices"]), (patients, called["patients"])):
        assert all((row["decision"] == "fistula") == (float(row["score"]) >= limit) for row in rows)
    assert page.count(f"patients with a score of {called['patients']:.3f} or higher are called fistula") == 1
    known = {"trained on": "in the training set", "validated on": "in the validation set"}[patients[0]["known"]]
    assert page.count(known) == 1
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(("which", "number"), [("places", 0), ("none", 0), ("positive", None)])
def test_overlays_are_drawn_as_asked(study, one_patient, fistula_here, tmp_path, which, number):
    arguments = (f"run={study}", f"source={one_patient}", "out=out", f"overlays={which}", "workers.count=1")
    assert fistula_here("predict", *arguments)[0] == 0
    positive = [row for row in table(tmp_path / "out" / "predictions.csv") if row["decision"] == "fistula"]
    assert len(list((tmp_path / "out").glob("overlays/*"))) == (len(positive) if number is None else number)


def test_no_name_reaches_what_is_written(study, fistula_here, tmp_path, write_dicom):
    source = tmp_path / f"{CANARY} tree"
    for place in range(3):
        path = source / f"{CANARY}{place}.dcm"
        image = write_dicom(path, PatientID=f"{CANARY}", SOPInstanceUID=f"2.25.4{place}", InstanceNumber=place)
        _fill(image)
        image.save_as(path)
    (source / f"{CANARY}.dcm").write_text("no DICOM")
    assert fistula_here("predict", f"run={study}", f"source='{source}'", "out=out", "workers.count=1")[0] == 4
    written = _everything(tmp_path / "out").lower()
    for mark in (CANARY, "Doe", "19800101", "20200101"):
        assert mark.lower().encode() not in written


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("source=nowhere", "out=out"), "source=nowhere: does not exist"),
        (("source=empty", "out=out"), "source=empty: has no files"),
        (("source=.", "out=empty"), "out=empty: already exists"),
        (
            ("source=empty", "out=out", "overlays=some"),
            "overlays: must be one of places, positive, all, none, found some",
        ),
        (
            ("source=empty", "out=out", "only=nothing*"),
            r"must hold a finished run named like nothing*, found none. Its runs are ",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_writes_nothing(study, fistula_here, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    code, _, error = fistula_here("predict", f"run={study}", *arguments)
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_nothing(study, one_patient, fistula_here, tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fistula.predict.out.write.render_page", fail)
    code, _, error = fistula_here("predict", f"run={study}", f"source={one_patient}", "out=out", "workers.count=1")
    assert (code, error.count("\n")) == (2, 1)
    assert "cannot be written (No space left on device). Free some space" in error
    assert not list(tmp_path.glob("*out*"))


def beside_the_scores(out, code, error, *, slices, failed, lacks="some of the files that accompany the scores"):
    """What fails is named, costs no other score, and is told by the exit code."""
    assert (code, error.count("\n")) == (4, 1)
    assert f"lacks {lacks}" in error
    assert len(table(out / "predictions.csv")) == slices
    found = json.loads((out / "summary.json").read_text())["failed"]
    assert found == failed
    return found


def test_an_image_that_cannot_be_read_costs_no_other_its_score(study, one_patient, fistula_here, tmp_path):
    (tmp_path / "in").mkdir()
    paths = sorted(one_patient.glob("*.dcm"))
    for path in paths:
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes()[: 3000 if path == paths[0] else None])
    arguments = (f"run={study}", "source=in", "out=out", "overlays=none", "workers.count=1")
    code, _, error = fistula_here("predict", *arguments)
    failed = ["scores of unreadable images: 1"]
    beside_the_scores(tmp_path / "out", code, error, slices=len(paths) - 1, failed=failed, lacks="the scores of some")
    assert "The other scores are complete" in error
    assert [row["reason"] for row in table(tmp_path / "out" / "left_out.csv")] == ["pixel data cut short"]


def test_different_images_under_one_uid_are_scored_apart_and_said(study, one_patient, fistula_here, tmp_path):
    paths = sorted(one_patient.glob("*.dcm"))
    first = pydicom.dcmread(paths[0])
    for path in paths:
        image = pydicom.dcmread(path)
        if path == paths[1]:
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
        (tmp_path / "in").mkdir(exist_ok=True)
        image.save_as(tmp_path / "in" / path.name)
    arguments = (f"run={study}", "source=in", "out=out", "overlays=none", "workers.count=1")
    code, shown, error = fistula_here("predict", *arguments)
    assert code == 0, error
    words = "images that share their SOPInstanceUID with another, each taken as one of its own: 2"
    assert f"noted: {words}" in shown
    assert words in json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]
    assert len(table(tmp_path / "out" / "predictions.csv")) == len(paths)


@pytest.mark.parametrize(
    ("first", "others", "notes"),
    [
        ("syn-1", "SYN 1", ["groups of PatientIDs that differ only in case", "studies with several PatientIDs: 1"]),
        ("", "", ["images without a PatientID, whose study is used as the patient: "]),
        ("", "SYN 1", []),
    ],
)
def test_whose_images_are_is_said_where_it_is_in_doubt(
    study, one_patient, fistula_here, tmp_path, first, others, notes
):
    paths = sorted(one_patient.glob("*.dcm"))
    (tmp_path / "in").mkdir()
    for path in paths:
        image = pydicom.dcmread(path)
        image.PatientID = first if path == paths[0] else others
        image.save_as(tmp_path / "in" / path.name)
    code, shown, error = fistula_here("predict", f"run={study}", "source=in", "out=out", "workers.count=1")
    assert code == 0, error
    assert all(f"noted: {note}" in shown for note in notes)
    assert ("PatientID" in shown) is bool(notes)


def test_objects_that_cannot_be_sent_cost_no_score(study, one_patient, fistula_here, tmp_path):
    arguments = (f"run={study}", f"source={one_patient}", "out=out", "overlays=none", "workers.count=1")
    archive = ("send=dimse://A@127.0.0.1:1", "archive.retries=0")
    code, shown, error = fistula_here("predict", *arguments, *archive)
    failed = ["send=dimse://A@127.0.0.1:1: does not respond (Connection refused)"]
    beside_the_scores(tmp_path / "out", code, error, slices=len(list(one_patient.iterdir())), failed=failed)
    assert [path.name.partition("-")[0] for path in (tmp_path / "out" / "dicom").iterdir()] == ["report"]
    assert "stored" not in shown


def test_a_map_or_picture_that_fails_costs_no_score(study, one_patient, fistula_here, tmp_path, monkeypatch):
    import fistula.explain.cam
    import fistula.predict.out.overlay

    asked = []

    def fail_once(*arguments, **keywords):
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError("CUDA error")
        return fistula.explain.cam.saliency(*arguments, **keywords)

    monkeypatch.setattr(fistula.predict.out.overlay, "saliency", fail_once)
    arguments = (f"run={study}", f"source={one_patient}", "overlays=all", "workers.count=1")
    code, _, error = fistula_here("predict", *arguments, "out=out")
    keys = [row["slice_key"] for row in table(tmp_path / "out" / "predictions.csv")]
    failed = [f"overlays/{keys[0]}.png: RuntimeError"]
    beside_the_scores(tmp_path / "out", code, error, slices=len(keys), failed=failed)
    assert {path.stem for path in (tmp_path / "out" / "overlays").iterdir()} == set(keys[1:])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not made: overlays/" in page
    monkeypatch.undo()


def test_a_full_disk_costs_the_pictures_but_no_score(study, one_patient, fistula_here, tmp_path, monkeypatch):
    def fail(image, path, **keywords):
        if str(path).endswith(".png"):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return save(image, path, **keywords)

    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", fail)
    arguments = (f"run={study}", f"source={one_patient}", "out=out", "overlays=all", "workers.count=1")
    code, _, error = fistula_here("predict", *arguments)
    keys = [row["slice_key"] for row in table(tmp_path / "out" / "predictions.csv")]
    failed = [f"overlays/{key}.png: OSError" for key in keys]
    beside_the_scores(tmp_path / "out", code, error, slices=len(keys), failed=failed)
    assert list((tmp_path / "out" / "overlays").iterdir()) == []


def test_an_object_that_fails_costs_no_other_and_a_damaged_date_costs_none(study, one_patient, fistula_here, tmp_path):
    damage = [
        {"PatientBirthDate": b"19801301", "PatientSex": b"X "},
        {"SpecificCharacterSet": b"FOO ", "PatientName": b"M\xfcller"},
    ]
    paths = sorted(one_patient.glob("*.dcm"))
    (tmp_path / "in").mkdir()
    for place, path in enumerate(paths):
        with_bytes(path, tmp_path / "in" / path.name, **(damage[place] if place < 2 else {}))
    arguments = (f"run={study}", "source=in", "out=out", "overlays=all", "workers.count=1", "dicom=true")
    code, _, error = fistula_here("predict", *arguments)
    rows = table(tmp_path / "out" / "predictions.csv")
    uids = {row["instance_uid"]: row["slice_key"] for row in rows}
    bad = uids[str(pydicom.dcmread(paths[1]).SOPInstanceUID)]
    reason = "a source image has text in a character set that is unknown"
    failed = [
        f"dicom/overlay-{bad}.dcm: {reason}",
        f"dicom/report-{table(tmp_path / 'out' / 'series.csv')[0]['series_key']}.dcm: {reason}",
    ]
    beside_the_scores(tmp_path / "out", code, error, slices=len(paths), failed=failed)
    written = {path.name for path in (tmp_path / "out" / "dicom").iterdir()}
    assert written == {f"overlay-{key}.dcm" for key in set(uids.values()) - {bad}}
    notes = json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]
    assert "left empty in DICOM objects because the source is damaged: PatientBirthDate, PatientSex" in notes


def test_slices_are_told_by_their_image_number(study, one_patient, fistula_here, tmp_path):
    numbers = {
        str(pydicom.dcmread(path).SOPInstanceUID): int(pydicom.dcmread(path).InstanceNumber)
        for path in one_patient.iterdir()
    }
    arguments = (f"run={study}", f"source={one_patient}", "out=out", "overlays=none", "workers.count=1")
    assert fistula_here("predict", *arguments)[0] == 0
    found = {row["instance_uid"]: int(row["image_number"]) for row in table(tmp_path / "out" / "predictions.csv")}
    assert found == numbers
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f" image&nbsp;{number} " in page for number in numbers.values())


def test_dicom_objects_are_written_where_asked(study, one_patient, fistula_here, tmp_path):
    arguments = (f"run={study}", f"source={one_patient}", "out=out", "overlays=all", "workers.count=1", "dicom=true")
    assert fistula_here("predict", *arguments)[0] == 0
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "out" / "dicom").iterdir())
    assert names == ["overlay"] * len(list(one_patient.glob("*.dcm"))) + ["report"]


def test_an_archive_that_does_not_answer_leaves_nothing(study, fistula_here, tmp_path):
    code, _, error = fistula_here(
        "predict", f"run={study}", "source=dimse://A@127.0.0.1:1/1.2", "out=out", "archive.retries=0"
    )
    assert (code, "dimse://A@127.0.0.1:1: does not respond" in error) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("predict run=nowhere source=nowhere out=out dicom=true", "highdicom"),
        ("predict run=nowhere source=nowhere out=out send=dimse://A@127.0.0.1:1", "pynetdicom"),
        ("predict run=nowhere source=dimse://A@127.0.0.1:1/1.2 out=out", "pynetdicom"),
        ("predict run=nowhere source=dicomweb://127.0.0.1:1/studies/1.2 out=out", "dicomweb_client"),
        ("ingest source=dimse://A@127.0.0.1:1/1.2 labels=nowhere.csv out=out", "pynetdicom"),
        ("ingest source=dicomweb://127.0.0.1:1/studies/1.2 labels=nowhere.csv out=out", "dicomweb_client"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_read(fistula_here, monkeypatch, command, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, error = fistula_here(*command.split())
    remedy = f"needs {missing}, which is not installed. pip install 'fistula[dicom]'"
    assert (code, error) == (2, f"error: fistula {command.split()[0]}: {remedy}\n")
