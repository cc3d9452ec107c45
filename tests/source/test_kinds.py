"""Further instances of each kind of fault that public bug reports tell of: read as meant and counted, or refused."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from misbehaving import anatomy, cohort, write, write_labels
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.cohort.manifest import read_cohort
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look, look_at
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode

LOOK = Look(Pseudonyms(b"0123456789abcdef"))
PHILIPS = "Philips MR Imaging DD 001"


@pytest.fixture
def ingested(fistula_here, tmp_path):
    """Ingest a folder by lines of labels; the cohort with its whole record, or the line that refused it."""

    def call(folder, lines, *options, header="sop_instance_uid,label"):
        labels = write_labels(tmp_path / "labels.csv", lines, header=header)
        out = tmp_path / f"cohort {len(list(tmp_path.iterdir()))}"
        code, _, error = fistula_here(
            "ingest", f"source='{folder}'", f"labels={labels}", f"out='{out}'", "size=32", "spacing_mm=1.0",
            "workers.count=1", "keep=all", *options,
        )  # fmt: skip
        if code:
            assert error.count("\n") == 1, error
            return error
        return read_cohort(out), json.loads((out / "ingest.json").read_text())

    return call


def lines_of(images):
    return [f"{one.uid},{one.patient % 2}" for one in images]


def changed(images, **attributes):
    return [replace(one, attributes=one.attributes | attributes) for one in images]


def grey(read):
    return dict(zip(read.manifest["slice_key"], read.pixels.reshape(len(read.pixels), -1).mean(1), strict=True))


# 1. One person under two spellings of an id; a table that calls people otherwise.


@pytest.mark.parametrize(
    "other", ["p00", " P00", "P-00", "000P00", "\uff3000"], ids=["case", "a blank", "a sign", "zeros", "wide letters"]
)
def test_one_person_under_two_spellings_of_an_id_is_refused(ingested, write_dicom, tmp_path, other):
    images = cohort(3, slices=2)
    later = [
        replace(one, uid=f"{one.uid}9", attributes=one.attributes | {
            "PatientID": other, "StudyInstanceUID": "2.25.333", "SeriesInstanceUID": "2.25.334",
            "StudyDate": "20220101", "SpecificCharacterSet": "ISO_IR 192", "AcquisitionNumber": 2})
        for one in images[:2]
    ]  # fmt: skip
    folder = write(tmp_path / "in", images + later, write_dicom)
    if other.strip() == "P00":  # blanks at the ends are of no meaning
        assert ingested(folder, lines_of(images + later))[1]["patients"] == 3
        return
    error = ingested(folder, lines_of(images + later))
    assert "a person must have one PatientID, found 1 that differ only in case, punctuation or leading zeros" in error


def test_a_person_of_one_name_under_two_ids_is_counted(ingested, write_dicom, tmp_path):
    images = changed(cohort(3, slices=2), PatientName="")
    images = [
        replace(one, attributes=one.attributes | {"PatientName": f"Weiss{'ABC'[one.patient]}^Anna"}) for one in images
    ]
    later = [
        replace(one, uid=f"{one.uid}9", attributes=one.attributes | {
            "PatientID": "OTHER HOSPITAL 5", "StudyInstanceUID": "2.25.333", "SeriesInstanceUID": "2.25.334",
            "StudyDate": "20220101", "PatientName": "ANNA WEISSA", "AcquisitionNumber": 2})
        for one in images[:2]
    ]  # fmt: skip
    _, record = ingested(write(tmp_path / "in", images + later, write_dicom), lines_of(images + later))
    assert record["noted"]["people with several PatientIDs, by birth date, sex and name"] == 1


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("path,patient_id,label", "{folder}/{number:04d}.dcm,E{study},{label}"),
        ("series_instance_uid,instance_number,patient_id,label", "{series},{place},E{study},{label}"),
        ("accession_number,instance_number,patient_id,label", "A{study},{place},E{study},{label}"),
    ],
    ids=["by path", "by series and number", "by accession number"],
)
def test_a_table_that_names_examinations_is_refused_however_it_names_images(
    ingested, write_dicom, tmp_path, header, line
):
    images, lines = [], []
    for one in cohort(3, slices=2):
        for study in (1, 2):
            name = f"{one.patient}{study}"
            images.append(replace(one, uid=f"{one.uid}{study}", attributes=one.attributes | {
                "StudyInstanceUID": f"2.25.4{name}", "SeriesInstanceUID": f"2.25.3{name}",
                "AccessionNumber": f"A{name}", "AcquisitionNumber": study}))  # fmt: skip
            lines.append(line.format(
                folder=f"{one.patient:02d}", number=len(images) - 1, series=f"2.25.3{name}", place=one.place + 1,
                study=name, label=one.patient % 2))  # fmt: skip
    error = ingested(write(tmp_path / "in", images, write_dicom), lines, header=header)
    assert "one PatientID has several patient_id: 3 such" in error


@pytest.mark.parametrize("named", [{0: "P01", 1: "P00"}, {0: "P01"}, {2: "P00"}], ids=["swapped", "one", "the last"])
def test_a_table_that_calls_a_patient_by_the_id_of_another_is_refused(ingested, write_dicom, tmp_path, named):
    images = cohort(3, slices=2)
    lines = [f"{one.uid},{one.patient % 2},{named.get(one.patient, f'P{one.patient:02d}')}" for one in images]
    error = ingested(write(tmp_path / "in", images, write_dicom), lines, header="sop_instance_uid,label,patient_id")
    assert "patient_id that is another one's PatientID on lines" in error
    assert "patient=header" in error


# 3. A line of a table that is for several images.


@pytest.mark.parametrize(
    ("header", "line", "twice"),
    [
        ("series_instance_uid,instance_number,label", "2.25.8{p:02d},{n},{label}", {"EchoTime": "90"}),
        ("study_instance_uid,instance_number,label", "2.25.9{p:02d},{n},{label}", {"SeriesInstanceUID": "2.25.5{p}"}),
        ("patient_id,instance_number,label", "P{p:02d},{n},{label}", {"StudyInstanceUID": "2.25.5{p}"}),
        ("accession_number,instance_number,label", "A{p},{n},{label}", {"SeriesInstanceUID": "2.25.5{p}"}),
        ("series_instance_uid,first,last,label", "2.25.8{p:02d},{n},{n},{label}", {"DiffusionBValue": 800.0}),
        ("series_instance_uid,instance_number,label", "2.25.8{p:02d},{n},{label}", {"ImageType": ["DERIVED", "F"]}),
    ],
    ids=["echoes", "a study's series", "a patient's studies", "an accession's series", "a range", "a Dixon part"],
)  # fmt: skip
def test_a_line_for_several_images_is_refused_with_their_number(ingested, write_dicom, tmp_path, header, line, twice):
    images, lines = [], []
    for one in changed(cohort(2, slices=3), EchoTime="5", DiffusionBValue=0.0):
        told = {name: value.format(p=one.patient) if isinstance(value, str) else value for name, value in twice.items()}
        own = one.attributes | {"AccessionNumber": f"A{one.patient}"}
        images += [replace(one, attributes=own), replace(one, uid=f"{one.uid}9", attributes=own | told)]
        lines.append(line.format(p=one.patient, n=one.place + 1, label=one.patient % 2))
    error = ingested(write(tmp_path / "in", images, write_dicom), lines, header=header)
    assert "every line must be for one image, found 6 lines for 12 images: line 2 (2 images)" in error


def test_frames_need_their_number_and_then_each_is_one_image(ingested, write_dicom, tmp_path):
    for patient in range(2):
        groups = []
        for place in range(3):
            item, where = Dataset(), Dataset()
            where.ImagePositionPatient = [0, 0, 3.0 * place]
            item.PlanePositionSequence = [where]
            groups.append(item)
        write_dicom(
            tmp_path / "in" / f"{patient}.dcm", np.stack([anatomy(patient, place) for place in range(3)]),
            SOPClassUID=EnhancedMRImageStorage, SOPInstanceUID=f"2.25.7{patient}", PatientID=f"P{patient}",
            StudyInstanceUID=f"2.25.9{patient}", SeriesInstanceUID=f"2.25.8{patient}",
            PerFrameFunctionalGroupsSequence=groups, drop=("ImagePositionPatient",),
        )  # fmt: skip
    error = ingested(tmp_path / "in", ["2.25.70,0", "2.25.71,1"])
    assert "found 2 lines for 6 images" in error
    lines = [f"2.25.7{patient},{frame},{patient}" for patient in range(2) for frame in (1, 2, 3)]
    read, _ = ingested(tmp_path / "in", lines, header="sop_instance_uid,frame_number,label")
    assert read.manifest["label"].to_list().count(1) == 3


# 4. A series cut up, or several in one.


@pytest.mark.parametrize(
    ("attributes", "form", "said"),
    [
        ({}, "folder", "volume assembled from single-slice series"),
        ({"Modality": "CT"}, "zip", "volume assembled from single-slice series"),
        ({"SeriesNumber": ""}, "folder", ""),
        ({"FrameOfReferenceUID": ""}, "zip", ""),
    ],
    ids=["alike", "CT in a zip", "no series number", "no frame of reference"],
)
def test_series_of_one_slice_are_one_volume_or_said_to_stand_alone(
    ingested, write_dicom, tmp_path, attributes, form, said
):
    images = [
        replace(one, attributes=one.attributes | {
            "SeriesInstanceUID": f"2.25.6{one.patient:02d}{one.place:02d}", "SeriesNumber": 7,
            "FrameOfReferenceUID": f"2.25.5{one.patient}"} | attributes)
        for one in cohort(2, slices=4)
    ]  # fmt: skip
    folder = write(tmp_path / "in", images, write_dicom)
    if form == "zip":
        (tmp_path / "zipped").mkdir()
        with zipfile.ZipFile(tmp_path / "zipped" / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in folder.rglob("*.dcm"):
                archive.write(path, path.relative_to(folder))
        folder = tmp_path / "zipped"
    read, record = ingested(folder, lines_of(images))
    assert len(read.manifest.select("series_key", "volume").unique()) == (2 if said else 8)
    if said:
        assert record["noted"][said] == 8
    else:
        assert record["volumes_noted"] == {"a single slice, beside others of the patient": 8}


# 5. One SOPInstanceUID more than once.


@pytest.mark.parametrize("differs", ["PatientID", "StudyDescription", "PatientComments"])
def test_an_archive_exported_twice_is_taken_once_unless_its_patients_have_other_ids(
    ingested, write_dicom, tmp_path, differs
):
    images = cohort(3, slices=2)
    again = [replace(one, attributes=one.attributes | {differs: f"other {one.patient}"}) for one in images]
    folder = write(tmp_path / "in", images, write_dicom)
    write(folder / "again", again, write_dicom)
    found = ingested(folder, lines_of(images))
    if differs == "PatientID":
        assert "copies of an image must have one PatientID, found 6 images under several: 00/0000.dcm" in found
    else:
        assert (len(found[0].manifest), found[1]["noted"]["copies of another file"]) == (6, 6)


@pytest.mark.parametrize(
    "differs", [{"PhotometricInterpretation": "MONOCHROME1"}, {"PixelPaddingValue": 0}], ids=["polarity", "padding"]
)
def test_one_uid_and_the_same_bytes_of_pixels_are_one_picture_only_where_they_mean_the_same(
    ingested, write_dicom, tmp_path, differs
):
    """Else the one whose hash is smaller would decide how the slice looks."""
    images = cohort(3, slices=2)
    folder = write(tmp_path / "in", images, write_dicom)
    write(folder / "again", [replace(images[0], attributes=images[0].attributes | differs)], write_dicom)
    found = ingested(folder, lines_of(images))
    assert "different images must not share one SOPInstanceUID, found 2 files under 1" in found


# 16. Numbers as people and programs write them.


@pytest.mark.parametrize(
    ("keyword", "vr", "words", "noted"),
    [
        ("EchoTime", "LO", ("2.3", "2,3"), "EchoTime written incorrectly, read as meant"),
        ("DiffusionBValue", "LO", ("800", "800,0"), "DiffusionBValue written incorrectly, read as meant"),
        ("AcquisitionNumber", "DS", ("1", "1.0"), ""),
    ],
)
def test_a_misspelt_number_parts_no_volume(ingested, write_dicom, tmp_path, keyword, vr, words, noted):
    images = [replace(one, elements=((keyword, vr, words[one.place % 2]),)) for one in cohort(2, slices=4)]
    plain = [replace(one, elements=()) for one in images]
    read, record = ingested(write(tmp_path / "in", images, write_dicom), lines_of(images))
    assert set(read.manifest["volume"]) == {0}
    assert not noted or record["noted"][noted] in (4, 8)
    assert grey(read) == grey(ingested(write(tmp_path / "plain", plain, write_dicom), lines_of(plain))[0])


def test_a_number_that_nobody_can_read_and_no_pixel_needs_is_noted(ingested, write_dicom, tmp_path):
    images = [replace(one, elements=(("EchoTime", "LO", "short"),)) for one in cohort(2, slices=2)]
    read, record = ingested(write(tmp_path / "in", images, write_dicom), lines_of(images))
    assert len(read.manifest) == 4
    assert record["noted"]["EchoTime that cannot be read"] == 4


# 17. Values whose sign is that of the pixels, in whatever type.


def decoded(path):
    with path.open("rb") as file:
        return next(decode(read_dataset(file, limit=1 << 24), [0]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("vr", "value"),
    [("SS", -2000), ("US", 63536), ("IS", "-2000"), ("DS", "-2000.0"), ("SL", -2000), ("UL", 63536), ("FD", -2000.0)],
)
def test_padding_of_any_type_is_the_same_padding(write_dicom, tmp_path, vr, value, syntax):
    if syntax == ImplicitVRLittleEndian and vr not in ("SS", "US"):
        return  # there the dictionary says the type
    pixels = anatomy(0, 1).astype(np.int16)
    pixels[:, :6] = -2000
    image = write_dicom(tmp_path / "a.dcm", pixels)
    image.file_meta.TransferSyntaxUID = syntax
    image[0x00280120] = DataElement(0x00280120, vr, value)
    if syntax == ExplicitVRBigEndian:
        image.PixelData = pixels.astype(">i2").tobytes()
    pydicom.dcmwrite(
        tmp_path / "a.dcm", image, implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True,
    )  # fmt: skip
    picture = decoded(tmp_path / "a.dcm")
    np.testing.assert_array_equal(picture.values, pixels)
    np.testing.assert_array_equal(picture.inside, pixels != -2000)


@pytest.mark.parametrize("vr", ["SS", "US"])
def test_a_modality_table_begins_at_the_pixels_sign(write_dicom, tmp_path, vr):
    pixels = (anatomy(0, 1) // 4).astype(np.int16) - 100
    table = Dataset()
    table.add_new(0x00283002, vr, [512, -100 if vr == "SS" else 65436, 16])
    table.add_new(0x00283006, "OW", (3 * np.arange(512)).astype("<u2").tobytes())
    table.ModalityLUTType = "US"
    write_dicom(tmp_path / "a.dcm", pixels, ModalityLUTSequence=[table])
    np.testing.assert_array_equal(decoded(tmp_path / "a.dcm").values, 3 * np.clip(pixels + 100, 0, 511))
    (facts,) = look_at(tmp_path / "a.dcm", LOOK)
    assert ("LUTDescriptor written incorrectly, read as meant" in facts["notes"]) is (vr == "US")


# 19. Makers' own elements, under their creator alone.


@pytest.mark.parametrize(
    ("creators", "kept"),
    [
        ([(PHILIPS, "W")], True),
        ([("HOSPITAL PACS", "F"), (PHILIPS, "W")], True),
        ([("PHILIPS MR IMAGING DD 001", "W")], True),
        ([("Philips MR Imaging DD 001 ", "w ")], True),
        ([("HOSPITAL PACS", "W")], False),
        ([("Philips MR Imaging DD 002", "W")], False),
        ([(None, "W")], False),
        ([(PHILIPS, "F"), ("HOSPITAL PACS", "W")], False),
        ([(f"filler {number}", "F") for number in range(12)] + [(PHILIPS, "W")], True),
    ],
    ids=["Philips'", "in block 11", "in capitals", "blanks", "another's", "another of Philips'", "nobody's",
         "fat, and another's water", "in block 1C"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["explicit", "implicit", "big", "unnamed"])
def test_what_philips_calls_water_is_water_in_any_block_and_in_no_other_makers(
    write_dicom, tmp_path, creators, kept, form
):
    path = tmp_path / "a.dcm"
    image = write_dicom(path, ImageType=["ORIGINAL", "PRIMARY", "M", "M", "DERIVED"])
    for number, (creator, word) in enumerate(creators):
        block = 0x10 + number
        if creator:
            image.add_new((0x2005, block), "LO", creator)
        tag = 0x20050000 | block << 8 | 0x11
        image[tag] = DataElement(tag, *(("UN", word.encode().ljust(2)) if form == "unnamed" else ("CS", word.strip())))
    syntax = {"implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian}.get(form)
    if syntax:
        image.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            path, image, implicit_vr=form == "implicit", little_endian=form != "big", enforce_file_format=True
        )
    else:
        image.save_as(path)
    (facts,) = look_at(path, LOOK)
    assert (facts["component"] == "water") is kept


def test_images_none_of_which_can_be_read_are_to_be_exported_again(ingested, write_dicom, tmp_path):
    write_dicom(tmp_path / "archive" / "a.dcm", Rows=0)
    error = ingested(tmp_path / "archive", ["2.25.11,1"], "unreadable=exclude")
    assert "found an image without rows or columns (1). Export them again (fistula doctor source=" in error
