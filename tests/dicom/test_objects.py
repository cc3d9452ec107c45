import dataclasses
import shutil
import subprocess
import warnings

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.sr import codes
from pydicom.sr._concepts_dict import concepts

from fistula.dicom.container import Part
from fistula.dicom.drawn.pointed import Place, in_patient
from fistula.dicom.out.objects import ANSWERS, PROCEDURES, Algorithm, Subject, write_overlay, write_report
from fistula.dicom.out.original import read_source
from fistula.errors import DataError

ALGORITHM = Algorithm("a run", "0.1.0", "ab" * 32)
FINDING = Subject("K60.3", "I10", "Anal fistula")


@pytest.fixture
def sources(one_patient):
    return [read_source(Part(path), limit=1 << 30) for path in sorted(one_patient.glob("*.dcm"))]


def complaints(path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy on this machine (Debian: dicom3tools)")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def write_both(sources, folder):
    picture = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    write_overlay(folder / "sc.dcm", picture, sources[0], frame=0, spacing_mm=0.8, algorithm=ALGORITHM)
    write_report(folder / "sr.dcm", sources, score=0.75, answer="present", finding=FINDING, algorithm=ALGORITHM)
    return picture


def test_both_objects_are_valid(sources, tmp_path):
    write_both(sources, tmp_path)
    assert complaints(tmp_path / "sc.dcm") == []
    assert complaints(tmp_path / "sr.dcm") == []


def shown_by(tool, *arguments):
    """Run a viewer's tool of DCMTK, which shares no code with what wrote the objects."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} on this machine (Debian: dcmtk)")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_viewer_shows_the_overlay_pixel_by_pixel(sources, tmp_path):
    picture = write_both(sources, tmp_path)
    shown_by("dcm2pnm", "+on", tmp_path / "sc.dcm", tmp_path / "sc.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sc.png")), picture)


def place_in(sources, one_patient, *, row=30.25, column=71.5, hour=6.2):
    part = Part(sorted(one_patient.glob("*.dcm"))[1])
    where = in_patient(part, limit=1 << 30, frame=0, row=row, column=column)
    return Place(sources[1], 0, row, column, where, 0.8, ANSWERS["present"], hour, 12.5)


def test_a_place_stands_in_the_report_in_the_image_and_in_the_patient(sources, one_patient, tmp_path):
    place = place_in(sources, one_patient)
    told = {"score": 0.75, "answer": "present", "finding": FINDING, "algorithm": ALGORITHM}
    write_report(tmp_path / "sr.dcm", sources, **told, places=[place])
    assert complaints(tmp_path / "sr.dcm") == []
    image = pydicom.dcmread(sorted(one_patient.glob("*.dcm"))[1])
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    flat, solid = report.content.get_planar_roi_measurement_groups()
    assert flat.tracking_uid == solid.tracking_uid
    assert flat.roi.GraphicType == "POINT"
    assert flat.roi.value.tolist() == [[72.0, 30.75]]  # column and row, from the corner of the first pixel
    assert flat.roi.ContentSequence[0].referenced_sop_instance_uid == image.SOPInstanceUID
    # An axial slice: columns run to the left, rows to the back.
    corner, (down, along) = np.array(image.ImagePositionPatient, float), map(float, image.PixelSpacing)
    np.testing.assert_allclose(solid.roi.value[0], corner + np.array([71.5 * along, 30.25 * down, 0]), atol=1e-3)
    assert solid.roi.frame_of_reference_uid == image.FrameOfReferenceUID
    measured = {one.name.meaning: float(one.value) for one in flat.get_measurements()}
    assert measured["Clock position in lithotomy"] == 6.2
    assert measured["Distance from the center of the anal canal"] == 12.5


def test_a_place_without_a_plane_is_told_in_the_image_alone(sources, one_patient, tmp_path):
    place = dataclasses.replace(place_in(sources, one_patient, hour=None), in_patient=None)
    told = {"score": 0.75, "answer": "present", "finding": FINDING, "algorithm": ALGORITHM}
    write_report(tmp_path / "sr.dcm", sources, **told, places=[place])
    assert complaints(tmp_path / "sr.dcm") == []
    (flat,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert "Clock position in lithotomy" not in {one.name.meaning for one in flat.get_measurements()}


def test_a_viewer_shows_what_the_report_says(sources, tmp_path):
    write_both(sources, tmp_path)
    shown_by("dsr2html", tmp_path / "sr.dcm", tmp_path / "sr.html")
    page = (tmp_path / "sr.html").read_text()
    for said in ("Model score", "0.75", "Answer at the operating point", "Present", "Anal fistula", "UNVERIFIED"):
        assert said in page
    assert ALGORITHM.fingerprint in page


def test_the_overlay_is_the_picture_and_belongs_to_the_sources_study(sources, tmp_path):
    picture = write_both(sources, tmp_path)
    overlay = pydicom.dcmread(tmp_path / "sc.dcm")
    np.testing.assert_array_equal(overlay.pixel_array, picture)
    for name in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert overlay[name].value == sources[0][name].value
    assert overlay.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID == sources[0].SOPInstanceUID
    assert [float(value) for value in overlay.PixelSpacing] == [0.8, 0.8]
    assert list(overlay.PatientOrientation) == ["L", "P"]


def contents(node):
    yield node
    for item in node.get("ContentSequence", []):
        yield from contents(item)


def test_the_report_says_score_answer_finding_and_what_made_it(sources, tmp_path):
    write_both(sources, tmp_path)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    items = list(contents(report))
    named = {item.ConceptNameCodeSequence[0].CodeValue: item for item in items if item.get("ConceptNameCodeSequence")}
    assert float(named["score"].MeasuredValueSequence[0].NumericValue) == 0.75
    assert named["answer"].ConceptCodeSequence[0].CodeMeaning == "Present"
    codes = {item.ConceptCodeSequence[0].CodeValue for item in items if item.get("ConceptCodeSequence")}
    assert {"K60.3", "52101004"} <= codes
    texts = " ".join(str(item.TextValue) for item in items if item.get("TextValue"))
    assert "a run" in texts
    assert ALGORITHM.fingerprint in texts
    referenced = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items if item.get("ReferencedSOPSequence")
    }
    assert referenced == {source.SOPInstanceUID for source in sources}
    assert report.VerificationFlag == "UNVERIFIED"


def test_another_result_has_another_name(sources, tmp_path):
    """An archive refuses or overwrites what has the UID of another object."""
    names = set()
    for number, (score, added) in enumerate(((0.75, 0), (0.7, 1), (0.75, 2))):
        told = {"finding": FINDING, "algorithm": ALGORITHM}
        picture = np.full((8, 8, 3), added, np.uint8)
        write_overlay(tmp_path / "sc.dcm", picture, sources[0], frame=0, spacing_mm=1, algorithm=ALGORITHM)
        write_report(tmp_path / "sr.dcm", sources[: 3 - number], score=score, answer="present", **told)
        names |= {pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in ("sc.dcm", "sr.dcm")}
    assert len(names) == 6


def test_the_same_result_has_the_same_names(sources, tmp_path):
    (tmp_path / "again").mkdir()
    write_both(sources, tmp_path)
    write_both(sources, tmp_path / "again")
    for name in ("sc.dcm", "sr.dcm"):
        first, second = pydicom.dcmread(tmp_path / name), pydicom.dcmread(tmp_path / "again" / name)
        assert first.SOPInstanceUID == second.SOPInstanceUID


def test_an_oblique_or_unstated_plane_is_no_obstacle(sources, tmp_path):
    sources[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    write_both(sources, tmp_path)
    assert list(pydicom.dcmread(tmp_path / "sc.dcm").PatientOrientation) == ["P", "F"]
    sources[0].ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]  # its pixels were stored turned by 180 degrees
    write_both(sources, tmp_path)
    assert list(pydicom.dcmread(tmp_path / "sc.dcm").PatientOrientation) == ["L", "P"]
    del sources[0].ImageOrientationPatient, sources[0].BodyPartExamined
    write_both(sources, tmp_path)
    assert complaints(tmp_path / "sc.dcm") == []


def test_a_source_that_went_away_is_refused(tmp_path):
    with pytest.raises(DataError, match="a source image cannot be read"):
        read_source(Part(tmp_path / "gone.dcm"), limit=1 << 20)


def with_bytes(path, target, **values):
    """Copy a file with attributes as these bytes, which no library would write; None takes one away."""
    if charset := values.pop("SpecificCharacterSet", None):  # first, or the library re-codes the others by the old one
        path = with_bytes(path, target, _=charset).path
    source = pydicom.dcmread(path)
    for keyword, stored in values.items():
        tag = pydicom.tag.Tag("SpecificCharacterSet" if keyword == "_" else keyword)
        source._dict.pop(tag, None)
        if stored is not None:
            vr = pydicom.datadict.dictionary_VR(tag)
            source._dict[tag] = RawDataElement(tag, vr, len(stored), stored, 0, False, True)
    with warnings.catch_warnings(action="ignore"):
        source.save_as(target)
    return Part(target)


@pytest.mark.parametrize(
    ("keyword", "stored", "written"),
    [
        ("PatientBirthDate", b"19801301", ""),
        ("PatientBirthDate", b"0000000 ", ""),
        ("PatientBirthDate", b"1980-01-31", "19800131"),
        ("PatientBirthDate", b"19800101\\19810101", ""),
        ("PatientBirthDate", b"\xff\xfe", ""),
        ("StudyDate", b"2020.01.02", "20200102"),
        ("StudyDate", b"20200101-20210101 ", ""),
        ("StudyTime", b"25:61 ", ""),
        ("StudyTime", b"12:30:05", "123005"),
        ("StudyTime", b"120000.1234567", "120000.123456"),
        ("PatientSex", b"X ", ""),
        ("PatientSex", b"FEMALE", "F"),
        ("PatientSex", b"M\\F", ""),
        ("BodyPartExamined", b"the pelvis and what lies below", ""),
        ("InstanceNumber", b"abc ", "1"),
        ("InstanceNumber", b"99999999999999", "1"),
        ("NumberOfFrames", b"abc ", ""),
        ("SliceThickness", None, ""),
        ("PixelSpacing", b"a\\b ", "[0.8, 0.8]"),
        ("AccessionNumber", None, ""),
        ("PatientBirthDate", None, ""),
        ("IssuerOfAccessionNumberSequence", b"\xff\xfe", ""),
    ],
)
def test_a_damaged_value_is_put_right_or_left_empty_and_costs_no_object(
    one_patient, tmp_path, keyword, stored, written
):
    path, left_empty = sorted(one_patient.glob("*.dcm"))[0], set()
    part = with_bytes(path, tmp_path / "source.dcm", **{keyword: stored})
    write_both([read_source(part, limit=1 << 30, left_empty=left_empty)], tmp_path)
    for file in ("sc.dcm", "sr.dcm"):
        assert complaints(tmp_path / file) == []
    overlay = pydicom.dcmread(tmp_path / "sc.dcm")
    assert str(overlay.get(keyword, "") or "") == written
    dates = ("PatientBirthDate", "StudyDate", "StudyTime", "PatientSex", "BodyPartExamined")
    assert left_empty == ({keyword} if keyword in dates and stored and not written else set())


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_a_source_without_a_uid_cannot_be_referred_to(one_patient, tmp_path, keyword):
    part = with_bytes(sorted(one_patient.glob("*.dcm"))[0], tmp_path / "source.dcm", **{keyword: None})
    with pytest.raises(DataError, match=f"a source image has no {keyword}"):
        read_source(part, limit=1 << 30)


def test_a_source_of_a_class_that_nobody_knows_is_refused_in_words(one_patient, tmp_path):
    part = with_bytes(sorted(one_patient.glob("*.dcm"))[0], tmp_path / "source.dcm", SOPClassUID=b"2.25.123")
    with pytest.raises(DataError, match="of a class that the standard does not know"):
        read_source(part, limit=1 << 30)


def test_text_in_an_unknown_character_set_is_refused_unless_it_needs_none(one_patient, tmp_path):
    path = sorted(one_patient.glob("*.dcm"))[0]
    part = with_bytes(path, tmp_path / "source.dcm", SpecificCharacterSet=b"FOO ", PatientName=b"M\xfcller^J")
    with pytest.raises(DataError, match="text in a character set that is unknown"):
        read_source(part, limit=1 << 30)
    part = with_bytes(path, tmp_path / "source.dcm", SpecificCharacterSet=b"FOO ", PatientName=b"Mueller^J")
    write_both([read_source(part, limit=1 << 30)], tmp_path)
    assert pydicom.dcmread(tmp_path / "sr.dcm").PatientName == "Mueller^J"


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID"])
def test_two_names_or_ids_are_refused_in_words(one_patient, tmp_path, keyword):
    part = with_bytes(sorted(one_patient.glob("*.dcm"))[0], tmp_path / "source.dcm", **{keyword: b"A\\B "})
    with pytest.raises(DataError, match=f"a source image has several values of {keyword}"):
        read_source(part, limit=1 << 30)


@pytest.mark.parametrize("modality", [*PROCEDURES, "OT"])
def test_the_procedure_is_that_of_the_modality_in_a_code_of_the_standard(sources, tmp_path, modality):
    for source in sources:
        source.Modality = modality
    write_both(sources, tmp_path)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    (reported,) = [
        item.ConceptCodeSequence[0]
        for item in contents(report)
        if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeValue == "121058"
    ]
    meant = {
        "MR": "MRI unspecified body region", "CT": "CT unspecified body region", "PT": "PET unspecified body region",
        "NM": "NM unspecified body region", "MG": "Mammography", "OT": "Imaging procedure",
        "US": "Ultrasound Report",  # LOINC 25061-3 is "US unspecified body region", which this table names otherwise
    }.get(modality, "XR unspecified body region")  # fmt: skip
    names = {
        name for entries in concepts[reported.CodingSchemeDesignator].values()
        for code, (name, _) in entries.items() if code == reported.CodeValue
    }  # fmt: skip
    assert meant in names
    assert complaints(tmp_path / "sr.dcm") == []


def test_answers_are_those_of_the_standards_list():
    assert set(ANSWERS.values()) == {codes.cid240.Present, codes.cid240.Absent, codes.cid240.Undetermined}


# The standard's own examples (PS3.5 H.3.1, I.2 and K.2), and names in one set of their own.
NAMES = {
    "Japanese": (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
    "Korean": (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
    "Chinese": (["", "ISO 2022 IR 58"], b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "张^小东"),
    "GB18030": ("GB18030", "李^明".encode("gb18030"), "李^明"),
    "GBK": ("GBK", "李^明".encode("gbk"), "李^明"),
    "UTF-8": ("ISO_IR 192", "李^明".encode(), "李^明"),
    "UTF-8 under its own name": ("UTF-8", "李^明".encode(), "李^明"),
    "Latin-1 misspelt": ("ISO-IR 100", "Müller^J".encode("latin-1"), "Müller^J"),
    "UTF-8 without its blank": ("ISO_IR192", "李^明".encode(), "李^明"),
    "UTF-8 in lower case": ("iso_ir 192", "李^明".encode(), "李^明"),
    "Cyrillic misspelt": ("ISO-IR-144", "Люксембург".encode("iso8859_5"), "Люксембург"),
    "Greek without its blank": ("ISO_IR126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    "Latin-9": ("ISO_IR 203", "Šimon^J".encode("iso8859_15"), "Šimon^J"),
    "Cyrillic": ("ISO_IR 144", "Люксембург".encode("iso8859_5"), "Люксембург"),
    "Thai": ("ISO_IR 166", "สมชาย".encode("tis-620"), "สมชาย"),
}


@pytest.mark.parametrize(("charset", "stored", "name"), NAMES.values(), ids=NAMES)
def test_a_name_in_any_character_set_is_the_same_name_in_both_objects(one_patient, tmp_path, charset, stored, name):
    path = sorted(one_patient.glob("*.dcm"))[0]
    stated = ("\\".join(charset) if isinstance(charset, list) else charset).encode()
    part = with_bytes(path, tmp_path / "source.dcm", SpecificCharacterSet=stated, PatientName=stored)
    write_both([read_source(part, limit=1 << 30)], tmp_path)
    for file in ("sc.dcm", "sr.dcm"):
        assert name in str(pydicom.dcmread(tmp_path / file).PatientName)
