from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fistula.dicom.outcome import Refused
from fistula.source.files.pictures import read_picture


def _bytes(image, kind="PNG", **more):
    buffer = BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def test_grey_values_are_those_of_the_file():
    values = np.arange(60, dtype=np.uint8).reshape(6, 10)
    np.testing.assert_array_equal(read_picture(_bytes(Image.fromarray(values))).values, values)


def test_sixteen_bits_stay_sixteen_bits():
    values = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000
    np.testing.assert_array_equal(read_picture(_bytes(Image.fromarray(values))).values, values)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_dark_where_it_is_highest(kind):
    values = np.arange(60).reshape(6, 10).astype(kind) * (4 if kind is np.uint8 else 1000)
    content = _bytes(Image.fromarray(values), "TIFF")
    black_is_zero = b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00"  # TIFF 6.0: tag 262, one SHORT, 1
    assert content.count(black_is_zero) == 1
    content = content.replace(black_is_zero, black_is_zero[:-2] + b"\x00\x00")
    picture = read_picture(content)
    bright = -picture.values if picture.is_inverted else picture.values
    np.testing.assert_array_equal(bright - bright.min(), values.max() - values.astype(np.float32))


def test_transparency_is_dropped_and_never_blended():
    values = np.full((4, 4, 2), 0, np.uint8)
    values[..., 0], values[:2, :, 1] = 200, 255
    np.testing.assert_array_equal(read_picture(_bytes(Image.fromarray(values, "LA"))).values, 200)


def test_colours_become_luma():
    np.testing.assert_allclose(read_picture(_bytes(Image.new("RGB", (2, 2), (255, 0, 0)))).values, 76.245, rtol=1e-6)


def test_a_photograph_is_turned_as_its_tag_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert read_picture(_bytes(Image.new("L", (20, 10)), "JPEG", exif=exif)).values.shape == (20, 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text", "not a PNG, JPEG, TIFF, BMP or WebP"),
        (_bytes(Image.new("L", (50, 50)), "GIF"), "not a PNG, JPEG, TIFF, BMP or WebP"),
        (_bytes(Image.effect_noise((50, 50), 90))[:-900], "a damaged image file"),
        (_bytes(Image.new("1", (20000, 20000))), "an implausible number of pixels"),
    ],
)
def test_what_is_no_picture_is_refused(content, reason):
    with pytest.raises(Refused, match=reason):
        read_picture(content)


def test_a_picture_of_absurd_size_is_refused_before_it_is_unpacked():
    with pytest.raises(Refused, match="an implausible number of pixels"):
        read_picture(_bytes(Image.new("1", (9000, 9000))))
