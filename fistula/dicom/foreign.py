"""What a file that is no DICOM is, by its first bytes, so that it is called by its name."""

from fistula.dicom.outcome import Skipped

START = 352  # bytes; NIfTI says what it is at 344
TABLE = (
    "Give labels that name it by path and patient_id, or a source without DICOM files; volumes are named .nii, .nii.gz"
    " or .nrrd, pictures by their kind"
)
NIFTI = "Save it as NIfTI (.nii.gz), as 3D Slicer does: volumes are read as NIfTI and NRRD"
NO_PATIENTS = "Use the images that it was made from: a split by patient is not possible without patients"
# First bytes, what it is, and what to do with it.
KINDS = (
    (b"\x89PNG", "a PNG picture", TABLE),
    (b"\xff\xd8\xff", "a JPEG picture", TABLE),
    (b"II*\0", "a TIFF picture", TABLE),
    (b"MM\0*", "a TIFF picture", TABLE),
    (b"BM", "a BMP picture", TABLE),
    (b"NRRD", "an NRRD volume", TABLE),
    (b"\x93NUMPY", "a NumPy array, which names no patients (.npz of MedMNIST)", NO_PATIENTS),
    (b"%PDF", "a PDF document", ""),
    (b"GIF8", "a GIF picture", "Save it as PNG"),
    (b"ObjectType =", "a MetaImage volume (.mha, .mhd)", NIFTI),
    (b"NDims =", "a MetaImage volume (.mha, .mhd)", NIFTI),
    (b"\x89HDF", "an HDF5 file", NIFTI),
    (b"MATLAB 5", "a MATLAB file", NIFTI),
)
NO_DICOM = (
    "not DICOM",
    "a NIfTI volume",
    "a NIfTI header without its image",
    "a WebP picture",
    *(reason for _, reason, _ in KINDS),
)
MACOS = b"\0\5\x16\7"  # AppleDouble: ._IM1.dcm beside IM1.dcm on every disk that is not macOS's own, and in its zips


def foreign(start: bytes) -> Skipped:
    """What begins with these bytes, called by its name; `not DICOM` if it is none of the kinds that are known."""
    if start[344:348] == b"ni1\0" or start[4:8] == b"ni2\0":
        return Skipped("a NIfTI header without its image", "Save it as one file, .nii.gz")
    if start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0":
        return Skipped("a NIfTI volume", TABLE)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Skipped("a WebP picture", TABLE)
    if start.startswith(MACOS):
        return Skipped("what macOS wrote beside a file")
    found = next(((reason, remedy) for magic, reason, remedy in KINDS if start.startswith(magic)), None)
    return Skipped(*found) if found else Skipped("not DICOM")
