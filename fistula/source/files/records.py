"""Records of images that are not DICOM: named by the pseudonyms of their paths, for they name nobody."""

from collections.abc import Container
from pathlib import Path
from typing import Any

from fistula.dicom.container import Part, begins
from fistula.dicom.foreign import NO_DICOM, START, foreign
from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken, Skipped
from fistula.dicom.timing import TimeLimit
from fistula.source.files.formats import kind_of_name

SKIPPED = {"dicom": "another file", "volumes": "a volume, NIfTI or NRRD", "pictures": "a picture"}
ARRAYS = (".npz", ".npy")


def records_of(part: Part, name: str, look: Look, *, kind: str, masks: Container[str] = ()) -> list[dict[str, Any]]:
    """Records of one file, as `fistula.dicom.look.look_at` gives them of DICOM.

    `name` is its path below the source, `kind` what is wanted, `volumes` or `pictures`: others are skipped, and called
    what they are; so are `masks`, by their names.
    """
    own = kind_of_name(name)
    if name in masks:
        return [_skipped("a mask, by its name", "labels=masks makes labels of it")]
    if own != kind:
        if name.lower().endswith(ARRAYS):
            return [_skipped("a NumPy array, which names no patients (.npz of MedMNIST)")]
        start = begins(part.path, part.member, START) if own == "dicom" else b""
        if start[128:132] == b"DICM":
            return [_skipped("a DICOM file")]
        other = foreign(start) if own == "dicom" else Skipped(SKIPPED[own])
        return [_skipped(SKIPPED[own] if other.reason == NO_DICOM[0] else other.reason, other.remedy)]
    key = look.pseudonyms("image", name)
    identity = {
        "outcome": "image",
        "reason": "",
        "instance_key": key,
        "series_key": look.pseudonyms("image series", name),
        "patient_key": key,  # the table of labels says who it is
        "study_key": key,
        "is_named": False,
    }
    if kind == "pictures":
        compression = Path(name).suffix[1:].upper().replace("JPG", "JPEG").replace("TIFF", "TIF")
        return [identity | {"slice_key": key, "frame": 0, "frames": 1, "notes": "", "syntax": compression}]
    from fistula.source.files.volume_slices import volume_facts  # here, because DICOM needs no nibabel

    try:
        with TimeLimit(look.seconds):
            facts = volume_facts(part, limit=look.limit)
    except NotTaken as outcome:
        return [{"outcome": "refused", "reason": outcome.reason, "remedy": outcome.remedy}]
    return [
        identity | {"slice_key": key if len(facts) == 1 else look.pseudonyms("frame", f"{key}#{one['frame']}")} | one
        for one in facts
    ]


def _skipped(reason: str, remedy: str = "") -> dict[str, Any]:
    return {"outcome": "skipped", "reason": reason, "remedy": remedy}
