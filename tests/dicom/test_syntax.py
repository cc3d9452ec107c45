"""What can be decoded, and what a compressed frame says of its own size."""

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import Header
from fistula.dicom.pixels.codestream import declared
from fistula.dicom.pixels.syntax import decoders, preferred, require_decoder

START, FRAME = b"\xff\xd8", b"\xff\xc0\x00\x11\x08\x00\x07\x00\x09"  # 7 rows of 9 columns


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("1.2.3.4", "an unknown transfer syntax"),
        ("1.2.840.10008.1.2.4.103", r"video \(MPEG-4"),
        ("1.2.840.10008.1.2.4.92", "no decoder for JPEG 2000 Part 2"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_its_name(syntax, message):
    with pytest.raises(Refused, match=message):
        require_decoder(Header(Dataset(), syntax, -1, 100, has_preamble=True))
    assert decoders(syntax) == ()


def test_a_free_decoder_is_there_for_jpeg_2000():
    require_decoder(Header(Dataset(), JPEG2000Lossless, -1, 100, has_preamble=True))
    assert decoders(JPEG2000Lossless)


def test_lossless_jpeg_is_read_by_what_lets_its_values_wrap_around():
    assert preferred(["pylibjpeg", "gdcm"], JPEGLosslessSV1) == ("gdcm", "pylibjpeg")
    assert preferred(["gdcm", "pylibjpeg"], RLELossless) == ("pylibjpeg", "gdcm")


@pytest.mark.parametrize(
    ("content", "size"),
    [
        pytest.param(START + FRAME + bytes(8), (7, 9), id="at once"),
        pytest.param(START + b"\xff\xe0\x00\x04ab" + FRAME + bytes(8), (7, 9), id="behind a segment"),
        pytest.param(START + b"\xff\xff\xff\x01" + FRAME + bytes(8), (7, 9), id="behind filling and a bare marker"),
        pytest.param(START + b"\x00\x01" + FRAME + bytes(8), None, id="behind what is no marker"),
        pytest.param(START + b"\xff\xe0\x00\xff" + FRAME, None, id="beyond the end"),
        pytest.param(b"RLE" + bytes(20), None, id="another format"),
    ],
)
def test_a_jpeg_frame_declares_its_size(content, size):
    found = declared(content)
    assert (found and found.size) == size
