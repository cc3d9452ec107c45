from pathlib import Path

import numpy as np
import pydicom
import pytest

from fistula.dicom.container import find_files
from fistula.dicom.native import plain_pixels
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_dataset

FOLDER = Path(pydicom.__file__).parent / "data"
FILES = [path for name in ("test_files", "charset_files") for path in find_files(FOLDER / name)]


def _read(path):
    with path.open("rb") as file:
        return read_dataset(file, limit=1 << 28)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_plain_pixels_are_pydicoms_or_none(path):
    try:
        pixels = plain_pixels(_read(path), 0)
    except NotTaken:
        return
    if pixels is None:
        return
    expected = pydicom.dcmread(path, force=True).pixel_array
    np.testing.assert_array_equal(pixels, expected[0] if expected.ndim == 3 else expected)
    assert pixels.dtype == expected.dtype


def _plain(write_dicom, folder, pixels, index=0, **changes):
    write_dicom(folder / "a", pixels, **changes)
    return plain_pixels(_read(folder / "a"), index)


def test_the_ordinary_image_is_read_here(write_dicom, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (2, 6, 4)).astype(np.uint16)
    for index in (0, 1):
        read = _plain(write_dicom, tmp_path, pixels, index, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(read, pixels[index])
    np.testing.assert_array_equal(_plain(write_dicom, tmp_path, pixels[0]), pixels[0])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"BitsStored": 12, "HighBit": 11}, id="overlay in the unused bits"),
        pytest.param({"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}, id="signed in fewer bits"),
        pytest.param({"PhotometricInterpretation": "PALETTE COLOR"}, id="palette"),
        pytest.param({"Rows": 5}, id="more bytes than pixels"),
        pytest.param({"NumberOfFrames": "3"}, id="fewer bytes than pixels"),
        pytest.param({"BitsAllocated": 32}, id="32 bits"),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_pydicom(write_dicom, tmp_path, changes):
    assert _plain(write_dicom, tmp_path, np.full((6, 4), 0x8123, np.uint16), **changes) is None
