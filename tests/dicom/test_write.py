import shutil
import subprocess

import numpy as np
import pydicom
import pytest

from fistula.dicom.out.write import Series, make_uid, write_mr_slice

SERIES = Series(
    patient_id="SYN0-0007",
    sex="F",
    age=41,
    study_day=100,
    manufacturer="Philips",
    model="Ingenia",
    tesla=3.0,
    pixel_mm=0.9765625,
    thickness_mm=2.0,
    spacing_mm=1.0,
    slope=1.7321,
    scale_slope=0.0074693,
    tilt_degrees=0.0,
    contrast_agent="",
)
STORED = np.arange(32 * 24, dtype=np.uint16).reshape(32, 24) * 5


@pytest.fixture
def written(tmp_path):
    """Write a slice; gives its path."""

    def write(name="a.dcm", stored=STORED, **changes):
        changes = {"origin": (-12.5, -40.25, -70.0), "instance_number": 3, "window": (594, 1033), "seed": 0} | changes
        write_mr_slice(tmp_path / name, stored, SERIES, **changes)
        return tmp_path / name

    return write


def test_pixels_and_geometry_come_back(written):
    image = pydicom.dcmread(written())
    np.testing.assert_array_equal(image.pixel_array, STORED)
    assert image.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert image.SOPClassUID == pydicom.uid.MRImageStorage == image.file_meta.MediaStorageSOPClassUID
    assert list(image.ImagePositionPatient) == [-12.5, -40.25, -70.0]
    assert list(image.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert list(image.PixelSpacing) == pytest.approx([0.9765625] * 2, abs=1e-6)
    assert (image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation) == (16, 12, 11, 0)
    assert float(image.RescaleSlope) == pytest.approx(1.7321)
    assert (image.WindowCenter, image.WindowWidth) == (594, 1033)


def test_the_header_is_that_of_a_philips_mdixon_water_image(written):
    image = pydicom.dcmread(written())
    assert list(image.ImageType) == ["DERIVED", "PRIMARY", "W", "W", "DERIVED"]
    assert image[0x2005, 0x1011].value == "W"
    assert image[0x2005, 0x100E].value == pytest.approx(0.0074693)
    assert image[0x2001, 0x1020].value == "T1FFE"
    assert (image.ScanningSequence, image.MRAcquisitionType, image.Modality) == ("GR", "3D", "MR")
    assert (image.PatientSex, image.PatientAge, image.PatientID) == ("F", "041Y", "SYN0-0007")
    assert "ContrastBolusAgent" in image
    assert str(image.PatientName).startswith("SYNTHETIC")


def test_values_beyond_12_bits_are_held_at_the_largest(written):
    image = pydicom.dcmread(written(stored=np.full((4, 4), 60000, dtype=np.uint16)))
    assert (image.pixel_array == 4095).all()


def test_the_same_slice_is_the_same_bytes_and_another_seed_is_another_object(written):
    first, again, other = written("a.dcm"), written("b.dcm"), written("c.dcm", seed=1)
    assert first.read_bytes() == again.read_bytes()
    assert pydicom.dcmread(first).SOPInstanceUID != pydicom.dcmread(other).SOPInstanceUID
    assert pydicom.dcmread(first).SeriesInstanceUID != pydicom.dcmread(other).SeriesInstanceUID


def test_uids_are_valid_and_depend_on_every_part():
    uids = {make_uid(*parts) for parts in [(0, "a"), (1, "a"), (0, "b"), ("0/a",)]}
    assert len(uids) == 3  # parts are joined by /, so the last is the first
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(written):
    shown = subprocess.run(["dciodvfy", str(written())], capture_output=True, text=True, check=False)
    assert "MRImage" in shown.stderr
    assert not [line for line in shown.stderr.splitlines() if line.startswith("Error")]
