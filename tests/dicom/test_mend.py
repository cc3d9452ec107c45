"""Elements × ways to misspell them × what becomes of the object: the value that was meant, or a refusal."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom.header.spelling import IMPOSSIBLE, MISCOUNTED, UNREADABLE
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look, look_at
from fistula.dicom.outcome import Refused
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode

LOOK = Look(Pseudonyms(b"0123456789abcdef"))
PIXELS = np.array([[0, 10, 20], [30, 40, 50]], np.uint16)
US = struct.Struct("<H").pack
NOTED = "written incorrectly, read as meant"
INVALID, SKEW = "an invalid orientation: unchanged", ": rows and columns are not at right angles"


def _element(keyword, vr, value, *, is_implicit):
    """The bytes of one element in little endian (PS3.5 7.1)."""
    tag = struct.pack("<HH", *divmod(int(Tag(keyword)), 1 << 16))
    if is_implicit:
        return tag + struct.pack("<I", len(value)) + value
    is_long = vr in ("OB", "OW", "SQ", "UN")
    return tag + vr.encode() + (struct.pack("<HI", 0, len(value)) if is_long else US(len(value))) + value


def _write(write_dicom, path, place, vr, value, *, syntax=ExplicitVRLittleEndian, pixels=PIXELS, drop=(), **attributes):
    """A file whose element `place` has exactly these bytes; ``Sequence.Keyword`` stands in its functional group."""
    *groups, keyword = place.split(".")
    given = () if groups or keyword not in write_dicom(path, pixels, **attributes) else (keyword,)
    write_dicom(path, pixels, syntax=syntax, drop=(*drop, *given), **attributes)
    element = _element(keyword, vr, value, is_implicit=syntax.is_implicit_VR)
    for group in [*groups, *(["SharedFunctionalGroupsSequence"] if groups else [])]:
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(element)) + element
        element = _element(group, "SQ", item, is_implicit=syntax.is_implicit_VR)
    _insert(path, element)


def _insert(path, elements):
    """Put bytes before the pixels."""
    content = path.read_bytes()
    end = content.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(content[:end] + elements + content[end:])


def _read(path):
    (record,) = look_at(path, LOOK)
    if record["outcome"] != "image":
        assert record["outcome"] == "refused"
        return record, None
    with path.open("rb") as file:
        return record, next(decode(read_dataset(file, limit=1 << 20), [0]))


RESCALED = PIXELS * 2.5
SPACED = (0.5, 0.25)
NOTHING = "of 0, which makes all pixels one"
TILTED = [1.0, 0.0, 0.0, 0.0, 0.8, -0.6]
# Element, VR in the file, its bytes, and what is then known: picture's attribute or fact, and its value.
MEANT = [
    pytest.param("RescaleSlope", "DS", b"2,5", "values", RESCALED, id="decimal comma"),
    pytest.param("RescaleSlope", "DS", b" 2.5\0\0\0", "values", RESCALED, id="blanks and NULs"),
    pytest.param("RescaleSlope", "DS", b"+25e-1", "values", RESCALED, id="sign and exponent"),
    pytest.param("RescaleSlope", "LO", b"2.5 ", "values", RESCALED, id="LO for DS"),
    pytest.param("RescaleSlope", "UN", b"2.5 ", "values", RESCALED, id="UN for DS"),
    pytest.param("RescaleSlope", "FD", struct.pack("<d", 2.5), "values", RESCALED, id="FD for DS"),
    pytest.param("RescaleSlope", "DS", b"2.5\\2.5\\2.5 ", "values", RESCALED, id="one slope three times"),
    pytest.param("PixelValueTransformationSequence.RescaleSlope", "DS", b"2,5 ", "values", RESCALED, id="in a group"),
    pytest.param("RescaleIntercept", "DS", b"-10,5 ", "values", PIXELS - 10.5, id="intercept with a comma"),
    pytest.param("PixelSpacing", "DS", b"0,5\\0,25", "spacing", SPACED, id="spacing with commas"),
    pytest.param("PixelSpacing", "DS", b"0.5,0.25", "spacing", SPACED, id="spacing parted by a comma"),
    pytest.param("PixelSpacing", "FD", struct.pack("<2d", *SPACED), "spacing", SPACED, id="spacing as FD"),
    pytest.param("PixelSpacing", "DS", b"0.5\\0.25\\", "spacing", SPACED, id="a backslash too many"),
    pytest.param("PixelSpacing", "DS", b"0,500\\0,250", "spacing", SPACED, id="three digits that are no thousands"),
    pytest.param("PixelMeasuresSequence.PixelSpacing", "DS", b"0,5\\0,25", "spacing", SPACED, id="spacing in a group"),
    pytest.param("ImageOrientationPatient", "DS", b"1,0,0,0,0.8,-0.6", "cosines", TILTED, id="parted by commas"),
    pytest.param("ImageOrientationPatient", "DS", b"1, 0, 0, 0, 0.8, -0.6", "cosines", TILTED, id="and by blanks"),
    pytest.param("ImageOrientationPatient", "DS", b"1\\0\\0\\0\\0,8\\-0,6 ", "cosines", TILTED, id="direction, commas"),
    pytest.param("ImageOrientationPatient", "SH", b"1\\0\\0\\0\\.8\\-.6", "cosines", TILTED, id="direction as SH"),
    pytest.param("ImageOrientationPatient", "DS", b"2\\0\\0\\0\\1.6\\-1.2", "cosines", TILTED, id="too long"),
    pytest.param("ImageOrientationPatient", "DS", b".5\\0\\0\\0\\.4\\-.3 ", "cosines", TILTED, id="too short"),
    pytest.param("ImagePositionPatient", "DS", b"0\\0\\7,5 ", "position_mm", 7.5, id="position with a comma"),
    pytest.param("ImagePositionPatient", "LO", b"0\\0\\7.5 ", "position_mm", 7.5, id="position as LO"),
    pytest.param("Rows", "IS", b"2 ", "values", PIXELS, id="rows as IS"),
    pytest.param("Rows", "UL", struct.pack("<I", 2), "values", PIXELS, id="rows as UL"),
    pytest.param("Columns", "UN", US(3), "values", PIXELS, id="columns as UN"),
    pytest.param("Columns", "US", US(3) + US(3), "values", PIXELS, id="columns twice"),
    pytest.param("BitsStored", "DS", b"16", "values", PIXELS, id="bits as DS"),
    pytest.param("BitsAllocated", "OB", US(16), "values", PIXELS, id="bits as OB"),
    pytest.param("SamplesPerPixel", "SS", US(1), "values", PIXELS, id="samples as SS"),
    pytest.param("PixelRepresentation", "CS", b"0 ", "values", PIXELS, id="sign as CS"),
    pytest.param("NumberOfFrames", "IS", b"1.0 ", "values", PIXELS, id="frames with a point"),
    pytest.param("NumberOfFrames", "US", US(1), "values", PIXELS, id="frames as US"),
    pytest.param("PhotometricInterpretation", "CS", b"monochrome1 ", "is_inverted", True, id="lower case"),
    pytest.param("PhotometricInterpretation", "CS", b"MONOCHROME 1", "is_inverted", True, id="with a blank"),
    pytest.param("PhotometricInterpretation", "LO", b"MONOCHROME1 ", "is_inverted", True, id="photometric as LO"),
]


@pytest.mark.parametrize(("place", "vr", "value", "name", "expected"), MEANT)
def test_a_value_that_can_be_meant_in_one_way_is_read_and_noted(
    write_dicom, tmp_path, place, vr, value, name, expected
):
    attributes = {"RescaleIntercept": "0"} if place == "RescaleSlope" else {}
    drop = ("PixelSpacing",) if place.endswith(".PixelSpacing") else ()
    _write(write_dicom, tmp_path / "a", place, vr, value, drop=drop, **attributes)
    record, picture = _read(tmp_path / "a")
    np.testing.assert_allclose(record[name] if name in record else getattr(picture, name), expected, rtol=1e-6)
    is_standard = value in (b" 2.5\0\0\0", b"+25e-1")
    assert (f"{place.rpartition('.')[2]} {NOTED}" in record["notes"]) is not is_standard


@pytest.mark.parametrize(
    ("place", "vr", "value", "why"),
    [
        pytest.param("RescaleSlope", "DS", b"two ", UNREADABLE, id="a word"),
        pytest.param("RescaleSlope", "DS", b"1,024 ", UNREADABLE, id="a comma of thousands or of decimals"),
        pytest.param("RescaleSlope", "DS", b"1_000 ", UNREADABLE, id="a number for Python alone"),
        pytest.param("RescaleSlope", "DS", b"nan ", UNREADABLE, id="not a number"),
        pytest.param("RescaleSlope", "DS", b"inf ", UNREADABLE, id="without end"),
        pytest.param("RescaleSlope", "FD", struct.pack("<d", float("nan")), IMPOSSIBLE, id="not a number, FD"),
        pytest.param("RescaleSlope", "DS", b"1\\2 ", MISCOUNTED, id="two slopes"),
        pytest.param("RescaleSlope", "DS", b"0 ", NOTHING, id="a slope of nothing"),
        pytest.param("RescaleSlope", "DS", b"1e-40 ", IMPOSSIBLE, id="a slope below what pixels can hold"),
        pytest.param("RescaleSlope", "DS", b"-1e31 ", IMPOSSIBLE, id="a slope beyond what pixels can hold"),
        pytest.param("PixelValueTransformationSequence.RescaleSlope", "DS", b"0 ", NOTHING, id="none in a group"),
        pytest.param("RescaleIntercept", "DS", b"1e12", IMPOSSIBLE, id="an intercept beside which pixels are nothing"),
        pytest.param(
            "RescaleSlope", "DS", b"  ", "without a value beside RescaleIntercept", id="empty beside an intercept"
        ),
        pytest.param("RescaleSlope", "DS", b"\xef\xbc\x92 ", UNREADABLE, id="digits of another script"),
        pytest.param("RescaleSlope", "FD", bytes(6), UNREADABLE, id="half a number"),
        pytest.param("RescaleSlope", "SQ", b"", "without a value beside RescaleIntercept", id="a sequence"),
        pytest.param("PixelValueTransformationSequence.RescaleSlope", "DS", b"x ", UNREADABLE, id="in a group"),
        pytest.param("RescaleIntercept", "DS", b"-1,024", UNREADABLE, id="minus a thousand or one"),
        pytest.param("PixelSpacing", "DS", b"0,5 ", MISCOUNTED, id="one spacing or two"),
        pytest.param("PixelSpacing", "DS", b"0.5 ", MISCOUNTED, id="one spacing"),
        pytest.param("PixelSpacing", "DS", b"0.5\\0.5\\3", MISCOUNTED, id="three spacings"),
        pytest.param("PixelSpacing", "DS", b"0\\0 ", IMPOSSIBLE, id="no spacing"),
        pytest.param("PixelSpacing", "DS", b"-0.5\\0.5 ", IMPOSSIBLE, id="negative spacing"),
        pytest.param("PixelSpacing", "DS", b"0.5\\\\", MISCOUNTED, id="a spacing left out"),
        pytest.param("ImageOrientationPatient", "DS", b"1\\0\\0\\0\\1 ", MISCOUNTED, id="five directions"),
        pytest.param("ImageOrientationPatient", "DS", b"1\\0\\0\\0\\x\\0", UNREADABLE, id="a letter in a direction"),
        pytest.param(
            "ImageOrientationPatient", "DS", b"1\\0\\0\\0\\nan\\0", UNREADABLE, id="a direction that is no number"
        ),
        pytest.param(
            "ImageOrientationPatient",
            "FD",
            struct.pack("<6d", 1, 0, 0, 0, *[np.nan] * 2),
            IMPOSSIBLE,
            id="the same, FD",
        ),
        pytest.param("ImagePositionPatient", "DS", b"0\\0 ", MISCOUNTED, id="two coordinates"),
        pytest.param("ImagePositionPatient", "DS", b"0\\0\\?", UNREADABLE, id="a question mark"),
        pytest.param("WindowCenter", "DS", b"x ", UNREADABLE, id="a window that is a letter"),
        pytest.param("WindowWidth", "DS", b"4;5 ", UNREADABLE, id="a window with a semicolon"),
        pytest.param("VOILUTFunction", "CS", b"CUBIC ", UNREADABLE, id="a curve that is unknown"),
        pytest.param("PixelPaddingValue", "LO", b"none", UNREADABLE, id="padding as a word"),
        pytest.param("PixelPaddingRangeLimit", "UL", bytes(6), UNREADABLE, id="half a padding"),
        pytest.param("Rows", "LO", b"two ", UNREADABLE, id="rows as a word"),
        pytest.param("Rows", "US", US(2) + US(3), MISCOUNTED, id="two numbers of rows"),
        pytest.param("BitsStored", "DS", b"12.5", IMPOSSIBLE, id="half a bit"),
        pytest.param("NumberOfFrames", "IS", b"many", UNREADABLE, id="many frames"),
        pytest.param("PhotometricInterpretation", "CS", b"GREY", UNREADABLE, id="grey"),
        pytest.param("PerFrameFunctionalGroupsSequence", "LO", b"x ", UNREADABLE, id="groups as a word"),
        pytest.param("SharedFunctionalGroupsSequence", "UN", b"rubbish ", UNREADABLE, id="groups of rubbish"),
        pytest.param("ModalityLUTSequence", "LO", b"x ", UNREADABLE, id="a table as a word"),
        pytest.param("VOILUTSequence", "UN", b"rubbish ", UNREADABLE, id="a table of rubbish"),
    ],
)
def test_a_value_that_is_there_and_cannot_be_taken_is_never_a_default(write_dicom, tmp_path, place, vr, value, why):
    attributes = {"RescaleIntercept": "5"} if place == "RescaleSlope" else {}
    _write(write_dicom, tmp_path / "a", place, vr, value, **attributes)
    record, _ = _read(tmp_path / "a")
    keyword = place.rpartition(".")[2]
    assert (record["outcome"], record["reason"]) == ("refused", f"{keyword} {why}")
    with (tmp_path / "a").open("rb") as file, pytest.raises(Refused, match=f"{keyword} {why}"):
        next(decode(read_dataset(file, limit=1 << 20), [0]))


TWICE = "stated twice"


@pytest.mark.parametrize(
    ("keyword", "vr", "values", "outcome"),
    [
        pytest.param("RescaleSlope", "DS", (b"2 ", b"3 "), "refused", id="slope"),
        pytest.param("RescaleSlope", "DS", (b"2 ", b"2"), "image", id="one value, written in two ways"),
        pytest.param("PixelPaddingValue", "US", (US(5), b""), "refused", id="padding, then none"),
        pytest.param("Rows", "US", (US(2), US(1)), "refused", id="rows"),
        pytest.param("PatientID", "LO", (b"P1", b"P2"), "refused", id="patient"),
        pytest.param("PatientID", "LO", (b"P2", b"P1", b"P2"), "refused", id="patient, thrice"),
        pytest.param("ImagePositionPatient", "DS", (b"0\\0\\1 ", b"0\\0\\2 "), "refused", id="position"),
        pytest.param(
            "SharedFunctionalGroupsSequence", "SQ", (b"", b"\xfe\xff\x00\xe0" + bytes(4)), "refused", id="groups"
        ),
        pytest.param("EchoTime", "DS", (b"2 ", b"3 "), "noted", id="what stops no image"),
        pytest.param("StudyDescription", "LO", (b"", b"b "), "noted", id="words"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("is_long", [False, True], ids=["", "a long header"])
def test_an_element_stated_twice_is_refused_or_noted(
    write_dicom, tmp_path, keyword, vr, values, outcome, syntax, is_long
):
    elements = b"".join(_element(keyword, vr, value, is_implicit=syntax.is_implicit_VR) for value in values)
    elements += _element("ICCProfile", "OB", bytes(1 << 17), is_implicit=syntax.is_implicit_VR) * is_long
    drop = [keyword] if keyword in write_dicom(tmp_path / "a", PIXELS) else []
    write_dicom(tmp_path / "a", PIXELS, syntax=syntax, drop=drop)
    _insert(tmp_path / "a", elements)
    record, _ = _read(tmp_path / "a")
    assert record["outcome"] == outcome.replace("noted", "image")
    assert record["reason"] == (f"{keyword} {TWICE}" if outcome == "refused" else "")
    assert (TWICE in record.get("notes", "")) is (outcome == "noted")


def test_a_command_set_before_the_header_hides_nothing_that_is_stated_twice(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PIXELS)
    _insert(tmp_path / "a", _element("PatientID", "LO", b"P2", is_implicit=False))
    content = (tmp_path / "a").read_bytes()
    begin = content.index(b"\x08\x00\x08\x00CS")  # ImageType, behind the file meta information
    command = bytes.fromhex("00000000 04000000 0a000000") + bytes.fromhex("00000001 02000000 0100")
    (tmp_path / "a").write_bytes(content[:begin] + command + content[begin:])
    assert _read(tmp_path / "a")[0]["reason"] == f"PatientID {TWICE}"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    "keywords",
    [
        ["RescaleIntercept", "RescaleSlope", "RescaleType"],
        ["RescaleSlope", "RescaleSlope"],
        ["RescaleIntercept", "RescaleSlope", "RescaleSlope", "RescaleType"],
        ["RescaleSlope", "RescaleIntercept", "RescaleSlope"],
    ],
    ids=["once", "alone", "among others", "parted"],
)
def test_an_element_stated_twice_in_a_functional_group_is_refused(write_dicom, tmp_path, keywords, syntax):
    values = zip(keywords, (b"1 ", b"2 ", b"3 ", b"4 "), strict=False)
    elements = [_element(one, "DS", value, is_implicit=syntax.is_implicit_VR) for one, value in values]
    content = b"".join(elements)
    for group in ("PixelValueTransformationSequence", "SharedFunctionalGroupsSequence"):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        items = item + item * (group == "PixelValueTransformationSequence")  # of which one counts
        content = _element(group, "SQ", items, is_implicit=syntax.is_implicit_VR)
    write_dicom(tmp_path / "a", PIXELS, syntax=syntax, SOPClassUID=EnhancedMRImageStorage)
    _insert(tmp_path / "a", content)
    record, _ = _read(tmp_path / "a")
    is_refused = len(set(keywords)) < len(keywords)
    assert record["reason"] == (f"RescaleSlope {TWICE}" if is_refused else "")


def _nested(places, *, is_implicit, is_open):
    """The bytes of elements: each is its tag, and a type with a value or a list of items."""
    content = b""
    for name, held in places:
        if isinstance(held, tuple):
            content += _element(name, held[0], held[1], is_implicit=is_implicit)
            continue
        items = b""
        for item in held:
            inner = _nested(item, is_implicit=is_implicit, is_open=is_open)
            head = b"\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFFFFFF if is_open else len(inner))
            items += head + inner + (b"\xfe\xff\x0d\xe0" + bytes(4)) * is_open
        if not is_open:
            content += _element(name, "SQ", items, is_implicit=is_implicit)
            continue
        tag = _element(name, "SQ", b"", is_implicit=is_implicit)[:-4]
        content += tag + b"\xff" * 4 + items + b"\xfe\xff\xdd\xe0" + bytes(4)
    return content


ONE, OTHER = (("ImagePositionPatient", ("DS", b"0\\0\\%d " % place)) for place in (1, 2))
TIGHT, WIDE = (("PixelSpacing", ("DS", b"%d\\1 " % mm)) for mm in (1, 2))
STACK = "StackID", ("SH", b"1 ")
WEIGHTED = [("DiffusionBValue", ("FD", struct.pack("<d", value))) for value in (0, 800)]
MAKER = 0x20050010, ("LO", b"Philips MR Imaging DD 001 ")
SCALED = [MAKER, *((0x2005100E, ("FL", struct.pack("<f", value))) for value in (2, 3))]
TABLED = [("LUTDescriptor", ("US", US(entries) + US(0) + US(16))) for entries in (4, 2)]
REFERRED = [("ReferencedSOPInstanceUID", ("UI", uid)) for uid in (b"1.2\0", b"1.3\0")]
FRAMES, LIES, MEASURES = "PerFrameFunctionalGroupsSequence", "PlanePositionSequence", "PixelMeasuresSequence"


@pytest.mark.parametrize(
    ("group", "items", "found", "is_refused"),
    [
        pytest.param(FRAMES, [(LIES, [[ONE]]), (LIES, [[OTHER]])], LIES, True, id="two positions"),
        pytest.param(FRAMES, [(LIES, [[ONE, OTHER]])], "ImagePositionPatient", True, id="in one item"),
        pytest.param(FRAMES, [(LIES, [[ONE, ONE]])], "", False, id="one position, twice"),
        pytest.param(
            FRAMES, [(LIES, [[ONE]]), ("FrameContentSequence", [[STACK, STACK]])], "", False, id="one stack, twice"
        ),
        pytest.param(
            FRAMES, [(LIES, [[ONE]]), (MEASURES, [[TIGHT, WIDE]])], "PixelSpacing", True, id="behind a sequence"
        ),
        pytest.param(FRAMES, [("MRDiffusionSequence", [WEIGHTED])], "DiffusionBValue", False, id="b-value"),
        pytest.param(FRAMES, [MAKER, (0x20051400, [SCALED])], "(2005,100E)", False, id="a maker's scale"),
        pytest.param("VOILUTSequence", [*TABLED, ("LUTData", ("OW", bytes(8)))], "LUTDescriptor", True, id="a table"),
        pytest.param("ReferencedImageSequence", REFERRED, "", False, id="what is of no account"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("is_open", [False, True], ids=["with length", "with an end"])
def test_an_element_stated_twice_is_found_however_deep_it_stands(
    write_dicom, tmp_path, group, items, found, is_refused, syntax, is_open
):
    icon = "IconImageSequence", [[("PixelData", ("OW", b"\xfe\xff\x00\xe0" + bytes(8)))]]  # pixels before the pixels
    content = _nested([icon, (group, [items])], is_implicit=syntax.is_implicit_VR, is_open=is_open)
    write_dicom(tmp_path / "a", PIXELS, syntax=syntax, NumberOfFrames=1)
    whole = (tmp_path / "a").read_bytes()
    end = whole.rindex(b"\xe0\x7f\x10\x00")
    (tmp_path / "a").write_bytes(whole[:end] + content + whole[end:])
    (record,) = look_at(tmp_path / "a", LOOK)
    assert record["reason"] == (f"{found} {TWICE}" if is_refused else "")
    noted = [note for note in record["notes"].split("|") if TWICE in note]
    assert noted == [f"{found} {TWICE}, with different values, the last one used"] * bool(found and not is_refused)


def test_a_length_beyond_the_end_of_the_file_is_not_walked_through(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PIXELS, NumberOfFrames=1)
    whole = (tmp_path / "a").read_bytes()
    end = whole.rindex(b"\xe0\x7f\x10\x00")
    group = b"\x00\x52\x29\x92SQ\0\0" + (2**32 - 16).to_bytes(4, "little") + b"\xfe\xff\x00\xe0" + bytes(4)
    (tmp_path / "a").write_bytes(whole[:end] + group + whole[end:])  # 2^29 steps of eight bytes
    (record,) = look_at(tmp_path / "a", LOOK)
    assert "time limit" not in record["reason"]
    assert record["reason"]


@pytest.mark.parametrize(
    ("directions", "orientation", "notes"),
    [
        ([1, 0, 0, 0, 0.71, 0.71], "axial", []),  # rounded to two digits
        ([1, 0, 0, 0.06, 1, 0], "axial", [f"ImageOrientationPatient{SKEW}"]),
        ([1, 0, 0, 0.6, 0.8, 0], "", [f"ImageOrientationPatient{SKEW}", INVALID]),
        ([2, 0, 0, 2, 0, 0], "", [f"ImageOrientationPatient {NOTED}", f"ImageOrientationPatient{SKEW}", INVALID]),
        ([0] * 6, "", [INVALID]),
    ],
)
def test_directions_of_no_plane_are_noted_and_never_taken_for_one(
    write_dicom, tmp_path, directions, orientation, notes
):
    write_dicom(tmp_path / "a", PIXELS, ImageOrientationPatient=directions)
    record, _ = _read(tmp_path / "a")
    assert (record["orientation"], record["notes"].split("|")) == (orientation, notes or [""])


def test_a_refused_geometry_leaves_the_facts_that_keep_rules_ask_for(write_dicom, tmp_path):
    _write(write_dicom, tmp_path / "a", "PixelSpacing", "DS", b"x ")
    record, _ = _read(tmp_path / "a")
    assert (record["modality"], record["component"]) == ("MR", "water")


@pytest.mark.parametrize(
    ("syntax", "vr", "value", "is_noted"),
    [
        (ExplicitVRLittleEndian, "SS", struct.pack("<h", -2000), False),
        (ExplicitVRLittleEndian, "US", US(63536), True),
        (ExplicitVRLittleEndian, "DS", b"-2000 ", True),
        (ImplicitVRLittleEndian, "SS", struct.pack("<h", -2000), False),  # has no VR to be wrong
        (ImplicitVRLittleEndian, "US", US(63536), False),
    ],
)
def test_padding_has_the_sign_of_the_pixels(write_dicom, tmp_path, syntax, vr, value, is_noted):
    pixels = np.array([[-2000, 5], [6, -2000]], np.int16)
    _write(write_dicom, tmp_path / "a", "PixelPaddingValue", vr, value, syntax=syntax, pixels=pixels)
    record, picture = _read(tmp_path / "a")
    np.testing.assert_array_equal(picture.inside, [[False, True], [True, False]])
    assert (NOTED in record["notes"]) is is_noted


def test_padding_of_unsigned_pixels_is_not_negative(write_dicom, tmp_path):
    pixels = np.array([[63536, 5], [6, 7]], np.uint16)
    _write(write_dicom, tmp_path / "a", "PixelPaddingValue", "SS", struct.pack("<h", -2000), pixels=pixels)
    np.testing.assert_array_equal(_read(tmp_path / "a")[1].inside, [[False, True], [True, True]])


def test_what_is_written_as_it_should_be_is_not_noted(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PIXELS, RescaleSlope="2.5", RescaleIntercept="-1", WindowCenter="40", WindowWidth="400")
    record, picture = _read(tmp_path / "a")
    assert record["notes"] == ""
    np.testing.assert_allclose(picture.values, RESCALED - 1)


def test_as_many_functional_groups_as_frames_are_wanted(write_dicom, tmp_path):
    write_dicom(
        tmp_path / "a",
        np.stack([PIXELS] * 3),
        SOPClassUID=EnhancedMRImageStorage,
        PerFrameFunctionalGroupsSequence=[Dataset(), Dataset()],
    )
    assert look_at(tmp_path / "a", LOOK)[0]["reason"] == (
        "PerFrameFunctionalGroupsSequence of another number of items than NumberOfFrames"
    )


@pytest.mark.parametrize(
    ("birth", "age", "expected", "note"),
    [
        ("19000101", "", None, "an implausible birth date"),
        ("99991231", "", None, "an implausible birth date"),
        ("20200101", "", None, "an implausible birth date"),
        ("20210101", "", None, "an implausible birth date"),
        ("18990505", "", None, "an implausible birth date"),
        ("19000101", "045Y", 45.0, "an implausible birth date"),
        ("19801399", "", None, "an invalid birth date"),
        ("", "000Y", None, "an implausible age"),
        ("", "120Y", None, "an implausible age"),
        ("", "-05Y", None, "an implausible age"),
        ("", "old", None, "an implausible age"),
        ("19800101", "099Y", 40.0, "birth date and age differ"),
        ("19800101", "039Y", 40.0, ""),
        ("", "003D", 0.0, ""),
        ("", "", None, ""),
    ],
)
def test_an_age_that_no_patient_has_is_left_empty_and_noted(write_dicom, tmp_path, birth, age, expected, note):
    write_dicom(tmp_path / "a", PatientBirthDate=birth, PatientAge=age)
    record, _ = _read(tmp_path / "a")
    assert (record["age"], record["notes"]) == (expected, note)
