"""What may name an image in a table: from the SOP Instance UID to a range of a series and an accession number."""

import json

import pydicom
import pytest

SMALL = ("size=16", "spacing_mm=1.0", "workers.count=1", "keep=all")


@pytest.fixture
def tree(tmp_path, write_dicom):
    """Two patients with a study of two series of three slices each."""
    for patient in range(2):
        for series in range(2):
            for place in range(3):
                write_dicom(
                    tmp_path / "in" / f"{patient}{series}{place}.dcm",
                    SOPInstanceUID=f"2.25.7{patient}{series}{place}",
                    SeriesInstanceUID=f"2.25.8{patient}{series}",
                    StudyInstanceUID=f"2.25.9{patient}",
                    AccessionNumber=f"A{patient}",
                    PatientID=f"P{patient}",
                    PatientBirthDate=f"19{50 + patient}0101",
                    SeriesDescription=f"series {series}",
                    ImagePositionPatient=[0, 0, 3 * place],
                    InstanceNumber=place + 1,
                )
    return tmp_path


@pytest.fixture
def by_class(tree, fistula_here):
    def ingest(text, *options):
        (tree / "labels.csv").write_text(text)
        code, _, error = fistula_here("ingest", "source=in", "labels=labels.csv", "out=out", *SMALL, *options)
        if code:
            assert code == 2
            return error
        return json.loads((tree / "out" / "ingest.json").read_text())["by_class"]

    return ingest


@pytest.mark.parametrize(
    ("table", "options", "negative", "positive"),
    [
        ("series_instance_uid,label\n2.25.800,1\n2.25.810,0\n", ["labels.level=series"], 3, 3),
        ("study_instance_uid,label\n2.25.90,1\n2.25.91,0\n", ["labels.level=study"], 6, 6),
        ("accession_number,label\nA0,1\nA1,0\n", ["labels.level=study"], 6, 6),
        ("Accession Number,label\nA0,1\nA1,0\n", ["labels.level=study"], 6, 6),
        ("patient_id,label\nP0,1\nP1,0\n", ["labels.level=patient"], 6, 6),
        ("patient_id,series_instance_uid,label\nP0,2.25.800,1\nP1,2.25.810,0\n", ["labels.level=series"], 3, 3),
        ("series_instance_uid,first,last,label\n2.25.800,2,3,1\n2.25.800,1,,0\n", [], 1, 2),
        ("series_instance_uid,first,last,label\n2.25.800,1,1,1\n2.25.810,1,99,0\n", ["unmatched=exclude"], 3, 1),
    ],
    ids=[
        "series",
        "study",
        "accession",
        "accession, spelt out",
        "patient",
        "series and patient",
        "range",
        "open range",
    ],
)
def test_each_way_to_name_images_labels_those_alone(by_class, table, options, negative, positive):
    assert by_class(table, *options) == {"0": negative, "1": positive}


def test_an_accession_number_with_image_numbers_of_one_series_is_taken(by_class):
    table = "accession_number,instance_number,label\nA0,1,1\nA1,1,0\n"
    assert "every line must be for one image, found 2 lines for 4 images: line 2 (2 images), line 3" in by_class(table)


def test_a_range_that_several_series_have_is_refused_with_its_lines(by_class):
    error = by_class("patient_id,first,last,label\nP0,1,2,1\nP1,3,3,0\n")
    assert "every line must be for one image" in error
    assert "line 2 (2 images)" in error
    assert "series_instance_uid" in error


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        ("study_instance_uid,label\n2.25.90,1\n", [], "names studies, not images. Set labels.level=study"),
        ("series_instance_uid,label\n2.25.800,1\n", [], "names series, not images. Set labels.level=series"),
        ("series_instance_uid,label\n2.25.800,1\n", ["labels.level=patient"], "names series, not patients"),
        ("sop_instance_uid,label\n2.25.7000,1\n", ["labels.level=study"], "studies only by study_instance_uid or"),
        ("series_instance_uid,first,last,label\n2.25.800,1,2,1\n2.25.800,2,3,0\n", [], "Remove one of lines 2 and 3"),
        ("series_instance_uid,first,last,label\n2.25.800,3,2,1\n", [], "first and last must be a range"),
        ("series_instance_uid,first,last,label\n2.25.800,0,999999,1\n", [], "first and last must be a range"),
        ("series_instance_uid,first,label\n2.25.800,3,1\n", [], "have both of first and last"),
        ("series_instance_uid,first,last,label\n2.25.800,7,9,1\n2.25.800,1,,0\n", [], "1 without one: line 2 ("),
        ("series_instance_uid,first,last,label\n2.25.800,1,3,1\n2.25.810,1,9,0\n", [], "line 3 (2.25.810 9)"),
        ("series_instance_uid,first,last,label\n2.25.800,0,3,1\n2.25.810,1,3,0\n", [], "line 2 (2.25.800 0)"),
        ("accession_number,label\nA0,1\nA9,0\n", ["labels.level=study"], "label must belong to an image in the source"),
        ("site,label\nx,1\n", [], "must name the images by one of: sop_instance_uid, path"),
    ],
)  # fmt: skip
def test_what_names_no_image_or_two_labels_is_refused_in_one_line(by_class, table, options, words):
    assert words in by_class(table, *options)


@pytest.mark.parametrize(
    ("keyword", "column", "level"),
    [
        ("AccessionNumber", "accession_number", "study"),
        ("StudyInstanceUID", "study_instance_uid", "study"),
        ("SeriesInstanceUID", "series_instance_uid", "series"),
    ],
)
def test_a_line_for_the_study_or_series_of_two_patients_is_refused(by_class, tree, keyword, column, level):
    for path in sorted((tree / "in").iterdir()):
        image = pydicom.dcmread(path)
        setattr(image, keyword, f"7.{image.PatientID == 'P0' and image.InstanceNumber == 1:d}")
        image.save_as(path)
    error = by_class(f"{column},label\n7.1,1\n7.0,0\n", f"labels.level={level}")
    assert f"every line must be for a {level} of one patient, found line 3 (2 patients). Use identifiers" in error
