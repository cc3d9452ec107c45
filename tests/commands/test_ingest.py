"""`fistula ingest` from the command line: what it writes, what it refuses, and what it leaves behind when it fails."""

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import polars as pl
import pydicom
import pytest
import zstandard
from PIL import Image
from pydicom.uid import EnhancedMRImageStorage

from fistula.cohort.manifest import EXTRA, SCHEMA, read_cohort

from ..conftest import item_of

SMALL = ("size=16", "spacing_mm=1.0", "workers.count=1")


def _ingest(run, tree, out, *more):
    source, labels = tree
    return run("ingest", f"source={source}", f"labels={labels}", f"out={out}", *SMALL, *more)


def _write_pictures(folder):
    random = np.random.default_rng(0)
    lines = ["path,label,patient_id,split,site,opening_row,opening_col"]
    for index in range(8):
        Image.fromarray(random.integers(0, 256, (40, 20), dtype=np.uint8)).save(folder / f"{index}.png")
        opening = "10,4" if index % 2 else ","
        lines.append(f"{index}.png,{index % 2},{index // 2:02d},{'train' if index < 4 else 'test'},Berlin,{opening}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder, folder / "labels.csv"


def test_a_dicom_tree_becomes_a_cohort_that_opens(dicom_tree, tmp_path, fistula_here):
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.pixels.shape == (12, 16, 16)
    assert cohort.manifest["patient_key"].n_unique() == 4
    assert cohort.manifest["label"].sum() == 4
    assert cohort.manifest.columns == [*SCHEMA, *EXTRA]
    assert (tmp_path / "cohort" / "contact_sheet.png").is_file()
    for words in ("exclusion flow", "contact_sheet.png", "next: fistula train cohort="):
        assert words in shown


def test_a_site_is_one_in_upper_and_lower_case(dicom_tree, tmp_path, fistula_here):
    header, *lines = dicom_tree[1].read_text().split()
    sites = [f"{line},{('Berlin', 'BERLIN ')[number % 2]}" for number, line in enumerate(lines)]
    dicom_tree[1].write_text("\n".join([f"{header},site", *sites]))
    _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert read_cohort(tmp_path / "cohort").manifest["site"].unique().to_list() == ["BERLIN"]


def test_folders_that_are_passed_over_are_counted(dicom_tree, tmp_path, fistula_here):
    (dicom_tree[0] / ".Trash-1000" / "files").mkdir(parents=True)
    said = "folders of deleted files, snapshots or thumbnails, not read (.trash): 1"
    assert f"noted: {said}" in _ingest(fistula_here, dicom_tree, tmp_path / "cohort")[1]
    assert f"suspicious: {said}" in fistula_here("doctor", f"source={dicom_tree[0]}", "workers.count=1")[1]


def test_slices_are_ordered_by_position_and_never_by_instance_number(dicom_tree, tmp_path, fistula_here):
    _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    manifest = read_cohort(tmp_path / "cohort").manifest
    for _, series in manifest.group_by("series_key", maintain_order=True):
        assert series["position_mm"].to_list() == [0.0, 3.0, 6.0]


def test_order_and_pixels_do_not_depend_on_names_paths_or_key(dicom_tree, tmp_path, fistula_here, monkeypatch):
    _ingest(fistula_here, dicom_tree, tmp_path / "first")
    moved = tmp_path / "moved"
    for index, path in enumerate(sorted(dicom_tree[0].rglob("*.dcm"), reverse=True)):
        target = moved / f"Z{index}" / "deeper" / "IM"
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "other.key"))
    _ingest(fistula_here, (moved, dicom_tree[1]), tmp_path / "second")
    first, second = read_cohort(tmp_path / "first"), read_cohort(tmp_path / "second")
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.manifest["label"].to_list() == second.manifest["label"].to_list()
    assert set(first.manifest["patient_key"]).isdisjoint(second.manifest["patient_key"])


def test_the_same_key_gives_the_same_cohort_byte_for_byte(dicom_tree, tmp_path, fistula_here):
    _ingest(fistula_here, dicom_tree, tmp_path / "first")
    _ingest(fistula_here, dicom_tree, tmp_path / "second")
    for name in ("manifest.parquet", "pixels.npy", "ingest.json", "contact_sheet.png"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_pictures_become_a_cohort_with_split_site_and_opening(tmp_path, fistula_here):
    (tmp_path / "pictures").mkdir()
    code, _, _ = _ingest(fistula_here, _write_pictures(tmp_path / "pictures"), tmp_path / "cohort")
    assert code == 0
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.pixels.shape == (8, 16, 16)
    assert cohort.manifest["patient_key"].n_unique() == 4
    assert set(cohort.manifest["site"]) == {"Berlin"}
    assert sorted(cohort.manifest["split"]) == ["test"] * 4 + ["train"] * 4
    # 40 rows fit into 16: (10.5 * 0.4 - 0.5) rows down; 20 columns become 8, which stand 4 from the left.
    opening = cohort.manifest.filter(pl.col("label") == 1).row(0, named=True)
    assert opening["opening_row"] == pytest.approx(3.7)
    assert opening["opening_col"] == pytest.approx(4.5 * 0.4 - 0.5 + 4)


def test_the_keep_rules_leave_out_the_fat_images_and_say_so(dicom_tree, tmp_path, fistula_here, write_dicom):
    write_dicom(
        dicom_tree[0] / "fat.dcm", SOPInstanceUID="2.25.777", ImageType=["DERIVED", "PRIMARY", "F", "F", "DERIVED"]
    )
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0
    assert "component fat" in shown
    steps = {step["stage"]: step for step in json.loads((tmp_path / "cohort" / "ingest.json").read_text())["flow"]}
    assert list(steps) == ["found", "readable", "image", "slices", "right sequence", "labelled", "kept"]
    assert steps["right sequence"]["excluded"] == {"component fat": 1}


def test_a_patient_without_a_readable_slice_is_left_out_where_that_is_allowed(dicom_tree, tmp_path, fistula_here):
    for path in sorted((dicom_tree[0] / "P3").iterdir()):
        image = pydicom.dcmread(path)
        image.FloatPixelData, image.BitsAllocated = np.full(image.pixel_array.shape, np.nan, "<f4").tobytes(), 32
        del image.PixelData
        image.save_as(path)
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert "the pixels of every chosen image must be readable, found 3: P3/0.dcm (pixel values that are not" in error
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", "unreadable=exclude")
    assert code == 0
    assert "pixel values that are not finite" in shown
    assert len(read_cohort(tmp_path / "cohort").manifest) == 9


def test_padding_and_marks_like_text_are_noted(dicom_tree, tmp_path, fistula_here, write_dicom):
    pixels = np.full((64, 64), 100, np.uint16)
    pixels[:, 60:] = 0
    for place in range(5):  # strokes of a letter's size, as bright as nothing else
        pixels[4:11, 2 + 3 * place] = 4000
    write_dicom(dicom_tree[0] / "one.dcm", pixels, SOPInstanceUID="2.25.777", PixelPaddingValue=0, PatientID="9")
    with dicom_tree[1].open("a") as file:
        file.write("2.25.777,0\n")
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0
    assert "noted: pixel padding: 1" in shown
    assert "noted: bright text-like corner: 1" in shown


def test_of_magnitude_and_phase_in_one_enhanced_object_the_magnitude_is_kept(tmp_path, fistula_here, write_dicom):
    parts = ("MAGNITUDE", "PHASE") * 3
    frames = [
        item_of(
            PlanePositionSequence=[item_of(ImagePositionPatient=[0, 0, 3.0 * (index // 2)])],
            MRImageFrameTypeSequence=[
                item_of(FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"], ComplexImageComponent=part)
            ],
        )
        for index, part in enumerate(parts)
    ]
    for patient in range(2):
        pixels = np.arange(6 * 16 * 16, dtype=np.uint16).reshape(6, 16, 16) + np.uint16(1000 * patient)
        write_dicom(
            tmp_path / "tree" / f"{patient}",
            pixels,
            SOPClassUID=EnhancedMRImageStorage,
            PatientID=f"{patient}",
            SOPInstanceUID=f"2.25.5{patient}",
            SeriesInstanceUID=f"2.25.6{patient}",
            PerFrameFunctionalGroupsSequence=frames,
            SharedFunctionalGroupsSequence=[
                item_of(
                    PlaneOrientationSequence=[item_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                    PixelMeasuresSequence=[item_of(PixelSpacing=[1, 1])],
                )
            ],
            ImageType=["ORIGINAL", "PRIMARY", "T1", "MIXED"],
            drop=("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
        )
    (tmp_path / "labels.csv").write_text("sop_instance_uid,frame_number,label\n2.25.50,,0\n2.25.51,,1\n")
    tree = tmp_path / "tree", tmp_path / "labels.csv"
    code, shown, error = _ingest(fistula_here, tree, tmp_path / "cohort", "keep=mr", "intensity=min_max")
    assert (code, error) == (0, "")
    assert "component phase" in shown
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.manifest.group_by("patient_key").agg(pl.col("frame"))["frame"].to_list() == [[0, 2, 4]] * 2
    assert set(cohort.manifest["component"]) == {"magnitude"}
    steps = {step["stage"]: step for step in json.loads((tmp_path / "cohort" / "ingest.json").read_text())["flow"]}
    assert steps["right sequence"] | {"excluded": {"component phase": 6}, "count": 6} == steps["right sequence"]
    first = np.arange(6 * 256).reshape(6, 256)[::2]
    expected = np.rint((first - first.min()) / (first.max() - first.min()) * 255).astype(np.uint8).reshape(3, 16, 16)
    np.testing.assert_array_equal(cohort.pixels[:3], expected)


def test_words_for_labels_need_their_order(dicom_tree, tmp_path, fistula_here):
    table = dicom_tree[1].read_text().replace(",1\n", ",malignant\n").replace(",0\n", ",benign\n")
    dicom_tree[1].write_text(table)
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert "classes=[benign,malignant]" in error
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", "classes=[benign,malignant]")
    assert code == 0
    assert "positive class: malignant" in shown
    assert read_cohort(tmp_path / "cohort").classes == ["benign", "malignant"]


def test_positive_slices_alone_are_enough_with_other_patients_as_negatives(dicom_tree, tmp_path, fistula_here):
    dicom_tree[1].write_text("sop_instance_uid\n2.25.1001\n2.25.1002\n2.25.2001\n")
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", "negatives=other_patients")
    assert code == 0
    # Patients 0 and 1 keep their positive slices only; patients 2 and 3 give all of theirs.
    assert "9 slices of 4 patients (negative: 6, positive: 3)" in shown


def _no_dicom(tree):
    shutil.rmtree(tree[0])
    tree[0].mkdir()
    (tree[0] / "notes.txt").write_text("nothing here")


def _unreadable(tree):
    path = next(iter(sorted(tree[0].rglob("*.dcm"))))
    path.write_bytes(path.read_bytes()[:-100])


def _add_label(tree, line):
    with tree[1].open("a") as file:
        file.write(line + "\n")


def _one_class(tree):
    tree[1].write_text(tree[1].read_text().replace(",1\n", ",0\n"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_no_dicom, r"must hold at least one DICOM image, found not DICOM \(1\)", id="no DICOM found"),
        pytest.param(
            _unreadable, r"every image must be readable, found 1: P0/0.dcm \(pixel data cut short\)", id="unreadable"
        ),
        pytest.param(
            lambda tree: _add_label(tree, "2.25.5,1"),
            r"label must belong to an image .* line 14 \(2.25.5\)",
            id="no image",
        ),
        pytest.param(
            lambda tree: _add_label(tree, "2.25.1001,0"), r"line 14: gives 2.25.1001 two labels", id="two labels"
        ),
        pytest.param(_one_class, r"every class needs at least one image, found 0: 12, 1: 0", id="one class"),
        pytest.param(lambda tree: shutil.rmtree(tree[0]), r"does not exist", id="no source"),
        pytest.param(
            lambda tree: tree[1].unlink(),
            r"labels\.csv: cannot be read \(No such file or directory\)\. Check the path",
            id="no table",
        ),
        pytest.param(
            lambda tree: tree[1].write_text("sop_instance_uid,label,age\n1,1,2\n"),
            r"unknown column 'age'",
            id="unknown column",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(dicom_tree, tmp_path, fistula_here, spoil, message):
    spoil(dicom_tree)
    before = set(tmp_path.iterdir())
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert set(tmp_path.iterdir()) == before


def test_an_output_folder_that_cannot_be_made_is_refused(dicom_tree, tmp_path, fistula_here):
    (tmp_path / "file").write_text("in the way")
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "file" / "cohort")
    assert code == 2
    assert "file/cohort: cannot be made (" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets_of_other_countries_are_read(dicom_tree, tmp_path, fistula_here, delimiter):
    text = dicom_tree[1].read_text().replace(",", delimiter).replace("\n", "\r\n")
    dicom_tree[1].write_bytes(b"\xef\xbb\xbf" + text.encode())
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0, error


def test_an_output_folder_that_exists_is_refused(dicom_tree, tmp_path, fistula_here):
    (tmp_path / "cohort").mkdir()
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert "already exists" in error


@pytest.mark.parametrize(
    ("spoil", "option", "stage", "reason"),
    [
        (_unreadable, "unreadable=exclude", "readable", "pixel data cut short"),
    ],
)
def test_what_does_not_fit_can_be_left_out_and_is_counted(
    dicom_tree, tmp_path, fistula_here, spoil, option, stage, reason
):
    spoil(dicom_tree)
    more = [option] if option != "unreadable=exclude" else [option, "unmatched=exclude"]
    code, _, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", *more)
    assert code == 0
    steps = {step["stage"]: step for step in json.loads((tmp_path / "cohort" / "ingest.json").read_text())["flow"]}
    assert steps[stage]["excluded"] == {reason: 1}
    assert steps["kept"]["count"] == 11


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "send", "number", "said"),
    [
        (0.3, os.killpg, signal.SIGINT, "interrupted\n"),  # while the process that others are forked from imports
        (3, os.killpg, signal.SIGINT, "interrupted\n"),
        (3, os.kill, signal.SIGTERM, ""),
    ],
)
def test_an_interrupted_ingest_says_no_more_and_leaves_nothing(dicom_tree, tmp_path, seconds, send, number, said):
    source, labels = dicom_tree
    first = next(source.rglob("*.dcm"))
    for copy in range(20_000):
        (source / f"{copy}.dcm").hardlink_to(first)
    command = ["ingest", f"source={source}", f"labels={labels}", f"out={tmp_path / 'cohort'}", "workers.count=2"]
    started = subprocess.Popen(
        [sys.executable, "-m", "fistula.cli", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    time.sleep(seconds)
    send(started.pid, number)
    _, error = started.communicate(timeout=60)  # until the last process that could write there has ended
    assert (started.returncode, error) == (128 + number, said)
    assert not list(tmp_path.glob("*cohort*"))


def test_a_compressed_file_of_another_folder_depth_and_an_archive_are_read(dicom_tree, tmp_path, fistula_here):
    paths = sorted(dicom_tree[0].rglob("*.dcm"))
    archive = zipfile.ZipFile(dicom_tree[0] / "export.zip", "w")
    for index, path in enumerate(paths[:3]):
        archive.write(path, f"a/b/{index}")
        path.unlink()
    archive.close()
    packed = gzip.compress(paths[3].read_bytes())
    paths[3].with_suffix(".dcm.gz").write_bytes(packed)
    paths[3].unlink()
    paths[4].with_suffix(".dcm.zst").write_bytes(zstandard.compress(paths[4].read_bytes()))
    paths[4].unlink()
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0, error
    assert len(read_cohort(tmp_path / "cohort").manifest) == 12


@pytest.mark.slow
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(dicom_tree, tmp_path, fistula):
    # A limit on the size of a file stands in for a full disk: the same error comes from the same call.
    source, labels = dicom_tree
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        f"sys.argv = ['fistula', 'ingest', 'source={source}', 'labels={labels}', 'out=cohort', 'size=128'];"
        "from fistula.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large). Free some space" in done.stderr
    assert not [path for path in tmp_path.iterdir() if "cohort" in path.name]


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_cohort_that_opens_wrongly(dicom_tree, tmp_path):
    source, labels = dicom_tree
    command = [
        sys.executable,
        "-m",
        "fistula.cli",
        "ingest",
        f"source={source}",
        f"labels={labels}",
        f"out={tmp_path / 'cohort'}",
        *SMALL,
    ]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    whole = time.monotonic() - started
    for share in (0.5, 0.8, 0.9, 0.95, 1.0):
        shutil.rmtree(tmp_path / "cohort", ignore_errors=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
        time.sleep(share * whole)
        process.kill()
        process.wait()
        if (tmp_path / "cohort").exists():
            assert len(read_cohort(tmp_path / "cohort").manifest) == 12


def _by_path(patient, place):
    return f"P{patient}/{place}.dcm"


def _by_series(patient, place):
    return f"2.25.{patient + 1},{place + 1}"


@pytest.mark.parametrize(
    ("header", "name"),
    [("path,label", _by_path), ("series_instance_uid,instance_number,label", _by_series)],
)
def test_images_can_be_named_by_path_or_by_series_and_number(dicom_tree, tmp_path, fistula_here, header, name):
    _ingest(fistula_here, dicom_tree, tmp_path / "by_uid")
    lines = [f"{name(patient, place)},{int(patient < 2 and place < 2)}" for patient in range(4) for place in range(3)]
    dicom_tree[1].write_text("\n".join([header, *lines]))
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "other")
    assert code == 0, error
    first, second = read_cohort(tmp_path / "by_uid"), read_cohort(tmp_path / "other")
    assert first.fingerprint == second.fingerprint


def test_a_label_can_be_for_all_slices_of_a_patient(dicom_tree, tmp_path, fistula_here):
    dicom_tree[1].write_text("patient_id,label\n00,1\n01,1\n02,0\n03,0\n")
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert "names patients, not images. Set labels.level=patient" in error
    code, shown, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", "labels.level=patient")
    assert code == 0, error
    assert "labels.level=patient: 12 slices have the label of their patient" in shown
    assert shown.splitlines()[-1].endswith(" model=efficientnet_lite0 unit=patient")
    assert "12 slices of 4 patients (0: 6, 1: 6)" in shown
    cohort = read_cohort(tmp_path / "cohort")
    assert cohort.record["label_level"] == "patient"
    assert cohort.manifest["patient_label"].to_list() == cohort.manifest["label"].to_list()


def test_a_patient_id_that_contradicts_the_headers_is_refused_or_taken_as_is_said(dicom_tree, tmp_path, fistula_here):
    lines = dicom_tree[1].read_text().splitlines()
    dicom_tree[1].write_text(
        "\n".join([f"{lines[0]},patient_id", *(f"{line},X{index % 2}" for index, line in enumerate(lines[1:]))])
    )
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 2
    assert "one PatientID has several patient_id: 4 such, as on lines 2, 3, 4" in error
    for rule, patients in (("joined", 1), ("header", 4), ("folder:1", 4), ("study", 4), ("P(?P<patient>[01])?", 3)):
        code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / rule[:5], f"patient={rule}")
        if rule.startswith("P("):
            assert "must name a patient in every path, found P2/0.dcm" in error
            continue
        assert (code, error) == (0, "")
        assert read_cohort(tmp_path / rule[:5]).manifest["patient_key"].n_unique() == patients


def test_frames_of_one_object_can_have_labels_of_their_own(tmp_path, fistula_here, write_dicom):
    random = np.random.default_rng(0)
    for name in ("1", "2"):
        pixels = random.integers(0, 4000, (3, 20, 20)).astype(np.uint16)
        write_dicom(
            tmp_path / "tree" / name,
            pixels,
            SOPInstanceUID=f"2.25.{name}",
            PatientID=name,
            SeriesInstanceUID=f"2.25.3{name}",
        )
    lines = ["sop_instance_uid,frame_number,label", "2.25.1,1,0", "2.25.1,2,1", "2.25.1,3,0", "2.25.2,,0"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    code, _, error = _ingest(fistula_here, (tmp_path / "tree", tmp_path / "labels.csv"), tmp_path / "cohort")
    assert code == 0, error
    manifest = read_cohort(tmp_path / "cohort").manifest
    assert len(manifest) == 6
    assert manifest.filter(pl.col("label") == 1)["frame"].to_list() == [1]


def test_copies_of_an_instance_are_taken_once_wherever_they_lie(dicom_tree, tmp_path, fistula_here):
    _ingest(fistula_here, dicom_tree, tmp_path / "first")
    (dicom_tree[0] / "A").mkdir()
    shutil.copy(dicom_tree[0] / "P1" / "0.dcm", dicom_tree[0] / "A" / "copy")
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "second")
    assert code == 0
    assert "a copy of another file" in shown
    assert read_cohort(tmp_path / "first").fingerprint == read_cohort(tmp_path / "second").fingerprint


def test_a_copy_that_differs_in_its_window_alone_is_said_to(dicom_tree, tmp_path, fistula_here):
    copy = pydicom.dcmread(dicom_tree[0] / "P1" / "0.dcm")
    copy.WindowCenter, copy.WindowWidth = 50, 100
    copy.save_as(dicom_tree[0] / "P1" / "copy.dcm")
    shutil.copy(dicom_tree[0] / "P1" / "1.dcm", dicom_tree[0] / "P1" / "same.dcm")
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0, error
    excluded = [step["excluded"] for step in read_cohort(tmp_path / "cohort").record["flow"]]
    assert {"a copy of another file": 1, "a copy of another file, with another window": 1} in excluded


def test_monochrome1_shows_the_same_picture_as_its_negative(tmp_path, fistula_here, write_dicom):
    random = np.random.default_rng(0)
    lines = ["sop_instance_uid,label"]
    for index in range(2):
        pixels = random.integers(0, 4000, (16, 16)).astype(np.uint16)
        for kind, stored in (("MONOCHROME2", pixels), ("MONOCHROME1", 4095 - pixels)):
            uid = f"2.25.{index + 1}{kind[-1]}"
            write_dicom(
                tmp_path / "tree" / uid, stored, SOPInstanceUID=uid, PatientID=uid, SeriesInstanceUID=f"{uid}9",
                PhotometricInterpretation=kind, BitsStored=12, HighBit=11,
            )  # fmt: skip
            lines.append(f"{uid},{index}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    tree = (tmp_path / "tree", tmp_path / "labels.csv")
    code, _, error = _ingest(fistula_here, tree, tmp_path / "cohort", "intensity=min_max")
    assert code == 0, error
    cohort = read_cohort(tmp_path / "cohort")
    for label in (0, 1):
        first, second = cohort.pixels[cohort.manifest["label"].to_numpy() == label].astype(int)
        assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("intensity", ["percentile", "window", "voi", "min_max"])
@pytest.mark.parametrize("keep", ["mdixon_water", "mr", "all"])
def test_every_option_of_every_group_makes_a_cohort(dicom_tree, tmp_path, fistula_here, intensity, keep):
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", f"intensity={intensity}", f"keep={keep}")
    assert code == 0, error
    assert read_cohort(tmp_path / "cohort").pixels.max() > 0


def test_nothing_but_the_cohort_is_written(dicom_tree, tmp_path, fistula_here):
    _, labels = dicom_tree
    every = labels.read_text().splitlines()
    labels.write_text("\n".join(line for line in every if not line.startswith("2.25.4")) + "\n")
    assert _ingest(fistula_here, dicom_tree, tmp_path / "cohort")[0] == 0
    assert {path.name for path in (tmp_path / "cohort").iterdir()} == {
        "manifest.parquet", "pixels.npy", "ingest.json", "contact_sheet.png",
    }  # fmt: skip
    assert len(read_cohort(tmp_path / "cohort").manifest) == 9


def test_a_later_ingest_of_a_tree_that_has_grown_gives_the_same_slices(dicom_tree, tmp_path, fistula_here, write_dicom):
    _ingest(fistula_here, dicom_tree, tmp_path / "first")
    write_dicom(dicom_tree[0] / "new.dcm", SOPInstanceUID="2.25.8", SeriesInstanceUID="2.25.88", PatientID="99")
    _add_label(dicom_tree, "2.25.8,1")
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "second")
    assert code == 0, error
    first, second = read_cohort(tmp_path / "first"), read_cohort(tmp_path / "second")
    old = second.manifest.join(first.manifest.select("slice_key"), on="slice_key", how="semi")
    assert len(second.manifest) == 13
    assert old.select(list(SCHEMA)).sort("slice_key").equals(first.manifest.select(list(SCHEMA)).sort("slice_key"))
    for row, digest in enumerate(second.manifest["pixel_hash"]):
        assert hashlib.sha256(second.pixels[row].tobytes()).hexdigest() == digest


def test_what_tells_the_classes_apart_without_an_image_is_printed(dicom_tree, tmp_path, fistula_here):
    # Patients 0 and 1 are positive; all have 3 slices and one sex, and the positive ones are the older two.
    code, shown, _ = _ingest(fistula_here, dicom_tree, tmp_path / "cohort")
    assert code == 0
    line = next(line for line in shown.splitlines() if line.startswith("per-patient AUROC of nonimage information"))
    assert line.endswith(
        "number of slices 0.50, number of labeled slices 0.50, height of the stack 0.50, age 1.00, sex 0.50, "
        "pixel spacing 0.50, field of view 0.50"
    )
    record = json.loads((tmp_path / "cohort" / "ingest.json").read_text())
    assert record["alone"] == {
        "slices": 0.5, "labelled slices": 0.5, "height": 0.5, "age": 1.0, "sex": 0.5, "site": None, "turned": None,
        "pixel spacing": 0.5, "field of view": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("patient_id,label\n0,0\n1,1\n", r"line 2 \(0\), line 3 \(1\)\. It is 00 in the images: format .* as text"),
        ("patient_id,label\n7.0,0\n1,1\n", r"line 2 \(7\.0\).*\. It is 7 in the images: format .* as text"),
        ("path,label\ntree/P0/0.dcm,0\n", "A path begins below source and has its ending"),
    ],
    ids=["zeros that a spreadsheet took", "a point that a program added", "a path from above the source"],
)
def test_labels_without_an_image_are_refused_with_what_may_be_wrong(dicom_tree, tmp_path, fistula_here, table, hint):
    (tmp_path / "labels.csv").write_text(table)
    for path in dicom_tree[0].glob("P3/*"):
        image = pydicom.dcmread(path)
        image.PatientID = "7"
        image.save_as(path)
    level = "labels.level=patient" if "patient_id" in table else "labels.level=slice"
    code, _, error = fistula_here("ingest", "source=tree", "labels=labels.csv", level, "out=out", "workers.count=1")
    assert code == 2
    assert re.search(hint, error), error


def test_a_blank_slice_and_a_missing_window_are_counted(dicom_tree, tmp_path, fistula_here):
    image = pydicom.dcmread(dicom_tree[0] / "P0" / "0.dcm")
    image.PixelData = bytes(len(image.PixelData))
    image.WindowCenter, image.WindowWidth = 300, 600
    image.save_as(dicom_tree[0] / "P0" / "0.dcm")
    code, _, error = _ingest(fistula_here, dicom_tree, tmp_path / "cohort", "intensity=voi")
    assert code == 0, error
    noted = json.loads((tmp_path / "cohort" / "ingest.json").read_text())["noted"]
    assert noted["one value throughout"] == 1
    assert noted["no window: scaled between its extremes"] == 11


def test_a_columns_name_may_hold_anything(dicom_tree, fistula_here):
    name = "Final diagnosis (0/1), [agreed]: label"
    dicom_tree[1].write_text(dicom_tree[1].read_text().replace(",label", f',"{name}"', 1))
    words = ("source=tree", "labels=labels.csv", f"columns.label={name}", "out=out", "size=16", "workers.count=1")
    code, _, error = fistula_here("ingest", *words)
    assert code == 0, error


def test_several_tables_are_taken_together(dicom_tree, tmp_path, fistula_here):
    header, *lines = dicom_tree[1].read_text().splitlines()
    for name, part in (("a", lines[:5]), ("b", lines[5:])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *part]))
    words = ("source=tree", "labels=[a.csv,b.csv]", "size=16", "workers.count=1")
    code, _, error = fistula_here("ingest", *words, "out=out")
    assert code == 0, error
    assert read_cohort(tmp_path / "out").record["labelled"] == 12
    code, shown, error = fistula_here("doctor", *words[:2], "workers.count=1")
    assert (code, "ingest would stop" in shown) == (0, False), shown + error
    (tmp_path / "b.csv").write_text("\n".join([header, *lines[4:]]))
    code, _, error = fistula_here("ingest", *words, "out=twice")
    assert code == 2
    assert re.search(
        "b.csv, line 2: gives .* the same label twice. Remove one of a.csv, line 6 and b.csv, line 2", error
    )


@pytest.mark.parametrize(
    ("umask", "mode"),
    [
        (0, 0o770),
        pytest.param(0o022, 0o750, marks=pytest.mark.slow),
        pytest.param(0o077, 0o700, marks=pytest.mark.slow),
    ],
    ids=oct,
)
def test_what_is_written_is_closed_to_others(fistula, dicom_tree, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        shown = fistula("doctor", "source=tree", "json=facts.jsonl", "identifiers=true", "labels=template.csv")
        made = fistula("ingest", "source=tree", "labels=labels.csv", "out=cohort", "size=16", "workers.count=1")
    finally:
        os.umask(before)
    assert (shown.returncode, made.returncode) == (0, 0), shown.stderr + made.stderr
    written = [tmp_path / "facts.jsonl", tmp_path / "template.csv", *(tmp_path / "cohort").iterdir()]
    assert (tmp_path / "cohort").stat().st_mode & 0o777 == mode
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {oct(mode & 0o666)}
