"""`fistula doctor`: what it shows, what it writes (nothing but the file it was asked for), what it finds suspicious."""

import dataclasses
import json
import os
import shlex

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGExtended12Bit
from rich.console import Console

from ..misbehaving import b_values, cohort, one_id, series_a_slice, write

QUICK = ("workers.count=1",)


def test_a_tree_is_described_and_nothing_is_written(dicom_tree, tmp_path, fistula_here, monkeypatch):
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    before = sorted(tmp_path.rglob("*"))
    code, shown, _ = fistula_here("doctor", f"source={dicom_tree[0]}", *QUICK)
    assert code == 0
    for words in (
        "4 series",
        "MR philips Ingenia",
        "water axial",
        "24x20",
        "1.0",
        "Explicit",
        "kept: 12 slices",
    ):
        assert words in shown
    monkeypatch.setattr("fistula.commands.doctor.wide_console", lambda: Console(width=80, highlight=False))
    _, narrow, _ = fistula_here("doctor", f"source={dicom_tree[0]}", *QUICK)  # a terminal of 80 columns
    assert "scanner MR philips Ingenia" in narrow
    first = " ".join(line.partition("│")[0].strip() for line in narrow.splitlines())
    assert "pixels 1.0 mm, slices 3.0 mm apart;" in first, first
    assert sorted(tmp_path.rglob("*")) == before


def test_a_header_has_no_say_over_the_terminal(dicom_tree, fistula_here):
    file = min(dicom_tree[0].rglob("*.dcm"))
    image = pydicom.dcmread(file)
    image["PatientID"]._value = "P\x1b[2J"
    image.save_as(file)
    file.rename(file.with_name("\x1b[31m.dcm"))
    (dicom_tree[0] / "\x1b[31mtorn.dcm").write_bytes(file.with_name("\x1b[31m.dcm").read_bytes()[:-10])
    shown = fistula_here("doctor", f"source={dicom_tree[0]}", "keep=all", *QUICK)
    refused = fistula_here(
        "ingest", f"source={dicom_tree[0]}", f"labels={dicom_tree[1]}", "keep=all", "out=out", *QUICK
    )
    assert (shown[0], refused[0]) == (0, 2)
    assert "P\ufffd[2J" in shown[1]
    assert "\ufffd[31mtorn.dcm (pixel data cut short)" in refused[2]
    assert "\x1b" not in "".join((*shown[1:], *refused[1:]))


def test_pictures_without_headers_are_sent_to_ingest(tmp_path, fistula_here):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.PNG").write_bytes(b"\x89PNG")
    code, shown, _ = fistula_here("doctor", "source=pictures", *QUICK)
    assert code == 0
    assert "pictures name no patients: labels need a column patient_id" in shown


def test_json_has_one_record_a_file(dicom_tree, tmp_path, fistula_here):
    (dicom_tree[0] / "notes.txt").write_text("text")
    broken = dicom_tree[0] / "P0" / "0.dcm"
    broken.write_bytes(broken.read_bytes()[:-10])
    code, shown, _ = fistula_here("doctor", f"source={dicom_tree[0]}", "json=out.json", *QUICK)
    assert code == 0
    assert shown.endswith(f"next: fistula ingest source={dicom_tree[0]} labels=labels.csv out=data/cohort\n")
    records = {record["path"]: record for record in json.loads((tmp_path / "out.json").read_text())}
    assert len(records) == 13
    assert set(next(iter(records.values()))) == {"path", "outcome", "reason", "series", "frames"}
    assert records[str(dicom_tree[0] / "notes.txt")]["outcome"] == "skipped"
    assert records[str(broken)] | {"series": None} == {
        "path": str(broken), "outcome": "refused", "reason": "pixel data cut short", "series": None, "frames": 0,
    }  # fmt: skip
    images = [record for record in records.values() if record["outcome"] == "image"]
    assert len({record["series"] for record in images}) == 4
    assert {record["frames"] for record in images} == {1}


def test_an_undecodable_syntax_is_named_with_the_package_that_mends_it(tmp_path, fistula_here):
    from pathlib import Path

    folder = tmp_path / "tree"
    folder.mkdir()
    content = Path(get_testdata_file("JPGExtended.dcm")).read_bytes()
    for name in ("a", "b"):
        (folder / name).write_bytes(content)
    _, shown, _ = fistula_here("doctor", f"source={folder}", *QUICK)
    assert "12-bit lossy JPEG" in shown
    assert "pip install 'fistula[gpl-decoders]'" in shown
    assert "next:" not in shown
    assert JPEGExtended12Bit.name in shown


def test_suspicions_are_told(dicom_tree, tmp_path, fistula_here, write_dicom):
    tree = dicom_tree[0]
    (tree / "copy.dcm").write_bytes((tree / "P0" / "0.dcm").read_bytes())
    write_dicom(tree / "a.dcm", SOPInstanceUID="2.25.71", PatientID="A", SeriesInstanceUID="2.25.7")
    other = ["DERIVED", "PRIMARY", "F", "F", "DERIVED"]
    write_dicom(tree / "b.dcm", SOPInstanceUID="2.25.72", PatientID="B", SeriesInstanceUID="2.25.7", ImageType=other)
    write_dicom(
        tree / "c.dcm", SOPInstanceUID="2.25.73", SeriesInstanceUID="2.25.8", BurnedInAnnotation="YES", PatientID=""
    )
    _, shown, _ = fistula_here("doctor", f"source={tree}", *QUICK)
    assert "series that mix sequences, orientations or matrices under one SeriesInstanceUID: 1" in shown
    assert "slices that are copies of another instance: 1" in shown
    assert "people with several PatientIDs, by birth date, sex and study date: 1" in shown
    assert "slices marked as having text burned in: 1" in shown
    assert "slices without a PatientID, whose study is used as the patient: 1" in shown


def test_a_label_that_goes_with_the_scanner_is_told(tmp_path, fistula_here, write_dicom):
    lines = ["sop_instance_uid,label"]
    for patient in range(6):
        uid = f"2.25.55{patient}"
        scanner = ("Ingenia", "Achieva")[patient % 2]
        write_dicom(
            tmp_path / "tree" / f"{patient}", SOPInstanceUID=uid, PatientID=str(patient), ManufacturerModelName=scanner
        )
        lines.append(f"{uid},{patient % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    _, shown, _ = fistula_here("doctor", "source=tree", "labels=labels.csv", *QUICK)
    assert "the class is associated with the scanner (Cramér's V 1.00 over 6 patients)" in shown


def test_decode_finds_pixels_that_the_header_does_not_betray(tmp_path, fistula_here):
    from pathlib import Path

    content = Path(get_testdata_file("MR_small_jpeg_ls_lossless.dcm")).read_bytes()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.dcm").write_bytes(content[:-3000])
    _, shown, _ = fistula_here("doctor", "source=tree", *QUICK)
    assert "1 series" in shown
    _, shown, _ = fistula_here("doctor", "source=tree", "decode=true", *QUICK)
    assert "refused" in shown


def test_text_in_a_corner_is_seen_when_decoding(tmp_path, fistula_here, write_dicom):
    from PIL import Image, ImageDraw

    picture = Image.fromarray(np.random.default_rng(0).normal(400, 100, (128, 128)).astype(np.int32), "I")
    ImageDraw.Draw(picture).text((4, 4), "Jane Doe", fill=4000)
    write_dicom(tmp_path / "tree" / "a", np.asarray(picture).clip(0, 4095).astype(np.uint16))
    plain = np.random.default_rng(1).normal(400, 100, (128, 128)).clip(0, 4095).astype(np.uint16)
    write_dicom(tmp_path / "tree" / "b", plain, SOPInstanceUID="2.25.12")
    _, shown, _ = fistula_here("doctor", "source=tree", "decode=true", *QUICK)
    assert "slices with a bright text-like corner: 1" in shown


@pytest.mark.parametrize(("name", "message"), [("nowhere", "does not exist"), ("empty", "has no files")])
def test_a_source_without_files_is_one_line(tmp_path, fistula_here, name, message):
    (tmp_path / "empty").mkdir()
    code, _, error = fistula_here("doctor", f"source={name}", *QUICK)
    assert code == 2
    assert message in error


def test_headers_are_read_without_the_pixels(tmp_path, fistula_here, write_dicom):
    for index in range(3):
        write_dicom(tmp_path / "tree" / f"{index}", np.zeros((256, 256), np.uint16), SOPInstanceUID=f"2.25.{index + 1}")
    # a file with a hole in the place of its pixels: as long as it has to be, and nothing in it to decode
    path = tmp_path / "tree" / "2"
    content = path.read_bytes()
    path.write_bytes(content[:-131072])
    os.truncate(path, len(content))
    assert path.stat().st_blocks < 100
    code, shown, _ = fistula_here("doctor", "source=tree", *QUICK)
    assert code == 0
    assert "3 series" in shown or "kept: 3 slices" in shown


def changed(images, **attributes):
    return [dataclasses.replace(one, attributes=one.attributes | attributes) for one in images]


MESSY = {
    "a clean archive": (cohort(), ()),
    "steep tilts": (cohort(tilt=44), ()),
    "coronal": (changed(cohort(), ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), ()),
    "another sequence": (changed(cohort(), ImageType=["ORIGINAL", "PRIMARY", "M_SE", "M"], ScanningSequence="SE"), ()),
    "CT": (changed(cohort(), Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]), ()),
    "localizers alone": (changed(cohort(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), ()),
    "mosaics alone": (changed(cohort(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), ()),
    "no image type": (changed(cohort(), ImageType=None, ScanningSequence=None), ()),
    "b-values": (b_values(cohort()), ()),
    "a series a slice": (series_a_slice(cohort()), ()),
    "one id for all": (one_id(cohort()), ()),
    "no id": (one_id(cohort(), ""), ()),
    "one id, by study": (one_id(cohort()), ("patient=study",)),
    "by folder": (one_id(cohort()), ("patient=folder:1",)),
    "by a folder that is not there": (cohort(), ("patient=folder:4",)),
    "two pictures under one UID": (cohort() + changed(cohort(1), PatientID="OTHER", StudyInstanceUID="2.25.44"), ()),
    "magnitudes and a map": (cohort() + [
        dataclasses.replace(one, uid=f"{one.uid}9", attributes=one.attributes | {
            "ImageType": ["DERIVED", "PRIMARY", "ADC"], "SeriesInstanceUID": f"2.25.55{one.patient}"})
        for one in cohort(1)], ()),
}  # fmt: skip


@pytest.mark.parametrize(("images", "options"), MESSY.values(), ids=MESSY)
def test_what_doctor_advises_leads_to_a_cohort_or_nothing_is_advised(
    tmp_path, fistula_here, write_dicom, images, options
):
    write(tmp_path / "archive", images, write_dicom)
    for _ in range(3):
        code, shown, error = fistula_here("doctor", "source=archive", "labels=todo.csv", *options, *QUICK)
        assert code == 0, error
        fits = [line for line in shown.splitlines() if line.startswith("options that fit these data: ")]
        options = [*options, *shlex.split(fits[0].partition(": ")[2])] if fits else options
        if not fits:
            break
    assert not fits, "what fits did not fit"
    follow = [line for line in shown.splitlines() if line.startswith("next: fistula ingest ")]
    if not follow:
        assert "ingest would stop: " in shown
        return
    lines = (tmp_path / "todo.csv").read_text().splitlines()
    assert len(lines) > 1
    (tmp_path / "todo.csv").write_text(
        "\n".join([lines[0], *(f"{line}{place % 2}" for place, line in enumerate(lines[1:]))])
    )
    code, _, error = fistula_here(*shlex.split(follow[0].partition(": fistula ")[2]), *QUICK, "size=16", "spacing_mm=2")
    assert code == 0, error
    assert json.loads((tmp_path / "data" / "cohort" / "ingest.json").read_text())["slices"] == len(lines) - 1


def test_ct_is_advised_a_window_and_a_table_beside_the_images_is_named(tmp_path, fistula_here, write_dicom):
    for number in range(4):
        write_dicom(
            tmp_path / "in" / f"{number}.dcm", np.full((8, 8), number, np.int16), Modality="CT", PatientID=f"P{number}",
            SOPInstanceUID=f"2.25.1{number}", SeriesInstanceUID=f"2.25.2{number}", StudyInstanceUID=f"2.25.3{number}",
        )  # fmt: skip
    (tmp_path / "in" / "Table.CSV").write_text("patient_id,label\n")
    code, shown, error = fistula_here("doctor", "source=in", "keep=all", *QUICK)
    assert code == 0, error
    assert "intensity=window keeps them" in shown
    assert "without labels:" not in shown
    last = "next: fistula ingest source=in labels=in/Table.CSV keep=all intensity=window out=data/cohort"
    assert shown.splitlines()[-1] == last


def test_a_misspelt_table_is_no_table_to_be_made(dicom_tree, tmp_path, fistula_here):
    code, _, error = fistula_here("doctor", f"source={dicom_tree[0]}", "labels=lables.csv", *QUICK)
    assert (code, error.count("\n")) == (2, 1)
    assert "labels=lables.csv: does not exist. Did you mean labels.csv?" in error
    assert not (tmp_path / "lables.csv").exists()
    assert fistula_here("doctor", f"source={dicom_tree[0]}", "labels=template.csv", *QUICK)[0] == 0
    assert (tmp_path / "template.csv").read_text().startswith("sop_instance_uid,patient_id,series,")
