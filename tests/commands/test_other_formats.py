"""Images that are not DICOM, from the command line: volumes and pictures of every kind."""

import json
import re
import shlex
import unicodedata
import zipfile

import nibabel
import numpy as np
import openpyxl
import polars as pl
import pytest
import SimpleITK
from PIL import Image

from fistula.cohort.manifest import read_cohort

SMALL = ("size=32", "spacing_mm=1.0", "workers.count=1")


@pytest.fixture
def same_twice(tmp_path, write_dicom):
    """Patients as DICOM, oblique and written backwards, and as the NIfTI files that SimpleITK makes of them."""
    random = np.random.default_rng(0)
    down, back = float(np.cos(0.3)), float(np.sin(0.3))
    dicom, nifti = ["sop_instance_uid,label"], ["path,frame_number,label,patient_id"]
    (tmp_path / "nifti").mkdir()
    for patient in range(2):
        names = []
        for place in range(4):
            path = tmp_path / "dicom" / f"{patient}" / f"{place}.dcm"
            write_dicom(
                path,
                random.integers(0, 900, (24, 20), dtype=np.uint16),
                SOPInstanceUID=f"2.25.7{patient}{place}",
                SeriesInstanceUID=f"2.25.8{patient}",
                StudyInstanceUID=f"2.25.9{patient}",
                PatientID=f"P{patient}",
                ImageOrientationPatient=[-1, 0, 0, 0, down, back],
                ImagePositionPatient=[5, -4 * place * -back, 10 - 4 * place * down],
                PixelSpacing=[1.0, 1.0],
                SliceThickness=4,
                InstanceNumber=place + 1,
            )
            names.append(str(path))
            dicom.append(f"2.25.7{patient}{place},{patient}")
        series = SimpleITK.ImageSeriesReader()
        series.SetFileNames(names)
        SimpleITK.WriteImage(series.Execute(), str(tmp_path / "nifti" / f"case{patient}.nii.gz"))
        nifti += [f"case{patient}.nii.gz,{frame},{patient},P{patient}" for frame in range(1, 5)]
    (tmp_path / "dicom.csv").write_text("\n".join(dicom))
    (tmp_path / "nifti.csv").write_text("\n".join(nifti))
    return tmp_path


def test_a_volume_gives_the_pixels_places_and_order_of_the_dicom_that_it_was_made_from(same_twice, fistula_here):
    for kind in ("dicom", "nifti"):
        words = (f"source={kind}", f"labels={kind}.csv", f"out=out-{kind}", "keep=all", *SMALL)
        code, _, error = fistula_here("ingest", *words)
        assert code == 0, error
    first, second = (read_cohort(same_twice / f"out-{kind}") for kind in ("dicom", "nifti"))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    for column in ("label", "orientation", "tilt_degrees", "turned", "pixel_spacing_mm"):
        assert first.manifest[column].to_list() == second.manifest[column].to_list(), column
    np.testing.assert_allclose(first.manifest["position_mm"], second.manifest["position_mm"], atol=1e-3)
    assert second.record["source_kind"] == "volumes"


def test_doctor_shows_volumes_and_its_table_comes_back_filled_in(same_twice, fistula_here):
    code, shown, error = fistula_here("doctor", "source=nifti", "labels=mine.csv")
    assert code == 0, error
    assert "2 series and volumes of images" in shown
    assert "None" not in shown
    assert "not named" in shown
    assert "patients are few" not in shown  # whose the volumes are is not known
    lines = (same_twice / "mine.csv").read_text().splitlines()
    assert lines[:2] == ["path,frame_number,patient_id,label", "case0.nii.gz,1,,"]
    filled = [f"{line[:-2]},P{line[4]},{line[4] if ',1,' in line else ''}" for line in lines[1:]]
    (same_twice / "mine.csv").write_text("\n".join([lines[0], *filled]))
    code, shown, error = fistula_here("ingest", "source=nifti", "labels=mine.csv", "out=mine", *SMALL)
    assert code == 0, error
    record = json.loads((same_twice / "mine" / "ingest.json").read_text())
    assert (record["labelled"], record["slices"]) == (2, 8)  # an empty cell is no label, and no error


def test_a_volume_names_nobody_and_a_table_has_to(same_twice, fistula_here):
    lines = (same_twice / "nifti.csv").read_text().replace(",patient_id", "").replace(",P0", "").replace(",P1", "")
    (same_twice / "nameless.csv").write_text(lines)
    code, _, error = fistula_here("ingest", "source=nifti", "labels=nameless.csv", "out=out", *SMALL)
    assert code == 2
    assert "must have a patient_id" in error
    words = ("source=nifti", "labels=nameless.csv", "out=out", "patient=(?P<patient>case.)", *SMALL)
    assert fistula_here("ingest", *words)[0] == 0


def test_what_is_no_dicom_is_called_by_its_name(same_twice, fistula_here):
    folder = same_twice / "mixed"
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), folder / "a.nii")
    (folder / "a.nii").rename(folder / "a")
    np.savez(folder / "medmnist.npz", images=np.zeros(3))
    for name in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        Image.new("L", (8, 8)).save(folder / f"{name} without suffix", name)
    code, _, error = fistula_here("ingest", "source=mixed", "labels=dicom.csv", "out=out", *SMALL)
    assert code == 2
    for words in ("a NumPy array, which names no patients", "a PNG picture", "a TIFF picture", "a BMP picture"):
        assert words in error
    for suffix in ("mha", "mhd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 4, 4), np.int16)), str(folder / f"b.{suffix}"))
    (folder / "b.raw").unlink()
    code, shown, _ = fistula_here("doctor", "source=mixed")
    assert "not DICOM" not in shown + error
    assert "a MetaImage volume (.mha, .mhd)" in shown
    assert "Save it as NIfTI (.nii.gz), as 3D Slicer does" in shown
    assert all(words in shown for words in ("a NIfTI volume", "a WebP picture", "a JPEG picture", "patient_id"))


@pytest.mark.parametrize("beside", ["nothing", "DICOM", "volumes"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("case.mha", "MetaImage volume"),
        ("case.mhd", "MetaImage volume"),
        ("images.npz", "NumPy array, which names no patients"),
        ("images.npy", "NumPy array, which names no patients"),
    ],
)
def test_a_table_of_files_that_are_not_read_is_refused_with_what_they_are(
    same_twice, fistula_here, beside, name, words
):
    folder = same_twice / {"nothing": "other", "DICOM": "dicom", "volumes": "nifti"}[beside]
    folder.mkdir(exist_ok=True)
    values = np.zeros((4, 4, 4), np.int16)
    if name.startswith("images"):
        (np.savez if name.endswith("z") else np.save)(folder / name, values)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(folder / name))
    (same_twice / "labels.csv").write_text(f"path,label,patient_id\n{name},1,P1\n")
    code, _, error = fistula_here("ingest", f"source={folder.name}", "labels=labels.csv", "out=out", *SMALL)
    assert (code, error.count("\n")) == (2, 1)
    assert words in error
    assert not (same_twice / "out").exists()


def test_a_label_page_shows_volumes_and_ingest_knows_its_slices(same_twice, fistula_here):
    code, shown, error = fistula_here("label", "source=nifti", "out=pages", "workers.count=1")
    assert code == 0, error
    assert "8 slices of 2 patients" in shown
    page = (same_twice / "pages" / "label-1.html").read_text()
    keys = sorted(set(re.findall(r'"key":"([0-9a-f]{24})"', page)))
    assert "case0" not in page
    lines = ["slice_key,label,reader,repeat,unsure"]
    known = read_keys(fistula_here, same_twice)
    lines += [f"{key},{number % 2},AB,0,0" for number, key in enumerate(sorted(known & set(keys)))]
    assert len(lines) == 9
    (same_twice / "answers.csv").write_text("\n".join(lines))
    words = ("source=nifti", "labels=answers.csv", "out=out", "patient=(?P<patient>case.)", *SMALL)
    code, _, error = fistula_here("ingest", *words)
    assert code == 0, error
    assert read_cohort(same_twice / "out").record["labelled"] == 8


def test_pictures_are_labelled_by_patient_where_their_paths_say_whose_they_are(tmp_path, fistula_here):
    for number in range(4):
        path = tmp_path / "in" / f"P{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 60 * number, np.uint8)).save(path)
    words = ("source=in", "out=pages", "level=patient", "patient=folder:1", "workers.count=1")
    code, shown, error = fistula_here("label", *words)
    assert code == 0, error
    assert "4 slices of 2 patients" in shown
    keys = re.findall(r'"key":"([0-9a-f]+)","asked":2', (tmp_path / "pages" / "label-1.html").read_text())
    lines = [f"{key},{('normal', 'fistula')[number]},0,AB,0" for number, key in enumerate(keys)]
    (tmp_path / "labels-READER-DATE.csv").write_text("\n".join(["patient_key,label,unsure,reader,repeat", *lines]))
    (line,) = re.findall("^next: fistula (ingest .*)$", shown, re.MULTILINE)
    code, shown, error = fistula_here(*shlex.split(line), *SMALL)
    assert code == 0, error
    assert "4 slices of 2 patients (normal: 2, fistula: 2)" in shown
    for key in keys:  # and the pseudonym leads back
        assert fistula_here("who", f"key={key}", "source=in", "patient=folder:1", "out=who.csv")[0] == 0
        found = pl.read_csv(tmp_path / "who.csv")["file"]
        (tmp_path / "who.csv").unlink()
        assert len(set(found.str.head(2))) == 1
        assert len(found) == 2
    code, _, error = fistula_here("label", *words[:3], "patient=column")
    assert (code, "patient: must not depend on a table" in error) == (2, True)


def read_keys(fistula_here, folder):
    """The slice keys that ingest gives the volumes."""
    assert fistula_here("ingest", "source=nifti", "labels=nifti.csv", "out=known", *SMALL)[0] == 0
    return set(read_cohort(folder / "known").manifest["slice_key"])


FORMATS = {"png": {}, "jpg": {"quality": 100}, "tif": {}, "tiff": {"compression": "tiff_lzw"}, "bmp": {},
           "webp": {"lossless": True}}  # fmt: skip


def test_pictures_of_six_formats_make_one_cohort(tmp_path, fistula_here):
    random = np.random.default_rng(0)
    lines = ["path,label,patient_id"]
    (tmp_path / "in").mkdir()
    for number, (suffix, options) in enumerate(FORMATS.items()):
        Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8)).save(
            tmp_path / "in" / f"{suffix}.{suffix}", **options
        )
        lines.append(f"{suffix}.{suffix},{number % 2},P{number}")
    (tmp_path / "in" / "labels.csv").write_text("\n".join(lines))
    code, _, error = fistula_here("ingest", "source=in", "labels=in/labels.csv", "out=out", *SMALL)
    assert code == 0, error
    assert read_cohort(tmp_path / "out").record["labelled"] == 6


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_what_lies_in_an_archive_is_read_as_in_a_folder(tmp_path, fistula_here, kind):
    random = np.random.default_rng(0)
    for number in range(4):
        folder = tmp_path / "in" / f"P{number}"
        (folder / "masks").mkdir(parents=True)
        if kind == "pictures":
            Image.fromarray(random.integers(0, 255, (24, 32), dtype=np.uint8)).save(folder / "a.png")
            Image.fromarray(np.pad(np.full((2, 2), 255 * (number > 1), np.uint8), 9)).resize((32, 24)).save(
                folder / "masks" / "a.png"
            )
            continue
        for name, values in (("a", random.integers(0, 900, (24, 20, 3))), ("masks/a", np.zeros((24, 20, 3)))):
            values[8:10, 8:10, 1] = number > 1
            nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), np.eye(4)), folder / f"{name}.nii.gz")
    openpyxl.Workbook().save(tmp_path / "in" / "list.xlsx")  # an archive too, and of no images
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    for source, patient in (("in", "folder:1"), ("in.zip", "folder:2")):
        words = (f"source={source}", "labels=masks", f"patient={patient}", f"out=out-{source}")
        code, shown, error = fistula_here("ingest", *words, *SMALL)
        assert code == 0, error
    first, second = (read_cohort(tmp_path / f"out-{source}") for source in ("in", "in.zip"))
    assert first.manifest["patient_key"].n_unique() == second.manifest["patient_key"].n_unique() == 4
    marks = ["pixel_hash", "label", "opening_row", "opening_col"]
    assert first.manifest.select(marks).sort(marks).equals(second.manifest.select(marks).sort(marks))
    assert first.manifest["label"].sum() == 2
    code, shown, error = fistula_here("label", "source=in.zip", "out=pages", "workers.count=1")
    assert code == 0, error
    assert f"{len(first.manifest)} slices of 4 patients" in shown


def test_a_table_of_no_images_of_one_kind_is_refused(tmp_path, fistula_here):
    (tmp_path / "labels.csv").write_text("path,label,patient_id\na.png,1,1\nb.nii.gz,0,2\n")
    (tmp_path / "in").mkdir()
    code, _, error = fistula_here("ingest", "source=in", "labels=labels.csv", "out=out", *SMALL)
    assert code == 2
    assert "names images of two kinds in one table" in error


@pytest.mark.parametrize("encoding", ["gbk", "cp932", "euc-kr"])
def test_an_archive_whose_names_are_of_another_age_opens(tmp_path, fistula_here, write_dicom, encoding):
    name = {"gbk": "肛瘘", "cp932": "痔瘻", "euc-kr": "치루"}[encoding]
    lines = ["path,label"]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for number in range(4):
            path = tmp_path / "one.dcm"
            write_dicom(path, SOPInstanceUID=f"2.25.{number + 5}", PatientID=f"P{number}",
                        StudyInstanceUID=f"2.25.1{number}", SeriesInstanceUID=f"2.25.2{number}")  # fmt: skip
            archive.writestr("x" * len(name.encode(encoding)) + f"{number}.dcm", path.read_bytes())
            lines.append(f"in.zip/{name}{number}.dcm,{number % 2}")
    # zipfile writes no such names, so they take the place of others in the file.
    own = name.encode(encoding)
    content = (tmp_path / "in.zip").read_bytes().replace(b"x" * len(own), own)
    (tmp_path / "in.zip").write_bytes(content)
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    code, _, error = fistula_here("ingest", "source=in.zip", "labels=labels.csv", "out=out", "keep=all", *SMALL)
    assert code == 0, error
    assert read_cohort(tmp_path / "out").record["labelled"] == 4


@pytest.mark.slow
def test_a_study_of_volumes_scores_new_volumes_and_leaves_their_masks_alone(tmp_path, fistula_here):
    random = np.random.default_rng(0)
    lines = ["path,frame_number,label,patient_id"]
    for folder, count in (("in", 16), ("new", 2)):
        (tmp_path / folder).mkdir()
        for case in range(count):
            values = random.integers(0, 900, (20, 24, 3)).astype(np.int16)
            values[8:12, 8:12] += 900 * (case % 2)
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 4, 1])), tmp_path / folder / f"case{case}.nii.gz")
            lines += [f"case{case}.nii.gz,{frame},{case % 2},P{case}" for frame in (1, 2, 3) if folder == "in"]
    nibabel.save(nibabel.Nifti1Image(np.ones((20, 24, 3), np.uint8), np.eye(4)), tmp_path / "new" / "case0_seg.nii.gz")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert fistula_here("ingest", "source=in", "labels=labels.csv", "out=cohort", *SMALL)[0] == 0
    tiny = (
        "model.architecture=test_resnet",
        "learning=end_to_end",
        "image_size=32",
        "epochs=1",
        "trainer=cpu",
        "logger=csv",
    )
    code, _, error = fistula_here("train", "cohort=cohort", *tiny, "split=patient_holdout", "hydra.run.dir=run")
    assert code == 0, error
    code, shown, error = fistula_here("predict", "run=run", "source=new", "out=scores", "workers.count=1")
    assert code == 0, error
    assert "a mask, by its name" in shown
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert len((tmp_path / "scores" / "predictions.csv").read_text().splitlines()) == 7, summary


def test_a_path_matches_whichever_way_its_letters_are_composed_and_in_any_script(tmp_path, fistula_here):
    names = ["Müller/é 1.png", "환자/가.png", "患者/痔瘻.png", "患者/正常.png"]
    lines = ["path,label,patient_id"]
    for number, name in enumerate(names):
        path = tmp_path / "in" / unicodedata.normalize("NFD", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 60 * number, np.uint8)).save(path)
        lines.append(f"{unicodedata.normalize('NFC', name)},{('正常', '肛瘘')[number % 2]},病人{number}")
    (tmp_path / "標籤.csv").write_text("\n".join(lines), encoding="utf-8")
    code, _, error = fistula_here("ingest", "source=in", "labels=標籤.csv", "classes=[正常,肛瘘]", "out=出", *SMALL)
    assert code == 0, error
    assert read_cohort(tmp_path / "出").record["by_class"] == {"正常": 2, "肛瘘": 2}
