"""Compressed frames through the commands: none takes the place of another, and what is refused is counted."""

import struct

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from fistula.cohort.manifest import read_cohort

from ..conftest import item_of

FRAMES = 4


@pytest.fixture
def two_objects(write_dicom, tmp_path):
    """Two patients, each with all slices in one object of RLE; a table of offsets gives the second's in this order."""

    def make(order):
        for patient in range(2):
            path = tmp_path / "in" / f"p{patient}.dcm"
            image = write_dicom(
                path,
                np.random.default_rng(patient).integers(1, 900, (FRAMES, 32, 32), dtype=np.uint16),
                SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
                PatientID=f"P{patient}", SOPInstanceUID=f"2.25.5{patient}", SeriesInstanceUID=f"2.25.6{patient}",
                StudyInstanceUID=f"2.25.4{patient}", FrameOfReferenceUID=f"2.25.3{patient}",
                PerFrameFunctionalGroupsSequence=[
                    item_of(PlanePositionSequence=[item_of(ImagePositionPatient=[0, 0, 4.0 * at])])
                    for at in range(FRAMES)
                ],
                SharedFunctionalGroupsSequence=[item_of(
                    PlaneOrientationSequence=[item_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                    PixelMeasuresSequence=[item_of(PixelSpacing=[1.0, 1.0], SliceThickness=4)],
                )],
                drop=("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
            )  # fmt: skip
            image.compress(RLELossless, generate_instance_uid=False)
            content = encapsulate(list(generate_frames(image.PixelData, number_of_frames=FRAMES)), has_bot=True)
            offsets = struct.unpack(f"<{FRAMES}I", content[8 : 8 + 4 * FRAMES])
            told = [offsets[at] for at in (order if patient else range(FRAMES))]
            image.PixelData = content[:8] + struct.pack(f"<{FRAMES}I", *told) + content[8 + 4 * FRAMES :]
            image.save_as(path)
        (tmp_path / "labels.csv").write_text("patient_id,label\nP0,0\nP1,1\n")

    return make


@pytest.fixture
def ingest(fistula_here):
    options = "source=in", "labels=labels.csv", "labels.level=patient", "out=cohort", "size=32", "workers.count=1"
    return lambda: fistula_here("ingest", *options)


def test_frames_whose_table_is_right_are_a_cohort(two_objects, ingest, tmp_path):
    two_objects(range(FRAMES))
    code, _, error = ingest()
    assert code == 0, error
    manifest = read_cohort(tmp_path / "cohort").manifest
    assert manifest.sort("label", "frame").select("label", "frame").rows() == [
        (label, frame) for label in (0, 1) for frame in range(FRAMES)
    ]


def test_frames_that_a_table_has_change_places_stop_ingest_in_a_line(two_objects, ingest, tmp_path):
    two_objects((0, 2, 1, 3))
    code, _, error = ingest()
    assert code == 2
    assert "found 4: p1.dcm (compressed frames whose table of offsets is not in their order)" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "cohort").exists()
