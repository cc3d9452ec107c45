import pickle
import shutil
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from fistula.dicom.identity import Pseudonyms
from fistula.dicom.kinds import BEYOND
from fistula.dicom.look import Look, look_at
from fistula.dicom.outcome import Refused
from fistula.dicom.parse import HEAD, read_dataset, text
from fistula.dicom.pixels.decode import decode
from fistula.dicom.pixels.plain import read_plain
from fistula.dicom.timing import TimeLimit

from ..conftest import item_of

LOOK = Look(Pseudonyms(b"0123456789abcdef"), description="gd")


def _facts(path):
    """What is known of an image; where its pixels stand in the file only shows in that they are found there."""
    (record,) = look_at(path, LOOK)
    if plain := record.pop("plain", ""):
        with path.open("rb") as file:
            (picture,) = decode(read_dataset(file, limit=LOOK.limit), [0])
        np.testing.assert_array_equal(read_plain(path.read_bytes(), plain).values, picture.values)
    return record


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (["DERIVED", "PRIMARY", "W", "W", "DERIVED"], "water"),
        (["DERIVED", "PRIMARY", "F", "F", "DERIVED"], "fat"),
        (["DERIVED", "PRIMARY", "IP", "IP", "DERIVED"], "in_phase"),
        (["DERIVED", "PRIMARY", "OP", "OP", "DERIVED", "JP2K LOSSY"], "out_phase"),
        (["DERIVED", "PRIMARY", "OUT_OF_PHASE"], "out_phase"),
        (["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"], "magnitude"),
        (["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"], "phase"),
        (["ORIGINAL", "PRIMARY", "I_SE", "I", "SE"], "imaginary"),
        (["ORIGINAL", "PRIMARY"], ""),
    ],
)
def test_the_component_is_read_from_image_type(write_dicom, tmp_path, image_type, expected):
    write_dicom(tmp_path / "a", ImageType=image_type)
    assert _facts(tmp_path / "a")["component"] == expected


@pytest.mark.parametrize(
    ("stated", "tesla"), [("2.8936", 2.894), ("15000", 1.5), ("0", None), ("77", None), ("", None), (None, None)]
)
def test_the_field_strength_is_in_tesla(write_dicom, tmp_path, stated, tesla):
    write_dicom(tmp_path / "a", MagneticFieldStrength=stated)
    assert _facts(tmp_path / "a")["field_strength"] == tesla


def test_philips_own_element_tells_water_where_image_type_does_not(write_dicom, tmp_path):
    dataset = write_dicom(tmp_path / "a", ImageType=["DERIVED", "PRIMARY"])
    dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x11, "CS", "W ")
    dataset.save_as(tmp_path / "a")
    assert _facts(tmp_path / "a")["component"] == "water"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("image_type", "number", "expected"),
    [
        (["ORIGINAL", "PRIMARY", "OTHER"], 0, "magnitude"),
        (["ORIGINAL", "PRIMARY", "OTHER"], 1, "phase"),
        (["DERIVED", "PRIMARY", "OTHER"], 2, "real"),
        (["DERIVED", "PRIMARY", "OTHER"], 3, "imaginary"),
        (["DERIVED", "PRIMARY", "OTHER"], 0, ""),
        (["DERIVED", "PRIMARY", "DIXON", "WATER"], 0, "water"),
        (["ORIGINAL", "PRIMARY", "OTHER"], 17, ""),
    ],
)
def test_ges_own_element_tells_phase_from_magnitude(write_dicom, tmp_path, image_type, number, expected, syntax):
    dataset = write_dicom(tmp_path / "a", ImageType=image_type, syntax=syntax)
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", number)
    dataset.save_as(tmp_path / "a")
    assert _facts(tmp_path / "a")["component"] == expected


@pytest.mark.parametrize(
    "image_type", [["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], ["ORIGINAL", "PRIMARY", "M", "VFRAME"]]
)
def test_many_slices_in_one_picture_are_known_by_image_type(write_dicom, tmp_path, image_type):
    write_dicom(tmp_path / "a", ImageType=image_type)
    assert _facts(tmp_path / "a")["is_mosaic"]


@pytest.mark.parametrize(("creator", "is_mosaic"), [("SIEMENS MR HEADER", True), ("TOSHIBA_MEC_MR3", False)])
def test_a_mosaic_is_known_by_its_makers_count_of_tiles_where_its_type_does_not_say(
    write_dicom, tmp_path, creator, is_mosaic
):
    image = write_dicom(tmp_path / "a", ImageType=["DERIVED", "PRIMARY", "M"])
    image.add_new(0x00190010, "LO", creator)
    image.add_new(0x0019100A, "US", 9)
    image.save_as(tmp_path / "a")
    assert _facts(tmp_path / "a")["is_mosaic"] == is_mosaic


@pytest.mark.parametrize(
    ("changes", "drop", "expected"),
    [({}, (), "yes"), ({"ContrastBolusAgent": ""}, (), "unknown"), ({}, ("ContrastBolusAgent",), "no")],
)
def test_contrast_is_stated_empty_or_absent(write_dicom, tmp_path, changes, drop, expected):
    write_dicom(tmp_path / "a", drop=drop, **changes)
    assert _facts(tmp_path / "a")["contrast"] == expected


def test_magnitude_and_phase_in_one_enhanced_object_are_told_apart_and_placed(write_dicom, tmp_path):
    frames = [
        item_of(
            PlanePositionSequence=[item_of(ImagePositionPatient=[0, 0, 3.0 * index])],
            MRImageFrameTypeSequence=[
                item_of(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"], ComplexImageComponent=part)
            ],
        )
        for index, (kind, part) in enumerate([("T1", "MAGNITUDE"), ("T1", "PHASE"), ("WATER", "MAGNITUDE")])
    ]
    shared = item_of(
        PlaneOrientationSequence=[item_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item_of(PixelSpacing=[0.5, 0.5])],
    )
    write_dicom(
        tmp_path / "a",
        np.zeros((3, 4, 4), np.uint16),
        SOPClassUID=EnhancedMRImageStorage,
        PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=[shared],
        ImageType=["ORIGINAL", "PRIMARY", "T1", "MIXED"],
        drop=("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
    )
    records = look_at(tmp_path / "a", LOOK)
    assert [record["component"] for record in records] == ["magnitude", "phase", "water"]
    assert [record["position_mm"] for record in records] == [0.0, 3.0, 6.0]
    assert {record["spacing_row"] for record in records} == {0.5}
    assert len({record["slice_key"] for record in records}) == 3


def test_an_enhanced_object_without_a_word_on_the_complex_image_is_an_image(write_dicom, tmp_path):
    write_dicom(
        tmp_path / "a",
        np.zeros((2, 4, 4), np.uint16),
        SOPClassUID=EnhancedCTImageStorage,
        Modality="CT",
        PerFrameFunctionalGroupsSequence=[
            item_of(CTImageFrameTypeSequence=[item_of(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])])
            for _ in range(2)
        ],
    )
    records = look_at(tmp_path / "a", LOOK)
    assert [(record["outcome"], record["component"]) for record in records] == [("image", "")] * 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_give_the_same_facts(write_dicom, tmp_path, syntax):
    dataset = write_dicom(tmp_path / "a")
    expected = _facts(tmp_path / "a")
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    pydicom.dcmwrite(tmp_path / "b", dataset, implicit_vr=implicit, little_endian=little)
    assert _facts(tmp_path / "b") | {"syntax": ""} == expected | {"syntax": ""}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("beyond", [-60_000, *range(-24, 26, 2), 100_000])
def test_a_header_is_read_whole_wherever_its_first_bytes_end(write_dicom, tmp_path, syntax, beyond):
    """The header is parsed from the file's first bytes where they hold all of it; before, at and behind that place."""
    write_dicom(tmp_path / "plain.dcm", syntax=syntax)
    write_dicom(tmp_path / "long.dcm", syntax=syntax, SpectroscopyData=b"")
    shorter = (tmp_path / "long.dcm").read_bytes().index(b"\xe0\x7f\x10\x00")
    # These data are the last thing before the pixels.
    write_dicom(tmp_path / "long.dcm", syntax=syntax, SpectroscopyData=bytes(HEAD + beyond - shorter))
    assert (tmp_path / "long.dcm").read_bytes().index(b"\xe0\x7f\x10\x00") == HEAD + beyond
    assert _facts(tmp_path / "long.dcm") == _facts(tmp_path / "plain.dcm")


def test_a_file_without_preamble_is_read_and_noted(write_dicom, tmp_path):
    write_dicom(tmp_path / "a")
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[132:])
    record = _facts(tmp_path / "b")
    assert record["outcome"] == "image"
    assert "no preamble" in record["notes"]


def test_the_study_stands_for_a_patient_without_id(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PatientID="")
    write_dicom(tmp_path / "b", PatientID="", StudyInstanceUID="2.25.333")
    first, second = _facts(tmp_path / "a"), _facts(tmp_path / "b")
    assert first["patient_key"] != second["patient_key"]
    assert "no PatientID" in first["notes"]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"PatientSex": "Male"}, "a sex other than M, F or O"),
        ({"PatientSex": "f"}, ""),
        ({"SOPInstanceUID": "", "SeriesInstanceUID": ""}, "no SOPInstanceUID|no SeriesInstanceUID"),
        ({"StudyInstanceUID": ""}, "no StudyInstanceUID"),
        ({"SliceThickness": "3mm"}, "SliceThickness that cannot be read"),
        ({"Modality": "mr"}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_what_is_left_empty_or_named_by_something_else_is_noted(write_dicom, tmp_path, changes, note):
    image = write_dicom(tmp_path / "a", **{name: value for name, value in changes.items() if name != "SliceThickness"})
    if "SliceThickness" in changes:
        image["SliceThickness"] = DataElement("SliceThickness", "LO", changes["SliceThickness"])
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(tmp_path / "a", enforce_file_format=False)
    record = _facts(tmp_path / "a")
    assert (record["modality"], record["notes"]) == ("MR", note)


@pytest.mark.parametrize(
    ("word", "is_shared"),
    [(word, True) for word in ("匿名", "匿名患者", "无名氏", "未知", "テスト", "익명", "99999", "N/A", "...", "x-x-x")]
    + [(word, False) for word in ("张匿名", "9999-1", "TEST-07")],
)
def test_words_that_many_people_share_are_known_in_several_languages(write_dicom, tmp_path, word, is_shared):
    write_dicom(tmp_path / "a", PatientID=word, PatientBirthDate="", SpecificCharacterSet="ISO_IR 192")
    assert _facts(tmp_path / "a")["is_default_id"] is is_shared


@pytest.mark.parametrize("ids", [("1", "2", "3"), ("ANON_008", "Anon 009", "anon010"), ("1", "\uff12", "03")])
def test_a_word_that_ends_in_a_number_knows_the_ids_beside_it(write_dicom, tmp_path, ids):
    for name, patient in zip("abc", ids, strict=True):
        write_dicom(tmp_path / name, PatientID=patient, PatientBirthDate="", SpecificCharacterSet="ISO_IR 192")
    first, *others = (_facts(tmp_path / name) for name in "abc")
    assert first["is_default_id"]
    assert {other["alike_key"] for other in others} <= set(first["near_keys"])


@pytest.mark.parametrize("patient", ["9" * 5000, "ANON" + "7" * 5000])
@pytest.mark.filterwarnings("ignore:The value length")
def test_an_id_of_thousands_of_digits_counts_nothing(write_dicom, tmp_path, patient):
    write_dicom(tmp_path / "a", PatientID=patient, PatientBirthDate="")
    assert _facts(tmp_path / "a")["near_keys"] == []


def test_age_comes_from_the_dates_before_the_stated_age(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PatientAge="099Y")
    write_dicom(tmp_path / "b", PatientBirthDate="", PatientAge="018M")
    assert _facts(tmp_path / "a")["age"] == 40.0
    assert _facts(tmp_path / "b")["age"] == 1.5


@pytest.mark.parametrize(("birth", "expected"), [("19320101", 88.0), ("19290101", 90.0), ("19150101", 90.0)])
def test_ages_over_89_are_one_age(write_dicom, tmp_path, birth, expected):
    write_dicom(tmp_path / "a", PatientBirthDate=birth)
    assert _facts(tmp_path / "a")["age"] == expected


@pytest.mark.parametrize(
    ("birth", "is_shared", "is_told"),
    [("19000101", True, False), ("19700101", True, True), ("", True, False), ("19640715", False, True)],
    ids=["a placeholder", "a year alone", "none", "a birth date"],
)
def test_a_word_for_an_id_may_be_many_peoples_unless_a_birth_date_is_somebodys(
    write_dicom, tmp_path, birth, is_shared, is_told
):
    write_dicom(tmp_path / "a", PatientID="ANONYMOUS", PatientBirthDate=birth)
    facts = _facts(tmp_path / "a")
    assert (facts["is_default_id"], facts["birth_key"] != "") == (is_shared, is_told)


def test_one_person_under_two_ids_has_one_person_key(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PatientID="A")
    write_dicom(tmp_path / "b", PatientID="B")
    first, second = _facts(tmp_path / "a"), _facts(tmp_path / "b")
    assert first["person_key"] == second["person_key"]
    assert first["patient_key"] != second["patient_key"]


def _keys(*words):
    return [LOOK.pseudonyms("name", word) for word in words]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Weiss^Anna^^Dr", ["ANNA", "DR", "WEISS"]),
        ("WEISS, Anna", ["ANNA", "WEISS"]),
        ("Case^017", ["017", "CASE"]),
        ("F017", ["F017"]),
        ("Anonymized", []),
        ("", []),
    ],
)
def test_a_name_is_the_pseudonyms_of_its_words(write_dicom, tmp_path, name, words):
    write_dicom(tmp_path / "a", PatientName=name)
    assert _facts(tmp_path / "a")["name_keys"] == _keys(*words)


def test_a_name_in_several_scripts_counts_by_the_first(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PatientName="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce", SpecificCharacterSet="ISO_IR 192")
    assert _facts(tmp_path / "a")["name_keys"] == _keys("TAROU", "YAMADA")
    write_dicom(tmp_path / "b", PatientName="=\u5c71\u7530^\u592a\u90ce", SpecificCharacterSet="ISO_IR 192")
    assert _facts(tmp_path / "b")["name_keys"] not in ([], _facts(tmp_path / "a")["name_keys"])


@pytest.mark.parametrize(
    ("one", "other", "scale", "apart"),
    [
        ({"PatientSize": "1.62"}, {"PatientSize": "181"}, "height", 19),
        ({"PatientSize": "0"}, {"PatientSize": "1.81"}, "height", None),
        ({"PatientAge": "040Y"}, {"PatientAge": "039Y"}, "born", 365),
        ({"PatientAge": "040Y", "StudyDate": "20200101"}, {"PatientAge": "044Y", "StudyDate": "20240101"}, "born", 0),
        (
            {"AcquisitionTime": "101500.25"},
            {"AcquisitionDateTime": "20200101101530.000000+0100"}, "second", 30,
        ),
        ({"AcquisitionTime": "10:15:00"}, {"AcquisitionTime": "101501"}, "second", 1),
        ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "none"}, "second", None),
    ],
    ids=[
        "cm for metres", "no height", "a year", "the same person later", "a date and time", "colons", "no time",
    ],
)  # fmt: skip
def test_facts_of_a_person_lie_on_secret_scales_on_which_differences_stay(
    write_dicom, tmp_path, one, other, scale, apart
):
    for name, attributes in (("a", one), ("b", other)):
        write_dicom(tmp_path / name, **attributes)
    first, second = _facts(tmp_path / "a")[scale], _facts(tmp_path / "b")[scale]
    assert (None if None in (first, second) else abs(second - first)) == apart
    if first is not None:  # and nobody reads a height, a year or an hour off them
        assert first < 0 or first > 10**9


@pytest.mark.parametrize(
    ("changes", "drop", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, (), "an implausible number of pixels or frames"),
        ({"NumberOfFrames": "99999999"}, (), "an implausible number of pixels or frames"),
        ({"NumberOfFrames": "-3"}, (), "an invalid number of frames"),
        ({"Rows": 0}, (), "an image without rows or columns"),
        ({"Rows": 200}, (), "pixel data cut short"),
        ({"PixelData": bytes(4000)}, (), "pixel data of more frames, rows, columns or bits than it states"),
        ({"BitsAllocated": 1}, (), "one bit per pixel"),
        ({"BitsAllocated": 12, "BitsStored": 12}, (), "BitsAllocated 12, not 8, 16, 32 or 64"),
        (
            {"SamplesPerPixel": 3, "Rows": 8, "PhotometricInterpretation": "RGB"},
            (),
            "an image without PlanarConfiguration",
        ),
        ({"PhotometricInterpretation": "RGB"}, (), "SamplesPerPixel 1 with RGB"),
        ({"SamplesPerPixel": 3, "Rows": 8, "PlanarConfiguration": 0}, (), "SamplesPerPixel 3 with MONOCHROME2"),
        ({"SamplesPerPixel": 0}, (), "SamplesPerPixel 0, not 1 or 3"),
        ({"BitsStored": 17}, (), "more bits stored than allocated"),
        ({"BitsStored": 12, "HighBit": 15}, (), "a high bit that does not match the bits stored"),
        ({}, ("PixelData",), "an image object without pixel data"),
    ],
)
def test_an_image_that_cannot_be_one_is_refused(write_dicom, tmp_path, changes, drop, reason):
    write_dicom(tmp_path / "a", drop=drop, **changes)
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == ("refused", reason)


@pytest.mark.parametrize(("length", "is_noted"), [(960, False), (962, True), (1900, True)])
def test_pixel_data_of_more_bytes_than_are_needed_are_noted(write_dicom, tmp_path, length, is_noted):
    # Rows or columns may be wrong by one, or somebody filled up a block.
    write_dicom(tmp_path / "a", PixelData=bytes(length))
    record = _facts(tmp_path / "a")
    assert record["outcome"] == "image"
    assert (BEYOND in record["notes"]) is is_noted


@pytest.mark.parametrize(
    ("held", "said", "reason"),
    [
        (RLELossless, ExplicitVRLittleEndian, "compressed pixel data under an uncompressed transfer syntax"),
        (ExplicitVRLittleEndian, "1.2.840.113619.5.2", "an unknown transfer syntax"),
        (RLELossless, "1.2.3", "an unknown transfer syntax"),
    ],
)
def test_pixels_in_another_form_than_the_header_says_are_refused_by_name(write_dicom, tmp_path, held, said, reason):
    image = write_dicom(tmp_path / "a", np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) % 7)
    if held == RLELossless:
        image.compress(held, encoding_plugin="pydicom")
        image.save_as(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    own = held.encode() + b"\0" * (len(held) % 2)
    (tmp_path / "a").write_bytes(content.replace(own, said.encode().ljust(len(own), b"\0")[: len(own)]))
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == ("refused", reason)


@pytest.mark.parametrize("name", ["._1.dcm", "1.dcm@SynoEAStream"])
def test_what_macos_writes_beside_a_file_is_passed_over_though_named_as_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(400))
    record = _facts(tmp_path / name)
    assert (record["outcome"], record["reason"]) == ("skipped", "what macOS wrote beside a file")


@pytest.mark.parametrize(
    ("sop_class", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "a structured report"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "a radiotherapy object"),
        ("1.2.840.10008.5.1.4.1.1.66", "raw data"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "a presentation state"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "an encapsulated document"),
        ("1.2.840.10008.5.1.4.1.1.4.2", "a spectrum"),
        ("1.3.46.670589.11.0.0.12.2", "raw data"),
    ],
)
def test_objects_that_are_no_images_are_skipped_by_their_kind(write_dicom, tmp_path, sop_class, reason):
    write_dicom(tmp_path / "a", SOPClassUID=sop_class)
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == ("skipped", reason)


def test_only_whether_the_description_matches_leaves_the_header(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", SeriesDescription="mDIXON-W_TRA_GD Smith")
    record = _facts(tmp_path / "a")
    assert record["is_described"] is True
    assert not any("Smith" in str(value) for value in record.values())


@pytest.mark.parametrize(
    ("attributes", "outcome", "reason"),
    [
        ({"DirectoryRecordSequence": [Dataset()]}, "skipped", "a DICOMDIR"),
        ({"SamplesPerPixel": 2}, "refused", "SamplesPerPixel 2, not 1 or 3"),
        ({"NumberOfFrames": "-1"}, "refused", "an invalid number of frames"),
        ({"BitsStored": 17}, "refused", "more bits stored than allocated"),
    ],
)
def test_a_header_that_is_of_no_image_says_why(write_dicom, tmp_path, attributes, outcome, reason):
    write_dicom(tmp_path / "a", **attributes)
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == (outcome, reason)


def test_a_dicomdir_says_when_a_file_that_it_lists_is_not_there(tmp_path):
    shutil.copytree(Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/TINY_ALPHA", tmp_path / "disc")
    assert _facts(tmp_path / "disc" / "DICOMDIR")["reason"] == "a DICOMDIR"
    next((tmp_path / "disc").rglob("IM*")).unlink()
    record = _facts(tmp_path / "disc" / "DICOMDIR")
    assert (record["outcome"], record["reason"]) == ("skipped", "a DICOMDIR that lists files which are not there")


@pytest.mark.parametrize("folder", ["", "disc/"])
def test_a_dicomdir_in_an_archive_says_so_too(tmp_path, folder):
    disc = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/TINY_ALPHA"
    files = sorted(path for path in disc.rglob("*") if path.is_file())

    def reasons(packed):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for path in packed:
                archive.write(path, f"{folder}{path.relative_to(disc)}".lower() if folder else path.relative_to(disc))
        records = look_at(tmp_path / "a.zip", Look(Pseudonyms(b"0123456789abcdef")))
        return [record["reason"] for record in records if "DICOMDIR" in record["reason"]]

    assert reasons(files) == ["a DICOMDIR"]
    gone = next(path for path in files if path.name.startswith("IM"))
    assert reasons([path for path in files if path != gone]) == ["a DICOMDIR that lists files which are not there"]


@pytest.mark.filterwarnings("ignore:.*ReferencedFileID|.*value length")
def test_a_dicomdir_may_list_what_no_disk_can_hold(write_dicom, tmp_path):
    listed = Dataset()
    listed.ReferencedFileID = "A" * 300
    write_dicom(tmp_path / "a", DirectoryRecordSequence=[listed])
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == ("skipped", "a DICOMDIR that lists files which are not there")


def test_a_preamble_does_not_make_an_image(tmp_path):
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    record = _facts(tmp_path / "a")
    assert (record["outcome"], record["reason"]) == ("refused", "a DICOM file with nothing in it")


@pytest.mark.parametrize("junk", [b"\0" * 200, b"junk" * 50, bytes(range(256)), b"\xff" * 300, b"\x08\0\x16\0UI\0\0"])
def test_a_preamble_before_junk_is_a_damaged_file_and_not_skipped(tmp_path, junk):
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM" + junk)
    record = _facts(tmp_path / "a")
    assert record["outcome"] == "refused"
    assert record["reason"].startswith(("a damaged DICOM file", "a DICOM file with nothing in it"))


@pytest.mark.parametrize(
    ("begin", "end"),
    [(b"", 28), (b"\r\n", 0), (b"--X\r\nContent-Type: application/dicom\r\n\r\n", 0), (bytes(128) + b"DOCM", 132)],
    ids=["cut off", "a line before", "a part of an archive's answer", "another mark"],
)
def test_a_preamble_that_is_damaged_is_a_damaged_file_and_not_skipped(write_dicom, tmp_path, begin, end):
    write_dicom(tmp_path / "IM1")
    (tmp_path / "IM1").write_bytes(begin + (tmp_path / "IM1").read_bytes()[end:])
    facts = _facts(tmp_path / "IM1")
    assert (facts["outcome"], facts["reason"]) == (
        "refused", "a damaged DICOM file: its preamble is not as it should be",
    )  # fmt: skip


def test_what_is_called_a_zip_archive_and_is_none_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "text")
    (tmp_path / "a.zip").write_bytes(b"MZ" + bytes(99) + (tmp_path / "a.zip").read_bytes())
    assert _facts(tmp_path / "a.zip")["reason"] == "named as a zip archive, but its content is not"


@pytest.mark.parametrize(
    ("deflated", "reason"),
    [
        pytest.param(b"no stream at all", "a damaged deflated object", id="damaged"),
        pytest.param(zlib.compress(bytes(3 << 20), wbits=-15), "unpacks to more than the size limit", id="a bomb"),
    ],
)
def test_a_deflated_object_is_inflated_within_limits(write_dicom, tmp_path, deflated, reason):
    dataset = write_dicom(tmp_path / "a")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "b", enforce_file_format=True)
    content = (tmp_path / "b").read_bytes()
    length = int.from_bytes(content[140:144], "little")  # of the file meta group, which is not deflated
    (tmp_path / "c").write_bytes(content[: 144 + length] + deflated)
    (record,) = look_at(tmp_path / "c", Look(Pseudonyms(b"0123456789abcdef"), max_object_mb=1))
    assert (record["outcome"], record["reason"]) == ("refused", reason)


def test_a_frame_cut_off_in_a_compressed_object_is_refused(tmp_path):
    content = Path(get_testdata_file("MR_small_RLE.dcm")).read_bytes()
    (tmp_path / "a").write_bytes(content[: content.index(b"\xe0\x7f\x10\x00") + 14])
    assert _facts(tmp_path / "a")["reason"] in ("pixel data cut short", "a damaged DICOM file")


@pytest.mark.parametrize(
    "changes", [{"ContrastBolusVolume": "7"}, {"ContrastBolusAgentSequence": [Dataset()]}], ids=["volume", "agent"]
)
def test_contrast_is_also_stated_by_volume_or_as_a_sequence(write_dicom, tmp_path, changes):
    write_dicom(tmp_path / "a", drop=("ContrastBolusAgent",), **changes)
    assert _facts(tmp_path / "a")["contrast"] == "yes"


def test_dates_that_no_calendar_has_give_no_age(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PatientBirthDate="19801399")
    assert _facts(tmp_path / "a")["age"] is None


def test_a_file_that_takes_too_long_is_refused():
    with pytest.raises(Refused, match="took longer than the time limit"), TimeLimit(0.05):
        time.sleep(5)


def test_an_outcome_survives_the_way_between_processes():
    again = pickle.loads(pickle.dumps(Refused("a reason", "a remedy")))
    assert (type(again), again.reason, again.remedy) == (Refused, "a reason", "a remedy")


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (b"\x28\0\x53\x10DS\2\0002 ", "attributes behind the pixel data, where they do not belong"),
        ("itself", "a second DICOM object behind the first, in one file"),
        ("without preamble", "a second DICOM object behind the first, in one file"),
        (b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", ""),
        (bytes(700), ""),
        (b"\x10\0" * 700, ""),
    ],
    ids=["a slope", "a file", "a data set", "padding", "zeros", "pixels that look like a tag"],
)
def test_what_stands_behind_the_pixels_is_not_passed_over(write_dicom, tmp_path, behind, reason):
    write_dicom(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    more = {"itself": content, "without preamble": content[132:]}.get(behind, behind)
    (tmp_path / "a").write_bytes(content + more)
    assert _facts(tmp_path / "a")["reason"] == reason


def test_ids_that_their_character_set_cannot_spell_stay_two(write_dicom, tmp_path):
    keys = set()
    for name in ("M\u00fcller", "M\u00e4ller"):
        write_dicom(tmp_path / "a", PatientID="QQQQQQ", SpecificCharacterSet="ISO_IR 192")
        content = (tmp_path / "a").read_bytes()
        (tmp_path / "a").write_bytes(content.replace(b"QQQQQQ", name.encode("latin-1")))
        facts = _facts(tmp_path / "a")
        keys.add(facts["patient_key"])
        assert "PatientID in another character set than stated, its bytes compared" in facts["notes"]
    assert len(keys) == 2


IDS = {
    "PatientID": "patient_key", "StudyInstanceUID": "study_key", "SeriesInstanceUID": "series_key",
    "SOPInstanceUID": "slice_key", "FrameOfReferenceUID": "frame_key", "AccessionNumber": "accession_key",
}  # fmt: skip


@pytest.mark.parametrize("keyword", IDS)
@pytest.mark.parametrize("vr", ["LO", "SH", "UI", "UN", "OB", "OW", "ST", "UT", "PN", "CS", "AE", "IS", "DS", "UR"])
def test_an_id_is_the_same_in_any_representation_and_whatever_blanks_end_it(write_dicom, tmp_path, keyword, vr):
    given = {keyword: "2.25.11"}
    write_dicom(tmp_path / "a", **given)
    key = _facts(tmp_path / "a")[IDS[keyword]]
    for end in (b"\0", b" ", b" \0 ", b"\r\n ", b"\t", b"\n"):
        dataset = write_dicom(tmp_path / "a", **given)
        value = b"2.25.11" + end
        dataset._dict[Tag(keyword)] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)
        dataset.save_as(tmp_path / "a")
        assert _facts(tmp_path / "a")[IDS[keyword]] == key, end


@pytest.mark.parametrize(("step", "is_mosaic"), [(3.0, False), (0.0, True)], ids=["taken apart", "repeated"])
def test_a_mosaic_that_was_taken_apart_is_none(write_dicom, tmp_path, step, is_mosaic):
    """As Siemens XA writes it, whose ImageType stays what it was."""
    groups = [item_of(PlanePositionSequence=[item_of(ImagePositionPatient=[0, 0, step * at])]) for at in range(2)]
    write_dicom(
        tmp_path / "a", np.zeros((2, 8, 8), np.uint16), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        PerFrameFunctionalGroupsSequence=groups, drop=("ImagePositionPatient",),
    )  # fmt: skip
    assert [facts["is_mosaic"] for facts in look_at(tmp_path / "a", LOOK)] == [is_mosaic] * 2


@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "SeriesDescription", "PatientID", "ImageType"])
def test_what_a_sequence_in_the_place_of_a_text_holds_is_no_text(write_dicom, tmp_path, keyword):
    write_dicom(tmp_path / "a.dcm", np.zeros((8, 8), np.uint16))
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    tag = pydicom.tag.Tag(keyword)
    for items in ([], [item_of(PatientName="DOE^JANE")]):
        dataset[tag] = DataElement(tag, "SQ", items)
        dataset.save_as(tmp_path / "b.dcm")
        with (tmp_path / "b.dcm").open("rb") as file:
            assert text(read_dataset(file, limit=1 << 20), keyword) == ""
        (record,) = look_at(tmp_path / "b.dcm", Look(Pseudonyms(b"0123456789abcdef")))
        assert "JANE" not in repr(record)
