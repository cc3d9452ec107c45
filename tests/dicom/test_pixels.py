import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import apply_modality_lut, get_decoder
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look, look_at
from fistula.dicom.outcome import Refused
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import SWAPPED, decode
from fistula.dicom.pixels.plain import read_plain
from fistula.dicom.pixels.syntax import decoders

from ..conftest import item_of

LIMIT = 1 << 26


def _decode(path, frames=(0,)):
    """Pictures; where the survey can do without a second look at the header, they must be the same."""
    with path.open("rb") as file:
        pictures = list(decode(read_dataset(file, limit=LIMIT), frames))
    if plain := look_at(path, Look(Pseudonyms(bytes(32))))[0].get("plain"):
        np.testing.assert_equal(asdict(read_plain(path.read_bytes(), plain)), asdict(pictures[0]))
    return pictures


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"],
)
def test_values_are_those_of_pydicom(name, tmp_path):
    path = Path(get_testdata_file(name))
    dataset = pydicom.dcmread(path)
    expected = apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_allclose(_decode(path)[0].values, expected, rtol=1e-6)


def test_signed_pixels_are_rescaled_in_their_own_sign(write_dicom, tmp_path):
    pixels = np.array([[-3, 5], [0, 7]], np.int16)
    write_dicom(tmp_path / "a", pixels, RescaleSlope="2", RescaleIntercept="-10")
    np.testing.assert_array_equal(_decode(tmp_path / "a")[0].values, [[-16, 0], [-10, 4]])


@pytest.mark.parametrize("kind", [">u4", ">i4"])
def test_32_bit_values_whose_words_are_swapped_are_refused(write_dicom, tmp_path, kind):
    pixels = np.array([[3, 500], [0, 65535 if kind == ">u4" else -7]], kind)
    dataset = write_dicom(tmp_path / "a", pixels)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "a", dataset, implicit_vr=False, little_endian=False)
    np.testing.assert_array_equal(_decode(tmp_path / "a")[0].values, pixels)
    dataset.PixelData = pixels.view(">u2")[:, [1, 0, 3, 2]].tobytes()
    pydicom.dcmwrite(tmp_path / "a", dataset, implicit_vr=False, little_endian=False)
    with pytest.raises(Refused, match="16-bit words are in the other order"):
        _decode(tmp_path / "a")


UNNAMED = "CT values below -1500 HU that PixelPaddingValue does not name, taken as padding"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=["plain", "compressed"])
@pytest.mark.parametrize(
    ("attributes", "outside", "notes"),
    [
        pytest.param({}, 1, [UNNAMED], id="not stated"),
        pytest.param({"PixelPaddingValue": -1024}, 2, [UNNAMED], id="another stated"),
        pytest.param({"PixelPaddingValue": -2000}, 1, [], id="stated"),
        pytest.param({"RescaleIntercept": "-1024"}, 2, [UNNAMED], id="rescaled"),
        pytest.param({"RescaleIntercept": "1000"}, 0, [], id="above"),
        pytest.param({"RescaleType": "US", "RescaleIntercept": "0"}, 0, [], id="another unit"),
        pytest.param({"Modality": "MR"}, 0, [], id="no CT"),
    ],
)
def test_ct_values_that_no_matter_gives_are_padding(write_dicom, tmp_path, attributes, outside, notes, syntax):
    stored = np.array([[-2000, -1024], [40, 1000]], np.int16)
    given = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "0"} | attributes
    dataset = write_dicom(tmp_path / "a", stored, **given)
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax)
        dataset.save_as(tmp_path / "a")
    (picture,) = _decode(tmp_path / "a")
    found = 0 if picture.inside is None else (~picture.inside).sum()
    assert (found, [note for note in picture.notes if "HU" in note]) == (outside, notes)
    np.testing.assert_array_equal(picture.values, stored + float(given["RescaleIntercept"]))


@pytest.mark.parametrize(("stored", "outside"), [([[-2000, -2000]], 2), ([[-2000, -1900]], 0)], ids=["pad", "no HU"])
def test_a_ct_slice_that_is_all_padding_has_no_part_in_its_volume(write_dicom, tmp_path, stored, outside):
    given = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "0"}
    write_dicom(tmp_path / "a", np.array(stored, np.int16), **given)
    (picture,) = _decode(tmp_path / "a")
    assert (0 if picture.inside is None else (~picture.inside).sum()) == outside


@pytest.mark.parametrize(
    ("attributes", "is_noted"),
    [
        ({}, True),
        ({"Modality": "MR"}, False),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, False),
        ({"PixelRepresentation": 1}, False),
    ],
    ids=["CT", "MR", "rescaled", "signed"],
)
def test_ct_that_cannot_be_in_hounsfield_units_is_noted(write_dicom, tmp_path, attributes, is_noted):
    write_dicom(tmp_path / "a", **{"Modality": "CT"} | attributes)
    (record,) = look_at(tmp_path / "a", Look(Pseudonyms(b"0123456789abcdef")))
    assert ("no Hounsfield units" in record["notes"]) is is_noted


def test_padding_that_covers_a_whole_picture_is_not_applied_and_counted(write_dicom, tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    write_dicom(tmp_path / "a", pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=100)
    (picture,) = _decode(tmp_path / "a")
    assert picture.inside is None
    assert picture.notes == ("padding that covers a whole picture, not applied",)


def test_pixel_padding_is_marked_and_its_range_with_it(write_dicom, tmp_path):
    pixels = np.array([[0, 1, 2], [3, 4, 5]], np.uint16)
    write_dicom(tmp_path / "a", pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=1)
    np.testing.assert_array_equal(_decode(tmp_path / "a")[0].inside, [[False, False, True], [True, True, True]])
    write_dicom(tmp_path / "a", pixels, PixelPaddingRangeLimit=1)
    (record,) = look_at(tmp_path / "a", Look(Pseudonyms(b"0123456789abcdef")))
    assert record["notes"] == "PixelPaddingRangeLimit without PixelPaddingValue, not applied"


def test_monochrome1_is_marked_for_inversion(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PhotometricInterpretation="MONOCHROME1")
    assert _decode(tmp_path / "a")[0].is_inverted


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({"PixelAspectRatio": [2, 1], "PixelSpacing": None}, 2.0),
        ({"PixelAspectRatio": [4, 3], "PixelSpacing": None}, 4 / 3),
        ({"PixelAspectRatio": [2, 1]}, 1.0),  # a spacing says it as well
        ({"PixelAspectRatio": [0, 0]}, 1.0),
        ({"PixelSpacing": None}, 1.0),
    ],
    ids=["two to one", "four to three", "with a spacing", "none, with a spacing", "not stated"],
)
def test_the_shape_of_a_pixel_is_heeded_where_no_spacing_is_stated(write_dicom, tmp_path, attributes, aspect):
    write_dicom(tmp_path / "a.dcm", **attributes)
    assert _decode(tmp_path / "a.dcm")[0].aspect == pytest.approx(aspect)


def test_a_shape_of_pixels_that_cannot_be_is_refused(write_dicom, tmp_path):
    write_dicom(tmp_path / "a.dcm", PixelAspectRatio=[0, 0], PixelSpacing=None)
    with pytest.raises(Refused, match="PixelAspectRatio of an impossible value"):
        _decode(tmp_path / "a.dcm")


def test_rgb_becomes_luma(write_dicom, tmp_path):
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    write_dicom(tmp_path / "a", np.zeros((1, 3), np.uint8), PhotometricInterpretation="RGB", SamplesPerPixel=3,
                PlanarConfiguration=0, PixelData=pixels.tobytes())  # fmt: skip
    np.testing.assert_allclose(_decode(tmp_path / "a")[0].values, [[76.245, 149.685, 29.07]], rtol=1e-6)


def test_palette_becomes_luma_of_its_colours(write_dicom, tmp_path):
    tables = {}
    for channel, high in (("Red", 65535), ("Green", 0), ("Blue", 0)):
        tables[f"{channel}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        tables[f"{channel}PaletteColorLookupTableData"] = np.array([0, high], "<u2").tobytes()
    write_dicom(tmp_path / "a", np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **tables)
    np.testing.assert_allclose(_decode(tmp_path / "a")[0].values, [[0, 76.245]], rtol=1e-6)


@pytest.mark.parametrize(
    ("bits", "dtype", "factor"),
    [(8, "u1", 1), (8, "<u2", 1), (16, "<u2", 1), (16, "<u2", 257)],
    ids=["bytes", "bytes in words", "called 16 bits", "16 bits"],
)
def test_colors_of_a_palette_have_one_scale_however_they_are_stored(write_dicom, tmp_path, bits, dtype, factor):
    tables, shades = {}, np.arange(0, 256, 16) * factor
    for channel in ("Red", "Green", "Blue"):
        tables[f"{channel}PaletteColorLookupTableDescriptor"] = [16, 0, bits]
        tables[f"{channel}PaletteColorLookupTableData"] = shades.astype(dtype).tobytes()
    for indices in (np.arange(16), np.zeros(16)):  # a dark frame has the scale of the others
        pixels = indices.astype(np.uint8).reshape(4, 4)
        write_dicom(tmp_path / "a", pixels, PhotometricInterpretation="PALETTE COLOR", **tables)
        np.testing.assert_allclose(_decode(tmp_path / "a")[0].values, 16.0 * pixels, rtol=1e-5)


def test_philips_display_values_are_brought_to_floating_point_values(write_dicom, tmp_path):
    path = tmp_path / "a"
    dataset = write_dicom(path, np.array([[100, 200]], np.uint16), RescaleSlope="2", RescaleIntercept="0")
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.25)
    dataset.save_as(path)
    picture = _decode(path)[0]
    # FP = DV / (RS * SS) = SV * 2 / (2 * 0.25) = 4 SV
    np.testing.assert_allclose(picture.values * picture.signal_scale, [[400, 800]])


def test_a_window_of_zero_width_is_no_window(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", WindowCenter="0", WindowWidth="0")
    assert _decode(tmp_path / "a")[0].window is None


def test_a_voi_table_goes_before_the_window(write_dicom, tmp_path):
    table = item_of(LUTDescriptor=[4, 10, 8], LUTData=np.array([0, 51, 102, 255], "<u2").tobytes())
    write_dicom(tmp_path / "a", WindowCenter="0", WindowWidth="100", VOILUTSequence=[table])
    window = _decode(tmp_path / "a")[0].window
    np.testing.assert_allclose(window(np.array([0, 10, 11, 12, 13, 99])), [0, 0, 0.2, 0.4, 1, 1], rtol=1e-6)


def test_each_frame_of_an_enhanced_object_has_its_own_rescale_window_and_spacing(write_dicom, tmp_path):
    pixels = np.stack([np.full((2, 2), 10, np.uint16), np.full((2, 2), 20, np.uint16)])
    frames = [
        item_of(
            PixelValueTransformationSequence=[item_of(RescaleSlope=str(slope), RescaleIntercept="1")],
            FrameVOILUTSequence=[item_of(WindowCenter=str(slope * 100), WindowWidth="50")],
        )
        for slope in (2, 3)
    ]
    shared = item_of(PixelMeasuresSequence=[item_of(PixelSpacing=[0.5, 0.25])])
    write_dicom(
        tmp_path / "a",
        pixels,
        SOPClassUID=EnhancedMRImageStorage,
        PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=[shared],
        drop=("PixelSpacing",),
    )
    pictures = _decode(tmp_path / "a", (0, 1))
    assert [float(picture.values[0, 0]) for picture in pictures] == [21.0, 61.0]
    assert [picture.window.center for picture in pictures] == [200.0, 300.0]
    assert [picture.spacing for picture in pictures] == [(0.5, 0.25)] * 2


@pytest.mark.parametrize("whose", ["PerFrame", "Shared"])
def test_what_a_converter_left_out_of_its_group_counts_as_if_it_stood_there(write_dicom, tmp_path, whose):
    kept = item_of(
        RescaleIntercept=-10,
        WindowCenter=40,
        WindowWidth=400,
        PixelSpacing=[0.5, 0.25],
        ImageOrientationPatient=[1, 0, 0, 0, 0.8, -0.6],
        ImagePositionPatient=[0, 0, 10],
    )
    kept.add_new("RescaleSlope", "LO", "2,5")  # misspelt as anywhere
    groups = [item_of(**{f"Unassigned{whose}ConvertedAttributesSequence": [kept]})]
    lacks = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")
    write_dicom(
        tmp_path / "a", np.array([[0, 1]], np.uint16), drop=lacks, **{f"{whose}FunctionalGroupsSequence": groups}
    )
    picture = _decode(tmp_path / "a")[0]
    np.testing.assert_allclose(picture.values, [[-10, -7.5]])
    assert (picture.spacing, picture.window.center) == ((0.5, 0.25), 40)


def test_of_what_a_frames_own_group_lacks_the_shared_one_speaks(write_dicom, tmp_path):
    slopes = ({"RescaleSlope": "3"}, {}, {})  # nor is what one frame says of another
    own = [
        item_of(PixelMeasuresSequence=[item_of(SliceThickness=3)], PixelValueTransformationSequence=[item_of(**slope)])
        for slope in slopes
    ]
    shared = item_of(
        PixelMeasuresSequence=[item_of(PixelSpacing=[0.5, 0.25])],
        PixelValueTransformationSequence=[item_of(RescaleSlope="2", RescaleIntercept="1")],
    )
    groups = {"PerFrameFunctionalGroupsSequence": own, "SharedFunctionalGroupsSequence": [shared]}
    write_dicom(tmp_path / "a", np.full((3, 2, 2), 10, np.uint16), drop=("PixelSpacing",), **groups)
    pictures = _decode(tmp_path / "a", (0, 1, 2))
    assert [float(picture.values[0, 0]) for picture in pictures] == [31.0, 21.0, 21.0]
    assert {picture.spacing for picture in pictures} == {(0.5, 0.25)}


def test_a_compressed_frame_that_declares_another_size_is_refused_before_it_is_decoded(tmp_path):
    content = Path(get_testdata_file("MR_small_jp2klossless.dcm")).read_bytes()
    place = content.index(b"\xff\x4f\xff\x51") + 8
    (tmp_path / "a").write_bytes(content[:place] + b"\x00\x00\xff\xff" * 2 + content[place + 8 :])
    with pytest.raises(Refused, match="size differs from its header"):
        _decode(tmp_path / "a")


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("has_bot", [True, False], ids=["with offsets", "without"])
def test_compressed_frames_that_no_header_counts_are_not_lost(write_dicom, tmp_path, syntax, has_bot):
    image = write_dicom(tmp_path / "a", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    image.compress(syntax, generate_instance_uid=False)
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame] * 3, has_bot=has_bot)
    image.save_as(tmp_path / "a")
    with pytest.raises(Refused, match="compressed pixel data of more frames than it states"):
        _decode(tmp_path / "a")
    image.NumberOfFrames = 3
    image.save_as(tmp_path / "a")
    assert len(_decode(tmp_path / "a", (0, 1, 2))) == 3


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (0, 1, 1)], ids=["two changed", "backwards", "one twice"])
@pytest.mark.parametrize("is_extended", [False, True], ids=["basic", "extended"])
def test_frames_do_not_change_places_by_a_table_of_offsets(write_dicom, tmp_path, order, is_extended):
    image = write_dicom(tmp_path / "a", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    image.compress(RLELossless, generate_instance_uid=False)
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData, table, lengths = encapsulate_extended([frame] * 3)
    image.NumberOfFrames = 3
    offsets = np.frombuffer(table, "<u8")[[*order]]
    if is_extended:
        image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = offsets.tobytes(), lengths
    else:
        items = image.PixelData[8:]  # behind an empty table
        image.PixelData = b"\xfe\xff\x00\xe0" + struct.pack("<4I", 12, *offsets) + items
    image.save_as(tmp_path / "a")
    for number in range(3):
        with pytest.raises(Refused, match="table of offsets is not in their order"):
            _decode(tmp_path / "a", (number,))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["RLE", "JPEG 2000"])
@pytest.mark.parametrize("is_extended", [False, True], ids=["basic", "extended"])
@pytest.mark.parametrize("wrong", ["twice as far", "one further", "one left out", "the last left out", "one too many"])
def test_a_frame_is_never_another_by_a_table_of_offsets_in_order(write_dicom, tmp_path, syntax, is_extended, wrong):
    frames = []
    for number in range(4):
        image = write_dicom(tmp_path / "a", np.add.outer(np.arange(64), np.arange(64) + 200 * number).astype(np.uint16))
        image.compress(syntax, generate_instance_uid=False)
        frames.append(next(generate_frames(image.PixelData, number_of_frames=1)))
    begun = np.frombuffer(encapsulate_extended(frames)[1], "<u8")
    image.PixelData, _, lengths = encapsulate_extended(frames[:3])
    image.NumberOfFrames = 3
    offsets = {
        "right": begun[:3],
        "twice as far": begun[:3] * 2,
        "one further": begun[1:],
        "one left out": begun[[0, 2]],
        "the last left out": begun[:2],
        "one too many": begun,
    }
    items = image.PixelData[8:]  # behind an empty table
    for table in ("right", wrong):
        if is_extended:
            image.ExtendedOffsetTable, image.ExtendedOffsetTableLengths = offsets[table].tobytes(), lengths
        else:
            count = len(offsets[table])
            image.PixelData = b"\xfe\xff\x00\xe0" + struct.pack(f"<{count + 1}I", 4 * count, *offsets[table]) + items
        image.save_as(tmp_path / "a")
        if table == "right":
            assert [picture.values[0, 0] for picture in _decode(tmp_path / "a", (0, 1, 2))] == [0, 200, 400]
    for number in range(3):
        with pytest.raises(Refused, match=r"do not begin where their table|fragments cannot be separated"):
            _decode(tmp_path / "a", (number,))


@pytest.mark.parametrize("wrong", ["missing", "of another number", "shorter", "longer", "cut in the middle"])
def test_an_extended_table_without_the_lengths_of_its_frames_is_refused_as_that(write_dicom, tmp_path, wrong):
    image = write_dicom(tmp_path / "a", np.random.default_rng(0).integers(0, 900, (3, 24, 20), dtype=np.uint16))
    image.compress(RLELossless, generate_instance_uid=False)
    frames = list(generate_frames(image.PixelData, number_of_frames=3))
    image.PixelData, image.ExtendedOffsetTable, lengths = encapsulate_extended(frames)
    image["PixelData"].is_undefined_length = True
    told = np.frombuffer(lengths, "<i8").copy()
    told[1] += {"shorter": -8, "longer": 8}.get(wrong, 0)
    content = {"missing": b"", "of another number": told[:2].tobytes(), "cut in the middle": lengths[:-2]}
    image.ExtendedOffsetTableLengths = content.get(wrong, told.tobytes())
    image.save_as(tmp_path / "a")
    with pytest.raises(Refused, match=r"whose lengths are missing or not|cannot be separated"):
        _decode(tmp_path / "a")
    image.ExtendedOffsetTableLengths = lengths
    image.save_as(tmp_path / "a")
    assert len(_decode(tmp_path / "a", (0, 1, 2))) == 3


def test_a_frame_of_rle_that_a_writer_cut_into_fragments_is_one(write_dicom, tmp_path):
    image = write_dicom(tmp_path / "a", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    image.compress(RLELossless, generate_instance_uid=False)
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame], fragments_per_frame=3)
    image.save_as(tmp_path / "a")
    (picture,) = _decode(tmp_path / "a")
    assert picture.values.ravel().tolist() == list(range(64 * 64))


@pytest.mark.parametrize(("kind", "vr", "dtype"), [("Float", "FL", np.float32), ("DoubleFloat", "FD", np.float64)])
def test_padding_of_floating_point_pixels_is_outside(write_dicom, tmp_path, kind, vr, dtype):
    pixels = np.array([[-1e30, 5], [0.5, -1e29]], dtype)
    pad = {f"{kind}PixelPaddingValue": float(pixels[0, 0]), f"{kind}PixelPaddingRangeLimit": float(pixels[1, 1])}
    write_dicom(tmp_path / "a", pixels, drop=("PixelData",), **{f"{kind}PixelData": pixels.tobytes()}, **pad)
    (picture,) = _decode(tmp_path / "a")
    assert picture.inside.tolist() == [[False, True], [True, False]]


def test_bits_beyond_those_stated_are_not_cut_off_where_they_are_compressed(write_dicom, tmp_path):
    image = write_dicom(tmp_path / "a", np.arange(60000, 60480, dtype=np.uint16).reshape(24, 20))
    image.compress(RLELossless, generate_instance_uid=False)
    image.BitsStored, image.HighBit = 12, 11
    image.save_as(tmp_path / "a")
    with pytest.raises(Refused, match="stored values of more than its 12 bits"):
        _decode(tmp_path / "a")


@pytest.mark.parametrize("kind", ["<u2", "<i2"])
def test_values_in_the_other_byte_order_are_noted(write_dicom, tmp_path, kind):
    noise = np.random.default_rng(0).integers(-500, 500, (64, 64))
    signal = 1200 * np.sin(np.arange(64) / 9) + noise + (1800 if kind == "<u2" else 0)
    for bits, values in ((16, signal), (8, signal // 16 * 256), (4, np.full((64, 64), 5))):  # the last are no such
        write_dicom(tmp_path / "a", values.astype(kind))
        assert _decode(tmp_path / "a")[0].notes == (("one value throughout",) if bits == 4 else ())
    write_dicom(tmp_path / "a", signal.astype(kind).byteswap())
    assert _decode(tmp_path / "a")[0].notes == (SWAPPED,)


BITS, SIGN = (
    "compressed values that contradict BitsStored, not applied",
    "compressed values that contradict PixelRepresentation, applied",
)


@pytest.mark.parametrize(
    ("syntax", "bits", "said", "is_signed", "notes"),
    [
        (JPEG2000Lossless, 12, 12, 1, (SIGN,)),
        (JPEG2000Lossless, 12, 16, 0, ()),  # all values fit
        (JPEG2000Lossless, 12, 11, 0, (BITS,)),
        (JPEGLSLossless, 12, 11, 0, (BITS,)),
        (JPEGLSLossless, 12, 16, 1, (BITS,)),  # where does the sign stand?
        (JPEGLSLossless, 12, 12, 1, ()),  # whose stream says nothing of a sign
    ],
)
def test_compressed_values_that_contradict_their_header_are_read_as_pydicom_does_and_noted(
    write_dicom, tmp_path, syntax, bits, said, is_signed, notes
):
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    image = write_dicom(tmp_path / "a", pixels, BitsStored=bits, HighBit=bits - 1)
    image.compress(syntax, generate_instance_uid=False)
    image.BitsStored, image.HighBit, image.PixelRepresentation = said, said - 1, is_signed
    image.save_as(tmp_path / "a")
    (picture,) = _decode(tmp_path / "a")
    np.testing.assert_array_equal(picture.values, pydicom.dcmread(tmp_path / "a").pixel_array)
    assert picture.notes == notes


def test_colors_under_a_header_of_grays_are_refused(write_dicom, tmp_path):
    image = write_dicom(tmp_path / "a", np.zeros((64, 64, 3), np.uint8), Rows=64, Columns=64, SamplesPerPixel=3,
                        PhotometricInterpretation="RGB", PlanarConfiguration=0, drop=("NumberOfFrames",))  # fmt: skip
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.save_as(tmp_path / "a")
    with pytest.raises(Refused, match="another number of samples than SamplesPerPixel"):
        _decode(tmp_path / "a")


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_420", "YBR_RCT"])
def test_colors_that_no_decoder_turns_into_rgb_are_refused(write_dicom, tmp_path, photometric):
    write_dicom(tmp_path / "a", np.zeros((8, 8, 3), np.uint8), Rows=8, Columns=8, SamplesPerPixel=3,
                PhotometricInterpretation=photometric, PlanarConfiguration=0, drop=("NumberOfFrames",))  # fmt: skip
    with pytest.raises(Refused, match=f"{photometric} that no decoder turns into RGB"):
        _decode(tmp_path / "a")


@pytest.mark.parametrize("bit", [12, 0, 5])
def test_an_overlay_among_the_bits_of_pixels_moves_none_wherever_it_is_said_to_lie(write_dicom, tmp_path, bit):
    pixels = np.arange(480, dtype=np.uint16).reshape(24, 20)
    image = write_dicom(tmp_path / "a", pixels | np.uint16(1 << 12), BitsStored=12, HighBit=11)
    image.add_new(0x60000102, "US", bit)
    image.save_as(tmp_path / "a")
    with (tmp_path / "a").open("rb") as file:  # the quick way leaves it to this one
        (picture,) = decode(read_dataset(file, limit=LIMIT), [0])
    np.testing.assert_array_equal(picture.values, pixels)


def test_an_overlay_whose_own_data_are_gone_hides_no_bits_beyond_those_stated(write_dicom, tmp_path):
    image = write_dicom(tmp_path / "a", np.full((24, 20), 1 << 13, np.uint16), BitsStored=12, HighBit=11)
    image.add_new(0x60000100, "US", 1)
    image.add_new(0x60000102, "US", 0)
    image.save_as(tmp_path / "a")
    with (tmp_path / "a").open("rb") as file, pytest.raises(Refused, match="more than its 12 bits"):
        list(decode(read_dataset(file, limit=LIMIT), [0]))


@pytest.mark.parametrize(("vr", "first"), [("SS", -128), ("US", 65408)])
def test_a_palette_begins_at_the_pixels_sign(write_dicom, tmp_path, vr, first):
    pixels = np.arange(-128, 128, dtype=np.int16).reshape(16, 16)
    image = write_dicom(tmp_path / "a", pixels, PhotometricInterpretation="PALETTE COLOR")
    for color in range(3):
        image.add_new(0x00281101 + color, vr, [256, first, 16])
        image.add_new(0x00281201 + color, "OW", (257 * np.arange(256)).astype("<u2").tobytes())
    image.save_as(tmp_path / "a")
    np.testing.assert_allclose(_decode(tmp_path / "a")[0].values, pixels + 128.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"RescaleSlope": "1e308"}, "RescaleSlope of an impossible value"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a palette that cannot be read"),
        ({"ModalityLUTSequence": [item_of(LUTDescriptor=[2, 0, 16])]}, "a modality table that cannot be read"),
        ({"PixelData": bytes(10)}, "pixel data that contradict their header"),
        ({"PixelRepresentation": 2}, "PixelRepresentation of an impossible value"),
        ({"PlanarConfiguration": 2}, "PlanarConfiguration of an impossible value"),
    ],
)
def test_pixels_that_cannot_be_values_are_refused(write_dicom, tmp_path, attributes, message):
    write_dicom(tmp_path / "a", np.full((4, 4), 60000, np.uint16), **attributes)
    with pytest.raises(Refused, match=message):
        _decode(tmp_path / "a")


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(item_of(LUTDescriptor=[4, 0], LUTData=b"\0\1\2\3"), id="half a descriptor"),
        pytest.param(item_of(LUTDescriptor=[4, 0, 32], LUTData=b"\0\1\2\3"), id="32 bits"),
    ],
)
def test_a_voi_table_that_says_too_little_is_refused(write_dicom, tmp_path, table):
    write_dicom(tmp_path / "a", VOILUTSequence=[table])
    with pytest.raises(Refused, match="a table of shades that cannot be read"):
        _decode(tmp_path / "a")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_tables_of_shades_are_read_in_implicit_vr_too(write_dicom, tmp_path, syntax):
    path = tmp_path / "a"
    shades = item_of(LUTDescriptor=[4, -10, 8], LUTData=np.array([0, 51, 102, 255], "<u2").tobytes())
    shades["LUTDescriptor"].VR = "SS"
    modality = item_of(LUTDescriptor=[2, 0, 16], LUTData=np.array([7, 9], "<u2").tobytes())
    tables = {"VOILUTSequence": [shades], "ModalityLUTSequence": [modality]}
    write_dicom(path, np.array([[0, 1]], np.int16), syntax=syntax, **tables)
    picture = _decode(path)[0]
    np.testing.assert_array_equal(picture.values, [[7, 9]])
    np.testing.assert_allclose(picture.window(np.array([-10, -9, -8, 0])), [0, 0.2, 0.4, 1], rtol=1e-6)


def test_a_window_of_zero_width_is_said(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", WindowCenter="0", WindowWidth="0")
    assert _decode(tmp_path / "a")[0].notes == ("a window that shows nothing",)


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit_2frame.dcm"])
def test_the_fast_decoder_of_run_lengths_gives_pydicoms_values(name):
    dataset = pydicom.dcmread(get_testdata_file(name))
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    fast, slow = (decoder.as_array(dataset, decoding_plugin=plugin)[0] for plugin in ("pylibjpeg", "pydicom"))
    np.testing.assert_array_equal(fast, slow)
    assert decoders(dataset.file_meta.TransferSyntaxUID)[0] == "pylibjpeg"


def test_the_fast_decoder_of_run_lengths_gives_gdcms_values():
    import gdcm

    path = get_testdata_file("MR_small_RLE.dcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    assert reader.Read()
    stored = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    picture = _decode(Path(path))[0]
    np.testing.assert_array_equal(picture.values, np.frombuffer(stored, "<i2").reshape(64, 64))
    assert picture.decoder == "pylibjpeg-rle"


def test_run_lengths_on_which_their_decoder_panics_go_to_the_next_one(tmp_path):
    content = Path(get_testdata_file("MR_small_RLE.dcm")).read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00") + 20 + 8 + 64  # into the frame, after the header of its segments
    (tmp_path / "a").write_bytes(content[:start] + b"\x81" * 2000 + content[start + 2000 :])
    assert _decode(tmp_path / "a")[0].decoder == "pydicom"


PLAIN = np.array([[0, 1000], [40, 4095]], np.uint16)


def _plain(path):
    return look_at(path, Look(Pseudonyms(bytes(32))))[0]["plain"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_plain_picture_is_read_without_a_second_look_at_its_header(write_dicom, tmp_path, syntax):
    stated = {"PixelPaddingValue": 40, "RescaleSlope": "2.5", "RescaleIntercept": "-3", "WindowCenter": "7"}
    write_dicom(tmp_path / "a", PLAIN, syntax=syntax, BitsStored=12, HighBit=11, WindowWidth="20", **stated)
    content = (tmp_path / "a").read_bytes()
    assert content.count(b"2.5 ") == 1
    (tmp_path / "a").write_bytes(content.replace(b"2.5 ", b"2,5 "))
    assert _plain(tmp_path / "a")
    np.testing.assert_array_equal(_decode(tmp_path / "a")[0].values, [[-3, 2497], [97, 10234.5]])


@pytest.mark.parametrize("end", [b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", b"\0"], ids=["padding", "a byte"])
def test_where_something_follows_the_pixels_the_header_is_read_again(write_dicom, tmp_path, end):
    write_dicom(tmp_path / "a", PLAIN)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes() + end)
    assert _plain(tmp_path / "a") == ""


def test_a_file_that_has_become_longer_since_it_was_looked_at_is_read_anew(write_dicom, tmp_path):
    write_dicom(tmp_path / "a", PLAIN)
    assert read_plain((tmp_path / "a").read_bytes() + b"\0", _plain(tmp_path / "a")) is None
