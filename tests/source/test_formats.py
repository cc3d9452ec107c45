import gzip

import pytest

from fistula.source.files.formats import ending_of, kind_of_source, masks_among


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a.png", "a_mask.png", "a_mask_1.png"], {"a_mask.png": "a", "a_mask_1.png": "a"}),
        (["case 1.nii.gz", "case 1_seg.nii.gz"], {"case 1_seg.nii.gz": "case 1"}),
        (["images/x.png", "masks/x.png"], {"masks/x.png": "x"}),
        (["imagesTr/c_0000.nii.gz", "imagesTr/c_0001.nii.gz", "labelsTr/c.nii.gz"], {"labelsTr/c.nii.gz": "c"}),
        (["T1.nrrd", "Segmentation.seg.nrrd", "T1-label.nrrd"],
         {"Segmentation.seg.nrrd": "Segmentation", "T1-label.nrrd": "T1"}),
        (["p/mask.nii.gz", "p/t1.nii.gz"], {"p/mask.nii.gz": ""}),
        (["labels/a.png", "labels/b.png"], {}),
        (["unmasked.png", "label.txt", "a_mask.dcm", "relabel.nii.gz"], {}),
    ],
    ids=["suffix", "blank in the name", "folder", "nnU-Net", "3D Slicer", "the word alone",
         "images in a folder that is called so", "no mask"],
)  # fmt: skip
def test_masks_are_known_by_their_names(names, masks):
    assert masks_among(names) == masks


def test_beside_dicom_files_a_folder_for_masks_is_enough():
    assert masks_among(["masks/tract.nii.gz", "T1.nii.gz"], are_apart=True) == {"masks/tract.nii.gz": "tract"}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"a.png": b"", "b.nii.gz": b""}, "volumes"),
        ({"a.png": b"", "b_seg.nii.gz": b""}, "pictures"),
        ({"a.png": b"", "notes.txt": b"text"}, "pictures"),
        ({"a.png": b"", "image": b"\0" * 128 + b"DICM"}, "dicom"),
        ({"notes.txt": b"text"}, "dicom"),
        ({"a.png": b"", "._a.nii.gz": b"\0\5\x16\7"}, "pictures"),
    ],
    ids=[
        "volumes before pictures",
        "a mask alone is no volume",
        "other files",
        "one DICOM file",
        "nothing known",
        "what macOS writes beside a file",
    ],
)
def test_what_a_source_holds_is_seen_from_its_files(tmp_path, files, kind):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert kind_of_source(sorted(tmp_path.iterdir()), tmp_path) == kind


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (b"\x89PNG\r\n", ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
        (b"NRRD0004\n", ".nrrd"),
        (b"\0" * 344 + b"n+1\0", ".nii"),
        (gzip.compress(b"\0" * 344 + b"n+1\0"), ".nii.gz"),
        (gzip.compress(b"\0" * 128 + b"DICM"), ""),
        (gzip.compress(b"\0" * 500)[:12], ""),
        (b"II*\0".ljust(128, b"\0") + b"DICM", ""),
        (b"text", ""),
        (b"", ""),
    ],
    ids=["PNG", "JPEG", "WebP", "NRRD", "NIfTI", "packed NIfTI", "packed DICOM", "torn", "DICOM that begins as TIFF",
         "text", "empty"],
)  # fmt: skip
def test_what_has_no_name_is_known_by_its_content(tmp_path, content, ending):
    (tmp_path / "upload").write_bytes(content)
    assert ending_of(tmp_path / "upload") == ending
