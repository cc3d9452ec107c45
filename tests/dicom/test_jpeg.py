"""Streams of the JPEG family: colors are what a stream says they are, and one that is cut short is never a picture."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode
from fistula.dicom.pixels.jpeg import OTHERWISE, UNSAID

ROWS, COLUMNS = np.mgrid[:64, :64]
GRAYS = 500 + 300 * np.sin(COLUMNS / 9) + 200 * np.cos(ROWS / 7) + np.random.default_rng(0).integers(0, 40, (64, 64))
SHADES = (GRAYS // 8).astype(np.uint8)
COLORS = np.stack([SHADES, SHADES // 2, 255 - SHADES], -1)
LUMA = COLORS @ np.array([0.299, 0.587, 0.114])
END = b"\xff\xd9"


def _jpeg(pixels, **how):
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG", quality=98, **how)
    return made.getvalue()


def _bare(stream):
    """Without the segments in which other standards say what colors are."""
    kept, here = stream[:2], 2
    while stream[here + 1] != 0xDA:
        end = here + 2 + int.from_bytes(stream[here + 2 : here + 4], "big")
        kept += stream[here:end] * (stream[here + 1] not in range(0xE0, 0xF0))
        here = end
    return kept + stream[here:]


def _numbered(stream):
    """With components numbered 1, 2 and 3, not by letters."""
    content = bytearray(stream)
    begins = (stream.index(b"\xff\xc0") + 10, 3), (stream.index(b"\xff\xda") + 5, 2)
    for number in range(3):
        for begin, step in begins:
            content[begin + step * number] = number + 1
    return bytes(content)


def _marked(stream, *, adobe=None, jfif=False):
    marks = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" * jfif
    marks += b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe])
    return stream[:2] + marks + stream[2:]


def _put(write_dicom, path, stream, syntax, pixels, **attributes):
    image = write_dicom(path, pixels, **attributes)
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    image["PixelData"].is_undefined_length = True
    image.save_as(path)


def _read(path):
    with path.open("rb") as file:
        return next(decode(read_dataset(file, limit=1 << 20), [0]))


CHROMA, HALVED = _bare(_jpeg(COLORS, subsampling=0)), _bare(_jpeg(COLORS))
LETTERS = _bare(_jpeg(COLORS, keep_rgb=True, subsampling=0))
PRIMARIES = _numbered(LETTERS)


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("stream", "stated"),
    [
        pytest.param(_marked(CHROMA, jfif=True), "YBR", id="chroma, JFIF"),
        pytest.param(_marked(HALVED, jfif=True), "YBR", id="half the chroma, JFIF"),
        pytest.param(_marked(CHROMA, adobe=1), "YBR", id="chroma, Adobe"),
        pytest.param(_marked(HALVED, adobe=1), "YBR", id="half the chroma, Adobe"),
        pytest.param(_marked(CHROMA, adobe=1, jfif=True), "YBR", id="chroma, both"),
        pytest.param(HALVED, "YBR", id="half the chroma, no mark"),
        pytest.param(_marked(PRIMARIES, adobe=0), "RGB", id="primaries, Adobe"),
        pytest.param(_marked(PRIMARIES, adobe=0, jfif=True), "RGB", id="primaries, both"),
        pytest.param(LETTERS, "RGB", id="letters"),
        pytest.param(_marked(LETTERS, adobe=0), "RGB", id="letters, Adobe"),
    ],
)
def test_colors_are_what_the_stream_says_whatever_the_header_does(write_dicom, tmp_path, stream, stated, said):
    colors = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": said}
    _put(write_dicom, tmp_path / "a", stream, JPEGBaseline8Bit, SHADES, **colors)
    picture = _read(tmp_path / "a")
    assert np.abs(picture.values - LUMA).mean() < 3
    assert (OTHERWISE in picture.notes) is (said[:3] != stated)


@pytest.mark.parametrize(("stream", "said", "notes"), [(PRIMARIES, "RGB", (UNSAID,)), (CHROMA, "YBR_FULL", ())])
def test_colors_of_which_the_stream_says_nothing_are_those_of_the_header(write_dicom, tmp_path, stream, said, notes):
    colors = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": said}
    _put(write_dicom, tmp_path / "a", stream, JPEGBaseline8Bit, SHADES, **colors)
    picture = _read(tmp_path / "a")
    assert np.abs(picture.values - LUMA).mean() < 3
    assert picture.notes == notes


def _lossless(write_dicom, path):
    import gdcm

    write_dicom(path, GRAYS.astype(np.uint16))
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    with path.open("rb") as file:
        return next(generate_frames(read_dataset(file, limit=1 << 20).PixelData, number_of_frames=1))


def _compressed(write_dicom, path, kind):
    """A stream, its transfer syntax and the pixels that were compressed."""
    if kind == "lossless":
        return _lossless(write_dicom, path).rstrip(b"\0"), JPEGLosslessSV1, GRAYS.astype(np.uint16)
    if kind in ("2000", "LS"):
        syntax = JPEG2000Lossless if kind == "2000" else JPEGLSLossless
        image = write_dicom(path, GRAYS.astype(np.uint16))
        image.compress(syntax, generate_instance_uid=False)
        return next(generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0"), syntax, GRAYS.astype(np.uint16)
    how = {"plain": {}, "restart": {"restart_marker_blocks": 4}, "progressive": {"progressive": True}}[kind]
    return _jpeg(SHADES, **how), JPEGBaseline8Bit, SHADES


KINDS = ["plain", "restart", "progressive", "lossless", "2000", "LS"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_stream_is_read(write_dicom, tmp_path, kind):
    stream, syntax, pixels = _compressed(write_dicom, tmp_path / "a", kind)
    _put(write_dicom, tmp_path / "a", stream, syntax, pixels)
    assert np.abs(_read(tmp_path / "a").values - pixels).mean() < 2


@pytest.mark.parametrize("left", [0.999, 0.95, 0.7, 0.4])
@pytest.mark.parametrize("how", ["cut off", "cut and closed", "overwritten with zeros"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_is_cut_short_is_refused_unless_the_picture_is_the_same(write_dicom, tmp_path, kind, how, left):
    stream, syntax, pixels = _compressed(write_dicom, tmp_path / "a", kind)
    rest = stream[: min(int(len(stream) * left), len(stream) - 5)]
    rest += {"cut off": b"", "cut and closed": END, "overwritten with zeros": bytes(len(stream) - len(rest))}[how]
    _put(write_dicom, tmp_path / "whole", stream, syntax, pixels)
    _put(write_dicom, tmp_path / "a", rest, syntax, pixels)
    try:  # the last bits of a progressive JPEG may refine nothing
        np.testing.assert_array_equal(_read(tmp_path / "a").values, _read(tmp_path / "whole").values)
        assert left == 0.999
    except Refused as refused:
        assert re.search(r"without its end|cut short|no decoder could read", refused.reason)  # noqa: PT017


def test_a_stream_that_was_cut_between_two_of_its_marks_and_closed_is_refused(write_dicom, tmp_path):
    stream = _jpeg(SHADES, restart_marker_blocks=4)
    for mark in range(0xD0, 0xD8):
        place = stream.rindex(bytes((0xFF, mark)), 0, len(stream) - 2)
        for cut in (place, place + 2):
            _put(write_dicom, tmp_path / "a", stream[:cut] + END, JPEGBaseline8Bit, SHADES)
            with pytest.raises(Refused, match="cut short"):
                _read(tmp_path / "a")


def _file_of_2000():
    made = io.BytesIO()
    Image.fromarray(SHADES).save(made, "JPEG2000")
    return made.getvalue()


def test_a_file_of_jpeg_2000_in_the_place_of_a_stream_is_read_and_compared(write_dicom, tmp_path):
    _put(write_dicom, tmp_path / "a", _file_of_2000(), JPEG2000Lossless, SHADES)
    np.testing.assert_array_equal(_read(tmp_path / "a").values, SHADES)
    _put(write_dicom, tmp_path / "a", _file_of_2000(), JPEG2000Lossless, SHADES, Rows=32, Columns=128)
    with pytest.raises(Refused, match="whose size differs"):
        _read(tmp_path / "a")


@pytest.mark.parametrize("length", [0, 1, 7, 4_000_000_000])
def test_boxes_that_lead_nowhere_cost_no_time(write_dicom, tmp_path, length):
    # A decoder went in circles until the time limit.
    stream = _file_of_2000()
    stream = stream[:12] + length.to_bytes(4, "big") + stream[16:]
    _put(write_dicom, tmp_path / "a", stream, JPEG2000Lossless, SHADES)
    with pytest.raises(Refused, match="without a picture in it"):
        _read(tmp_path / "a")


def test_one_stream_of_the_second_patient_that_has_no_end_stops_ingest_in_a_line(write_dicom, tmp_path, fistula_here):
    for number in range(4):
        stream = _jpeg(SHADES)
        stream = stream[:600] + bytes(len(stream) - 600) if number == 3 else stream
        names = {
            "PatientID": f"P{number // 2}", "StudyInstanceUID": f"2.25.4{number // 2}",
            "SeriesInstanceUID": f"2.25.5{number // 2}", "SOPInstanceUID": f"2.25.6{number}",
            "ImagePositionPatient": [0, 0, 3 * number], "InstanceNumber": number,
        }  # fmt: skip
        _put(write_dicom, tmp_path / "in" / f"{number}.dcm", stream, JPEGBaseline8Bit, SHADES, **names)
    (tmp_path / "labels.csv").write_text("patient_id,label\nP0,0\nP1,1\n")
    options = "source=in", "labels=labels.csv", "labels.level=patient", "out=cohort", "size=32", "workers.count=1"
    code, _, error = fistula_here("ingest", *options)
    assert code == 2
    assert "found 1: 3.dcm (a compressed frame without its end)" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "cohort").exists()
