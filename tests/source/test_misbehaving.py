"""Makers' habits and wrong types of elements: the pixels are those of the clean archive, or the object is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from misbehaving import VENDORS, anatomy, cohort, one_id, stack, vendors, write, write_labels, written_as
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage

from fistula.cohort.manifest import read_cohort


@pytest.fixture
def ingested(fistula_here, write_dicom, tmp_path):
    """Ingest images; the cohort with what its record notes, or the line that refused it."""

    def call(name, images, intensity="percentile"):
        folder = write(tmp_path / name, images, write_dicom)
        lines = dict.fromkeys(f"{one.uid},{one.patient % 2}" for one in images)  # copies have one
        labels = write_labels(tmp_path / f"{name}.csv", list(lines))
        out = tmp_path / f"{name} cohort"
        code, _, error = fistula_here(
            "ingest", f"source={folder}", f"labels={labels}", f"out='{out}'", "size=32", "spacing_mm=1.0",
            f"intensity={intensity}", "workers.count=1", "keep=all",
        )  # fmt: skip
        return (read_cohort(out), json.loads((out / "ingest.json").read_text())["noted"]) if code == 0 else error

    return call


def hashes(read):
    return dict(zip(read.manifest["slice_key"], read.manifest["pixel_hash"], strict=True))


def test_private_elements_count_under_their_maker_alone_and_move_no_pixel(ingested):
    images = cohort(5, slices=3)
    plain, _ = ingested("plain", images)
    read, _ = ingested("vendors", vendors(images))
    assert hashes(read) == hashes(plain)
    assert set(read.manifest["manufacturer"]) == {"philips", "siemens", "ge", "toshiba", "uih"}
    # Nothing of another maker at the same place parts a volume or changes the scale, not even of true signals.
    assert read.manifest["volume"].unique().to_list() == [0]
    assert hashes(ingested("signals", vendors(images), "min_max")[0]) == hashes(ingested("clean", images, "min_max")[0])


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "noted"),
    [
        ("RescaleSlope", "LO", "2.5", True),
        ("RescaleSlope", "UN", b"2.5 ", False),  # bytes of which the dictionary says what they are
        ("RescaleSlope", "FD", 2.5, True),
        ("RescaleIntercept", "SL", -10, True),
        ("PixelSpacing", "LO", ["1", "1"], True),
        ("PixelPaddingValue", "SS", 0, False),
        ("PhotometricInterpretation", "LO", "MONOCHROME2", True),
        ("Rows", "UL", 32, True),
    ],
)
def test_a_value_in_another_type_is_read_as_it_is_meant_and_noted(ingested, keyword, vr, value, noted):
    images = cohort(2, slices=2, RescaleSlope="2.5", RescaleIntercept="-10", PixelPaddingValue=0)
    plain, _ = ingested("plain", images, "window")
    read, notes = ingested("wrong", written_as(images, keyword, vr, value), "window")
    assert hashes(read) == hashes(plain)
    assert (notes.get(f"{keyword} written incorrectly, read as meant") == len(images)) is noted


@pytest.mark.parametrize(("vr", "value", "noted"), [("FL", 0.5, 0), ("LO", "0,5", 4), ("DS", "0.5", 4)])
def test_a_scale_slope_in_another_type_is_read_as_it_is_meant_and_noted(ingested, vr, value, noted):
    philips = written_as([replace(one, elements=VENDORS[0][2]) for one in cohort(2, slices=2)], 0x2005100E, "FL", 0.5)
    plain, _ = ingested("plain", philips)
    read, notes = ingested("wrong", written_as(philips, 0x2005100E, vr, value))
    assert hashes(read) == hashes(plain)
    assert notes.get("Philips' scale slope written incorrectly, read as meant", 0) == noted


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-45, 3e38])
def test_a_scale_slope_that_is_none_is_not_applied_and_noted(ingested, value):
    philips = written_as([replace(one, elements=VENDORS[0][2]) for one in cohort(2, slices=2)], 0x2005100E, "FL", 1.0)
    plain, _ = ingested("plain", philips, "min_max")
    read, notes = ingested("wrong", written_as(philips, 0x2005100E, "FL", value), "min_max")
    assert hashes(read) == hashes(plain)
    assert notes["Philips' scale slope that is no scale, not applied"] == 4


def test_a_private_element_that_nobody_can_read_is_named(ingested):
    siemens = [replace(one, elements=VENDORS[1][2]) for one in cohort(2, slices=2)]
    error = ingested("wrong", written_as(siemens, 0x0019100C, "LO", "many"))
    assert "(0019,xx0c) of SIEMENS MR HEADER that cannot be read" in error


@pytest.mark.parametrize("at", ["in the object", "in a converted frame"])
def test_a_scale_slope_that_nobody_can_read_stops_those_alone_that_are_wanted(fistula_here, write_dicom, tmp_path, at):
    for number, one in enumerate([*cohort(2, slices=2), *cohort(2, slices=2)]):
        is_wanted = number < 4
        path = tmp_path / "in" / f"{number}.dcm"
        said = {"SOPInstanceUID": f"{one.uid}{number}", "SeriesInstanceUID": f"2.25.{number // 2 + 1}"}
        if not is_wanted:
            said["ImageType"] = ["ORIGINAL", "PRIMARY", "M", "SE"]
        image = write_dicom(path, anatomy(one.patient, one.place), **one.attributes | said)
        place = image
        if at == "in a converted frame":
            place = Dataset()
            image.SharedFunctionalGroupsSequence = [Dataset()]
            image.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = [place]
        block = place.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL" if is_wanted else "LO", 0.5 if is_wanted else "many")
        image.save_as(path)
    write_labels(tmp_path / "labels.csv", ["P00,0", "P01,1"], header="patient_id,label")
    arguments = ("source=in", "labels=labels.csv", "labels.level=patient", "size=16", "workers.count=1")
    code, _, error = fistula_here("ingest", *arguments, "out=water")
    assert code == 0, error
    assert json.loads((tmp_path / "water" / "ingest.json").read_text())["slices"] == 4
    code, _, error = fistula_here("ingest", *arguments, "out=all", "keep=all")
    assert code == 2
    assert "found 4: 4.dcm ((2005,xx0e) of Philips MR Imaging DD 001 that cannot be read)" in error


@pytest.mark.parametrize(("keyword", "vr", "value"), [("RescaleSlope", "LO", "two"), ("Rows", "LO", "many")])
def test_a_value_that_nobody_can_read_is_refused_with_the_element(ingested, keyword, vr, value):
    error = ingested(
        "wrong", written_as(cohort(2, slices=2, RescaleSlope="2.5", RescaleIntercept="0"), keyword, vr, value)
    )
    assert f"{keyword} that cannot be read" in error


NAMES = "Weiss^Anna", "Roth^Bruno", "Kern^Clara", "Lang^David", "Berg^Emil"
BORN = "19640715"  # plausible, and everybody's
PEOPLE = {
    "a name each": (lambda number, _: {"PatientName": NAMES[number]}, "names that have no word in common"),
    "an age each": (
        lambda number, _: {"PatientAge": f"{30 + 5 * number:03d}Y"}, "stated ages that no single date of birth",
    ),
    "at one time on two scanners": (
        lambda number, place: {
            "StationName": f"MR{number}", "AcquisitionTime": f"10{5 * place:02d}00",
            "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        },
        "studies on two scanners at the same time",
    ),
    "a sex each": (lambda number, _: {"PatientSize": "1.70", "PatientSex": "FM"[number % 2]}, "several sexes"),
}  # fmt: skip


@pytest.mark.parametrize(("says", "why"), PEOPLE.values(), ids=PEOPLE)
def test_people_under_a_project_made_id_and_one_birth_date_are_told_apart_by_what_else_is_said(ingested, says, why):
    images = [
        replace(one, attributes=one.attributes | says(one.patient, one.place))
        for one in one_id(cohort(5, slices=4), "FISTULA", PatientBirthDate=BORN)
    ]
    error = ingested("shared", images)
    assert f"source: a PatientID must be one person's, found 1 with {why}" in error
    assert "patient=folder:1" in error


def test_an_image_without_id_is_of_the_patient_and_volume_of_its_study(ingested):
    images = cohort(2, slices=4, PatientAge="050Y", PatientSize="1.70")
    lost = [replace(one, attributes=one.attributes | {"PatientID": ""}) if one.place == 1 else one for one in images]
    (plain, _), (read, noted) = ingested("plain", images), ingested("lost", lost)
    assert hashes(read) == hashes(plain)
    assert read.manifest["patient_key"].n_unique() == 2
    assert "series divided into volumes by patient or study" not in noted
    assert noted["no PatientID"] == 2


def test_what_may_yet_be_one_person_under_a_project_made_id_is_counted(ingested):
    images = [
        replace(one, attributes=one.attributes | {"PatientSize": f"1.{55 + 6 * one.patient}"})
        for one in one_id(cohort(5, slices=2), "FISTULA", PatientBirthDate=BORN)
    ]
    _, notes = ingested("one", images + cohort(6, slices=2)[-2:])
    assert {name: count for name, count in notes.items() if "several people" in name} == {
        "PatientIDs with heights that differ by more than 10 cm, perhaps of several people (see patient=)": 1,
        "PatientIDs with more than half of all studies, perhaps of several people (see patient=)": 1,
    }


def changed(images, at, **attributes):
    """The images with one that says otherwise."""
    return [replace(one, attributes=one.attributes | attributes) if one is images[at] else one for one in images]


@pytest.mark.parametrize(
    "corrected",
    [
        {"ImagePositionPatient": [0, 0, 77]},
        {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
        {"InstanceNumber": 9},
        {"PixelSpacing": [2, 2]},
        {"SeriesInstanceUID": "2.25.1234"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_copies_of_an_image_that_an_archive_has_corrected_are_refused_whatever_the_key(ingested, corrected):
    images = cohort(2, slices=3)
    assert ingested("twice", [*images, images[1]])[1]["copies of another file"] == 1
    error = ingested("corrected", [*images, changed(images, 1, **corrected)[1]])
    assert "copies of an image must have one position, orientation, spacing, series and InstanceNumber" in error
    assert "found 2 files under 1: 00/0001.dcm, 00/0006.dcm" in error


def test_one_name_in_two_spellings_and_character_sets_is_one_persons(ingested):
    names = [
        ("ISO_IR 100", b"M\xfcller^J\xf6rg"), ("ISO_IR 192", "Mu\u0308ller^Jo\u0308rg".encode()),
        ("ISO_IR 192", "MÜLLER^JÖRG".encode()), ("", b"Mueller^Joerg"), ("", b"Muller^Jorg"),
    ]  # fmt: skip
    images = [
        replace(one, elements=(("SpecificCharacterSet", "CS", charset), ("PatientName", "UN", name)))
        for one, (charset, name) in zip(cohort(1, slices=5), names, strict=True)
    ]
    others = [replace(one, patient=1) for one in cohort(2, slices=5)[5:]]
    assert not isinstance(ingested("one", [*images, *others]), str)
    other = replace(images[0], elements=(("PatientName", "PN", "Huber^Max"),))
    assert "names that have no word in common" in ingested("two", [other, *images[1:], *others])


def test_a_slice_without_the_slope_of_its_series_is_refused_and_one_slope_for_nobody_is_not(ingested):
    images = cohort(2, slices=3)
    assert not isinstance(ingested("none", images), str)
    ones = [replace(one, attributes=one.attributes | {"RescaleSlope": "1", "RescaleIntercept": "0"}) for one in images]
    assert not isinstance(ingested("one", [*ones[:-1], images[-1]]), str)
    scaled = [
        replace(one, attributes=one.attributes | {"RescaleSlope": "4", "RescaleIntercept": "-9"}) for one in images
    ]
    error = ingested("four", [*scaled[:-1], images[-1]])
    assert "images of a series must all state a rescale slope and intercept, or none, found 1: 01/0005.dcm" in error
    assert "unreadable=exclude" in error
    shifted = [replace(one, attributes=one.attributes | {"RescaleIntercept": "-9"}) for one in images]
    assert "a rescale slope and intercept, or none, found 1: 01/0005" in ingested("shift", [*shifted[:-1], images[-1]])
    half = replace(images[-1], attributes=images[-1].attributes | {"RescaleSlope": "4"})
    assert "a rescale slope and intercept, or none, found 1: 01/0005" in ingested("half", [*scaled[:-1], half])
    unsized = replace(images[-1], attributes=images[-1].attributes | {"PixelSpacing": None})
    assert "must all state a pixel spacing, or none, found 1: 01/0005" in ingested("unsized", [*images[:-1], unsized])
    sonograms = [
        replace(one, attributes=one.attributes | {"Modality": "US", "ImageOrientationPatient": None})
        for one in (*images[:-1], unsized)
    ]
    assert not isinstance(ingested("ultrasound", sonograms), str)  # of which some are calibrated
    philips = [replace(one, elements=VENDORS[0][2]) for one in images]
    error = ingested("philips", [*philips[:-1], images[-1]])
    assert "must all state a scale slope of Philips, or none, found 1: 01/0005" in error


@pytest.mark.parametrize("last", [(), ((0xFFFCFFFC, "OB", b"00"),)], ids=["plain", "after a second look"])
def test_values_beyond_the_bits_stored_are_refused_unless_padding_or_an_overlay_lies_there(ingested, last):
    images = cohort(2, slices=3)
    highest = max(int(anatomy(one.patient, one.place).max()) for one in images)
    enough = highest.bit_length()

    def of(bits, *more):
        said = (("BitsStored", "US", bits), ("HighBit", "US", bits - 1), *last, *more)
        return [replace(one, elements=said) for one in images]

    plain, _ = ingested("plain", images)
    assert hashes(ingested("enough", of(enough))[0]) == hashes(plain)
    error = ingested("few", of(enough - 1))
    assert f"stored values of more than its {enough - 1} bits (BitsStored)" in error
    assert "Correct BitsStored and HighBit" in error
    overlay = (0x60000102, "US", enough - 1), (0x60000100, "US", 16)
    assert not isinstance(ingested("overlay", of(enough - 1, *overlay)), str)


@pytest.mark.parametrize("word", ["ANONYMOUS", "0", "STUDY-X"])
def test_a_table_that_repeats_the_shared_id_says_nothing_and_one_that_names_the_person_does(
    fistula_here, write_dicom, tmp_path, word
):
    images = one_id(cohort(5, slices=2), word)
    folder = write(tmp_path / "archive", images, write_dicom)

    def call(name, patient):
        lines = [f"{one.uid},{one.patient % 2},{patient}" for one in images]
        labels = write_labels(tmp_path / f"{name}.csv", lines, header="sop_instance_uid,label,patient_id")
        return fistula_here(
            "ingest", f"source={folder}", f"labels={labels}", f"out={tmp_path / name}", "size=32", "spacing_mm=1.0",
            "workers.count=1", "keep=all",
        )  # fmt: skip

    code, _, error = call("repeated", word)
    assert code == 2
    assert "a PatientID must be one person's, found 1 with several studies" in error
    assert call("named", "Weiss")[0] == 0


def test_what_says_otherwise_of_the_values_and_is_not_applied_is_counted(ingested):
    images = cohort(2, slices=3, RescaleSlope="2", RescaleIntercept="0")
    plain, _ = ingested("plain", images)

    def mapping(slope):
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
        return "RealWorldValueMappingSequence", "SQ", Sequence([item])

    table = Dataset()
    table.LUTDescriptor, table.LUTData = [2, 0, 8], b"\0\xff"
    kinds = {  # the last of the three says what the header says anyway
        "a real-world value mapping other than the rescale, not applied": (mapping(5.0), mapping(2.0)),
        "PresentationLUTShape contradicts PhotometricInterpretation, which is used": (
            ("PresentationLUTShape", "CS", "INVERSE"),
            ("PresentationLUTShape", "CS", "IDENTITY"),
        ),
        "a VOI table, which intensity=voi alone applies": (("VOILUTSequence", "SQ", Sequence([table])), None),
    }
    for name, (said, agreeing) in kinds.items():
        first = [replace(images[0], elements=(said,))]
        second = [replace(images[1], elements=(agreeing,))] if agreeing else [images[1]]
        read, noted = ingested(name[:9], first + second + images[2:])
        assert hashes(read) == hashes(plain)
        assert noted == {name: 1}


def test_slices_of_eight_bits_and_of_more_share_no_scale_unless_a_slope_makes_them_alike(
    fistula_here, write_dicom, tmp_path
):
    def volumes(name, **said):
        for place, image in enumerate(stack(1, slices=6)):
            is_small = place % 2 == 1
            pixels = anatomy(1, place) // 16 if is_small else anatomy(1, place)
            bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7} if is_small else {}
            path = tmp_path / name / f"{place}.dcm"
            dataset = write_dicom(path, pixels, SOPInstanceUID=image.uid, **image.attributes | said)
            for keyword, value in bits.items():
                setattr(dataset, keyword, value)
            dataset.PixelData = pixels.astype(np.uint8 if is_small else np.uint16).tobytes()
            dataset.save_as(path)
        labels = write_labels(tmp_path / f"{name}.csv", ["P01,0", "P02,1"], header="patient_id,label")
        write(tmp_path / name / "other", list(stack(2, slices=2)), write_dicom)
        out = tmp_path / f"{name} cohort"
        code, _, error = fistula_here(
            "ingest", f"source={tmp_path / name}", f"labels={labels}", f"out='{out}'", "size=32", "spacing_mm=1.0",
            "workers.count=1", "keep=all", "labels.level=patient",
        )  # fmt: skip
        assert code == 0, error
        return read_cohort(out).manifest, json.loads((out / "ingest.json").read_text())["noted"]

    manifest, noted = volumes("plain")
    assert noted["series divided into volumes by number of bits"] == 6
    assert sorted(manifest["volume"]) == [0] * 5 + [1] * 3
    _, noted = volumes("scaled", RescaleSlope="2", RescaleIntercept="-1000")
    assert "series divided into volumes by number of bits" not in noted


@pytest.mark.parametrize(
    ("there", "total", "missing"),
    [((1, 2, 3), 3, 0), ((1, 3), 3, 1), ((1, 2), 3, 1), ((2,), 3, 2), ((1, 3), None, 1), ((1, 2), None, 0)],
)
def test_a_part_of_a_concatenation_that_is_missing_is_said(fistula_here, write_dicom, tmp_path, there, total, missing):
    for patient in range(2):
        for part in there:
            frames = [Dataset() for _ in range(2)]
            for place, frame in enumerate(frames):
                frame.PlanePositionSequence = Sequence([Dataset()])
                frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * (2 * part + place)]
            said = {"InConcatenationTotalNumber": total} if total else {}
            pixels = np.stack([anatomy(patient, place) for place in range(2)])
            write_dicom(
                tmp_path / "archive" / f"{patient}{part}.dcm", pixels,
                SOPClassUID=EnhancedMRImageStorage, SOPInstanceUID=f"2.25.1{patient}{part}", PatientID=f"P{patient}",
                PatientBirthDate=f"19600{patient + 1}01", StudyInstanceUID=f"2.25.2{patient}", InstanceNumber=part,
                SeriesInstanceUID=f"2.25.3{patient}", ConcatenationUID=f"2.25.4{patient}", InConcatenationNumber=part,
                PerFrameFunctionalGroupsSequence=frames, drop=("ImagePositionPatient",), **said,
            )  # fmt: skip
    write_labels(tmp_path / "labels.csv", ["P0,0", "P1,1"], header="patient_id,label")
    words = f"parts of concatenations that are missing: {2 * missing}"
    _, shown, _ = fistula_here("doctor", "source=archive", "keep=all", "workers.count=1")
    assert (f"suspicious: {words}" in shown) is bool(missing)
    arguments = ("source=archive", "labels=labels.csv", "labels.level=patient", "keep=all", "out=out", "size=16")
    code, _, error = fistula_here("ingest", *arguments, "workers.count=1")
    assert code == 0, error
    noted = json.loads((tmp_path / "out" / "ingest.json").read_text())["noted"]
    assert noted.get("parts of concatenations that are missing", 0) == 2 * missing
    assert read_cohort(tmp_path / "out").manifest["volume"].unique().to_list() == [0]


@pytest.mark.parametrize(
    "command",
    [
        ["ingest", "labels=labels.csv", "keep=all", "out=OUT"],
        ["predict", "run=run", "out=OUT"],
        ["label", "classes=[no,yes]", "keep=all", "out=OUT"],
        ["label", "classes=[no,yes]", "keep=all", "serve=true", "out=OUT"],
        ["who", "key=0123456789ab", "out=OUT"],
        ["doctor", "json=OUT"],
    ],
    ids=" ".join,
)
def test_what_is_written_must_not_lie_in_the_source(command, fistula_here, write_dicom, tmp_path):
    folder = write(tmp_path / "archive", cohort(2, slices=2), write_dicom)
    write_labels(tmp_path / "labels.csv", ["P00,0", "P01,1"], header="patient_id,label")
    before, out = sorted(folder.rglob("*")), folder / "deep"
    code, _, error = fistula_here(*(word.replace("OUT", str(out)) for word in command), f"source={folder}")
    assert code == 2
    assert f"={out}: must not lie in source={folder}" in error
    assert "Name a folder outside of it" in error
    assert sorted(folder.rglob("*")) == before
