"""New patients of whom a sequence lacks, lies elsewhere or stands there twice; no network is needed for it."""

from contextlib import contextmanager

import numpy as np
import pydicom
import pytest

from fistula.cohort.manifest import read_cohort
from fistula.errors import DataError
from fistula.learning.data.channels import image_rows
from fistula.predict.source import Limits, reader_of, reading
from fistula.source.workers import Workers
from tests.conftest import run_command
from tests.two_sequences import OPTIONS, stack, tree

BOTH = ("t1c", "t2")


@pytest.fixture(scope="module")
def record(key_of_all, tmp_path_factory):
    """How a cohort of four patients was read, of whom every one has both sequences."""
    folder = tmp_path_factory.mktemp("known")
    table = tree(folder)
    run_command("ingest", [f"source={folder / 'tree'}", f"labels={table}", *OPTIONS, f"out={folder / 'cohort'}"])
    return read_cohort(folder / "cohort").record


@contextmanager
def read(folder, record, sequences=BOTH):
    reader = reader_of(record, where="ingest.json", limits=Limits(), sequences=sequences)
    with reading(folder, reader, Workers(1)) as slices:
        yield slices


def two_patients(folder, **of_t2):
    """One who has both sequences as they should be, and one whose second is given."""
    for patient in (90, 91):
        stack(folder, "T1", patient=patient)
    stack(folder, "T2", patient=90)
    stack(folder, "T2", patient=91, **of_t2)
    return folder


def left_out(slices):
    return slices.left_out.select("reason", "remedy").unique().rows()


def rewritten(paths, **attributes):
    for path in paths:
        image = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(image, name, value)
        image.save_as(path)


def test_files_in_any_order_under_any_name_give_the_same_images(tmp_path, record):
    source = two_patients(tmp_path / "new")
    with read(source, record) as slices:
        images = slices.pixels[image_rows(slices.whole, 3, BOTH)[: len(slices.table)]]
    names = sorted(source.rglob("*.dcm"))
    for number, path in enumerate(np.random.default_rng(0).permutation(names)):
        path.rename(path.with_name(f"{number:03d}"))
    rewritten(source.rglob("[0-9]*"), InstanceNumber=1)
    with read(source, record) as slices:
        again = slices.pixels[image_rows(slices.whole, 3, BOTH)[: len(slices.table)]]
    np.testing.assert_array_equal(images, again)
    assert not images[:, 2].any()


def test_one_of_another_study_of_the_same_patient_is_no_partner(tmp_path, record):
    source = two_patients(tmp_path / "new")
    rewritten((source / "P91").glob("T2*"), StudyInstanceUID="2.25.4711")
    with read(source, record) as slices:
        assert len(slices.table) == 5
        assert left_out(slices) == [("of a patient who lacks t2", "Give the whole study")]


def test_one_in_another_frame_of_reference_is_left_out_unless_the_cohort_joined_such(tmp_path, record):
    source = two_patients(tmp_path / "new", frame="2.25.78")
    with read(source, record) as slices:
        assert len(slices.table) == 5
        ((reason, _),) = left_out(slices)
        assert "must have the frame of reference of the first sequence" in reason
    with read(source, record | {"other_frame": "join"}) as slices:
        assert len(slices.table) == 10


def test_of_two_that_fit_neither_is_chosen(tmp_path, record):
    source = two_patients(tmp_path / "new")
    stack(source, "T2 again", patient=91)
    with read(source, record) as slices:
        assert len(slices.table) == 5
        ((reason, _),) = left_out(slices)
        assert reason == "a study must have one volume of t2 that overlaps those of the first sequence"


def test_one_that_reaches_half_of_the_slices_is_there_on_those(tmp_path, record):
    source = two_patients(tmp_path / "new", slices=2)  # at 0 and 4 mm, of 0 to 16
    with read(source, record) as slices:
        rows = image_rows(slices.whole, 3, BOTH)[: len(slices.table)]
        assert len(rows) == 10
        of = [slices.pixels[rows[start : start + 5, 2]][:, 0, 0].tolist() for start in (0, 5)]
        assert sorted(of) == [[0] * 5, [0, 0, 255, 255, 255]]


def test_nobody_who_can_be_scored_is_one_line(tmp_path, record):
    stack(tmp_path / "new", "T1", patient=90)
    rule = r"must hold each sequence that the run was trained on, found 5 slices: of a patient who lacks t2\. .*mask"
    with pytest.raises(DataError, match=rule), read(tmp_path / "new", record):
        pass


def test_runs_that_know_of_such_patients_take_them_even_if_nobody_has_the_sequence(tmp_path, record):
    stack(tmp_path / "new", "T1", patient=90)
    with read(tmp_path / "new", record | {"missing": "mask"}) as slices:
        assert slices.notes == ["an invalid birth date: 5", "t2 is missing in 1 patient: blank, as in training"]
        images = slices.pixels[image_rows(slices.whole, 3, BOTH)]
        assert images[:, 0].any()
        assert not images[:, 1].any()
        assert (images[:, 2] == 255).all()


@pytest.mark.parametrize("sequences", [(), ("t1c",)])
def test_runs_that_see_the_first_alone_ask_for_no_other(tmp_path, record, sequences):
    stack(tmp_path / "new", "T1", patient=90)
    stack(tmp_path / "new", "T2", patient=90, frame="2.25.78")
    with read(tmp_path / "new", record, sequences) as slices:
        assert len(slices.table) == len(slices.pixels) == 5
        assert image_rows(slices.whole, 1, sequences).tolist() == [[row] for row in range(5)]
        assert left_out(slices) == [("of sequence t2, resampled onto t1c", "")]
