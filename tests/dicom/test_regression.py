"""pydicom's packaged files: what becomes of each one that is on disk, in one table."""

from pathlib import Path

import pydicom
import pytest

from fistula.dicom.container import Part, open_part
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look, look_at
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode
from fistula.dicom.tree import find_files

FOLDER = Path(pydicom.__file__).parent / "data"
LOOK = Look(Pseudonyms(b"0123456789abcdef"))
KEPT = "kept"
NO_PIXELS = "refused: an image object without pixel data"
NO_MATRIX = "refused: an image without rows or columns"
TWELVE_BITS = "refused: no decoder for 12-bit lossy JPEG (JPEG Extended (Process 2 and 4))"
OTHER_SIZE = "refused: a compressed frame whose size differs from its header's"
NOT_DICOM = "skipped: not DICOM"
RADIOTHERAPY = "skipped: a radiotherapy object"
DIRECTORY = "skipped: a DICOMDIR"
EXPECTED = {
    "test_files/693_J2KI.dcm": KEPT,
    "test_files/CT_small.dcm": KEPT,
    "test_files/ExplVR_BigEnd.dcm": KEPT,
    "test_files/ExplVR_BigEndNoMeta.dcm": RADIOTHERAPY,
    "test_files/ExplVR_LitEndNoMeta.dcm": RADIOTHERAPY,
    "test_files/GDCMJ2K_TextGBR.dcm": KEPT,
    "test_files/J2K_pixelrep_mismatch.dcm": KEPT,
    "test_files/JPEG-lossy.dcm": TWELVE_BITS,
    "test_files/JPEG2000-embedded-sequence-delimiter.dcm": OTHER_SIZE,
    "test_files/JPEG2000.dcm": KEPT,
    "test_files/JPEGLSNearLossless_08.dcm": KEPT,
    "test_files/JPEGLSNearLossless_16.dcm": KEPT,
    "test_files/JPGExtended.dcm": TWELVE_BITS,
    "test_files/MR_small.dcm": KEPT,
    "test_files/MR_small_RLE.dcm": KEPT,
    "test_files/MR_small_bigendian.dcm": KEPT,
    "test_files/MR_small_expb.dcm": KEPT,
    "test_files/MR_small_implicit.dcm": KEPT,
    "test_files/MR_small_jp2klossless.dcm": KEPT,
    "test_files/MR_small_jpeg_ls_lossless.dcm": KEPT,
    "test_files/MR_small_padded.dcm": KEPT,
    "test_files/MR_truncated.dcm": "refused: pixel data cut short",
    "test_files/README.txt": NOT_DICOM,
    "test_files/SC_jpeg_no_color_transform.dcm": KEPT,
    "test_files/SC_jpeg_no_color_transform_2.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cr.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cy+n1.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cy+n2.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cy+np.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cy+s2.dcm": KEPT,
    "test_files/SC_rgb_dcmtk_+eb+cy+s4.dcm": KEPT,
    "test_files/SC_rgb_gdcm_KY.dcm": KEPT,
    "test_files/SC_rgb_jls_lossy_line.dcm": KEPT,
    "test_files/SC_rgb_jls_lossy_sample.dcm": KEPT,
    "test_files/SC_rgb_jpeg.dcm": KEPT,
    "test_files/SC_rgb_jpeg_app14_dcmd.dcm": KEPT,
    "test_files/SC_rgb_jpeg_dcmd.dcm": KEPT,
    "test_files/SC_rgb_jpeg_dcmtk.dcm": KEPT,
    "test_files/SC_rgb_jpeg_gdcm.dcm": KEPT,
    "test_files/SC_rgb_jpeg_lossy_gdcm.dcm": KEPT,
    "test_files/SC_rgb_rle.dcm": KEPT,
    "test_files/SC_rgb_rle_16bit.dcm": KEPT,
    "test_files/SC_rgb_rle_16bit_2frame.dcm": KEPT,
    "test_files/SC_rgb_rle_2frame.dcm": KEPT,
    "test_files/SC_rgb_rle_32bit.dcm": KEPT,
    "test_files/SC_rgb_rle_32bit_2frame.dcm": KEPT,
    "test_files/SC_rgb_small_odd.dcm": KEPT,
    "test_files/SC_rgb_small_odd_big_endian.dcm": KEPT,
    "test_files/SC_rgb_small_odd_jpeg.dcm": KEPT,
    "test_files/SC_ybr_full_422_uncompressed.dcm": KEPT,
    "test_files/UN_sequence.dcm": NO_PIXELS,
    "test_files/badVR.dcm": RADIOTHERAPY,
    "test_files/crayons.icc": NOT_DICOM,
    "test_files/dicomdirtests/77654033/": KEPT,
    "test_files/dicomdirtests/98892001/": KEPT,
    "test_files/dicomdirtests/98892003/": KEPT,
    "test_files/dicomdirtests/DICOMDIR": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-bigEnd": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-empty.dcm": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-implicit": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-nooffset": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-nopatient": DIRECTORY,
    "test_files/dicomdirtests/DICOMDIR-reordered": DIRECTORY,
    "test_files/dicomdirtests/README.txt": NOT_DICOM,
    "test_files/dicomdirtests/TINY_ALPHA/DICOMDIR": DIRECTORY,
    "test_files/dicomdirtests/TINY_ALPHA/PT000000/": NO_PIXELS,
    "test_files/dicomdirtests/TINY_ALPHA/README": NOT_DICOM,
    "test_files/empty_charset_LEI.dcm": "skipped: a DICOM object without an image",
    "test_files/examples_jpeg2k.dcm": KEPT,
    "test_files/examples_overlay.dcm": KEPT,
    "test_files/examples_palette.dcm": KEPT,
    "test_files/examples_rgb_color.dcm": KEPT,
    "test_files/examples_ybr_color.dcm": KEPT,
    "test_files/image_dfl.dcm": KEPT,
    "test_files/liver_1frame.dcm": "skipped: a segmentation",
    "test_files/liver_expb_1frame.dcm": "skipped: a segmentation",
    "test_files/meta_missing_tsyntax.dcm": NO_MATRIX,
    "test_files/nested_priv_SQ.dcm": NO_MATRIX,
    "test_files/no_meta.dcm": "refused: named as DICOM, but its content is not",
    "test_files/no_meta_group_length.dcm": RADIOTHERAPY,
    "test_files/priv_SQ.dcm": NO_PIXELS,
    "test_files/reportsi.dcm": "skipped: a structured report",
    "test_files/reportsi_with_empty_number_tags.dcm": "skipped: a structured report",
    "test_files/rtdose.dcm": RADIOTHERAPY,
    "test_files/rtdose_1frame.dcm": RADIOTHERAPY,
    "test_files/rtdose_expb.dcm": RADIOTHERAPY,
    "test_files/rtdose_expb_1frame.dcm": RADIOTHERAPY,
    "test_files/rtdose_rle.dcm": RADIOTHERAPY,
    "test_files/rtdose_rle_1frame.dcm": RADIOTHERAPY,
    "test_files/rtplan.dcm": RADIOTHERAPY,
    "test_files/rtplan.dump": NOT_DICOM,
    "test_files/rtplan_truncated.dcm": RADIOTHERAPY,
    "test_files/rtstruct.dcm": RADIOTHERAPY,
    "test_files/rtstruct.dump": NOT_DICOM,
    "test_files/test-SR.dcm": "skipped: a structured report",
    "test_files/test1.json": NOT_DICOM,
    "test_files/test_PN.json": NOT_DICOM,
    "test_files/waveform_ecg.dcm": "skipped: a waveform",
    "test_files/zipMR.gz": KEPT,
    "charset_files/FileInfo.txt": NOT_DICOM,
    "charset_files/chrArab.dcm": KEPT,
    "charset_files/chrFren.dcm": KEPT,
    "charset_files/chrFrenMulti.dcm": KEPT,
    "charset_files/chrGerm.dcm": KEPT,
    "charset_files/chrGreek.dcm": KEPT,
    "charset_files/chrH31.dcm": KEPT,
    "charset_files/chrH32.dcm": KEPT,
    "charset_files/chrHbrw.dcm": KEPT,
    "charset_files/chrI2.dcm": KEPT,
    "charset_files/chrJapMulti.dcm": NO_PIXELS,
    "charset_files/chrJapMultiExplicitIR6.dcm": NO_PIXELS,
    "charset_files/chrKoreanMulti.dcm": NO_PIXELS,
    "charset_files/chrRuss.dcm": KEPT,
    "charset_files/chrSQEncoding.dcm": NO_PIXELS,
    "charset_files/chrSQEncoding1.dcm": NO_PIXELS,
    "charset_files/chrX1.dcm": KEPT,
    "charset_files/chrX2.dcm": KEPT,
    "palettes/README.md": NOT_DICOM,
    "palettes/": "skipped: a palette",
}


def _outcome(path):
    records = look_at(path, LOOK)
    if records[0]["outcome"] != "image":
        return f"{records[0]['outcome']}: {records[0]['reason']}"
    try:
        with open_part(Part(path, records[0]["member"]), limit=LOOK.limit) as file:
            pictures = list(decode(read_dataset(file, limit=LOOK.limit), range(len(records))))
    except NotTaken as outcome:
        return f"refused: {outcome.reason}"
    assert len(pictures) == records[0]["frames"]
    assert {picture.values.shape for picture in pictures} == {(records[0]["rows"], records[0]["columns"])}
    return KEPT


def _files():
    folders = (FOLDER / "test_files", FOLDER / "charset_files", FOLDER / "palettes")
    return [path.relative_to(FOLDER).as_posix() for folder in folders for path in find_files(folder)[0]]


@pytest.mark.parametrize("name", _files())
def test_every_packaged_file_has_its_expected_outcome(name):
    expected = EXPECTED.get(name) or next(
        what for part, what in EXPECTED.items() if part.endswith("/") and name.startswith(part)
    )
    assert _outcome(FOLDER / name) == expected


def test_the_table_names_no_file_that_is_not_there():
    names = _files()
    assert [part for part in EXPECTED if not any(name.startswith(part) for name in names)] == []
