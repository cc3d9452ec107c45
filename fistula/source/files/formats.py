"""Which kind of images a folder holds, and which of its files are masks, by their names."""

import gzip
import re
import unicodedata
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from fistula.dicom.container import begins, members
from fistula.dicom.foreign import START
from fistula.dicom.outcome import NotTaken

GZIP = b"\x1f\x8b"
KINDS = ("dicom", "volumes", "pictures")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
# case_seg, case-label, case.seg, case_mask_1; or the word alone.
MASK = re.compile(
    r"^(?:(?P<base>.+)[._ -])?(?:seg|segmentation|mask|label|labels|labelmap|roi)(?:[._ -]?\d{1,3})?$", re.IGNORECASE
)
MASK_FOLDERS = ("mask", "masks", "label", "labels", "labelstr", "labelsts", "seg", "segmentation", "segmentations")
# What the first bytes of a file say that has lost its name, and the ending that it would have.
ENDINGS = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"BM", ".bmp"),
    (b"NRRD", ".nrrd"),
)  # fmt: skip
CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net's number of the sequence, which the mask of it has not


def kind_of_name(name: str) -> str:
    """`volumes`, `pictures`, or `dicom` for all else, such as what macOS writes beside a file (._x.png)."""
    name = name.lower()
    if PurePosixPath(name).name.startswith("._"):
        return "dicom"
    if name.endswith(VOLUME_SUFFIXES):
        return "volumes"
    return "pictures" if name.endswith(PICTURE_SUFFIXES) else "dicom"


def ending_of(path: Path) -> str:
    """The ending that belongs to a picture's or volume's content; empty for all else.

    Kinds are told by names (`kind_of_name`), which what was uploaded has not.
    """
    start = begins(path, "", START)
    if start[128:132] == b"DICM":  # may begin as a TIFF file as well (DICOM PS3.10, 7.1)
        return ""
    if start[:2] == GZIP:
        with suppress(OSError, EOFError, zlib.error), gzip.open(path) as packed:
            return ".nii.gz" if _is_nifti(packed.read(START)) else ""
        return ""
    if _is_nifti(start):
        return ".nii"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    return next((ending for magic, ending in ENDINGS if start.startswith(magic)), "")


def _is_nifti(start: bytes) -> bool:
    return start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"


def kind_of_source(paths: Sequence[Path], folder: Path) -> str:
    """What a source's images are: DICOM if any file of it is, else volumes if there are any, else pictures.

    Masks and other files beside DICOM images do not make them anything else.
    """
    if any(kind_of_name(path.name) == "dicom" and _is_dicom(path) for path in paths):
        return "dicom"
    names = [name for path in paths for _, name in names_in(path, folder)]
    masks = masks_among(names)
    rest = {kind_of_name(name) for name in names if name not in masks}
    return next((kind for kind in ("volumes", "pictures") if kind in rest), "dicom")


def names_in(path: Path, folder: Path) -> list[tuple[str, str]]:
    """Each member of a zip archive, or the empty one of another file, with its path below the source."""
    own = path.relative_to(folder).as_posix()
    try:
        return [(member, f"{own}/{member}" if member else own) for member in members(path)]
    except NotTaken:  # the survey says why
        return [("", own)]


def masks_among(names: Sequence[str], *, are_apart: bool = False) -> dict[str, str]:
    """Of paths below a source those that are masks, each with the name of what it is a mask of (empty: not said).

    A file is one by its name (`case_seg.nii.gz`, `x_mask.png`, `Segmentation.seg.nrrd`), or because it lies in a folder
    for masks (`masks/x.png`, `labelsTr/case.nii.gz`) and an image elsewhere has its name.

    Where the images are DICOM files (`are_apart`), none of the paths is one, and a folder for masks is enough.
    """
    stems: dict[str, set[str]] = {}
    for name in names:
        if kind_of_name(name) != "dicom":
            stem = CHANNEL.sub("", plain(stem_of(name)))
            stems.setdefault(stem, set()).add(str(PurePosixPath(name).parent))
    found = {}
    for name in names:
        if kind_of_name(name) == "dicom":
            continue
        stem, folder = stem_of(name), PurePosixPath(name).parent
        if match := MASK.fullmatch(stem):
            found[name] = match["base"] or ""
        elif folder.name.lower() in MASK_FOLDERS and (are_apart or stems[plain(stem)] - {str(folder)}):
            found[name] = stem
    return found


def stem_of(path: str) -> str:
    """A file's name without what says its format.

    Example:
        >>> stem_of("a/case.01_seg.nii.gz"), stem_of("Segmentation.seg.nrrd")
        ('case.01_seg', 'Segmentation.seg')
    """
    name = PurePosixPath(path).name
    for suffix in (".nii.gz", ".mrk.json"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return PurePosixPath(name).stem


def plain(name: str) -> str:
    """A name as it is compared: letters composed, without case."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does or as what is packed, or is an archive with such a member."""
    try:
        starts = (begins(path, member, 132) for member in members(path) if kind_of_name(member or path.name) == "dicom")
        return any(start[128:] == b"DICM" or start[:2] in (b"\x02\x00", b"\x08\x00", GZIP) for start in starts)
    except NotTaken:
        return False
