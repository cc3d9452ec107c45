"""DICOM objects on their way from and to an archive."""

from pathlib import Path
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom.syntax import decoders

# Usual ones first: an association has room for 128 offers.
_USUAL = ("MR Image", "Enhanced MR Image", "CT Image", "Enhanced CT Image", "Secondary Capture Image")
_NAMES = {
    uid: name.partition(" Storage")[0]
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Image Storage" in name and not name.startswith(("Video", "Hardcopy", "DICOS"))
}
IMAGE_CLASSES = tuple(sorted(_NAMES, key=lambda uid: (_NAMES[uid] not in _USUAL, uid)))
OFFERS = 126  # beside the two that a question and a retrieval need


def offers(sop_classes: list[str]) -> list[tuple[str, list[str]]]:
    """What to offer to receive objects of these classes: an archive that does not transcode needs a syntax each.

    Whoever accepts an offer takes one of its transfer syntaxes. Each syntax that is decoded here is thus offered by
    itself, for as many classes as there is room; the rest is offered with the uncompressed ones.
    """
    plain = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
    readable = [str(uid) for uid in AllTransferSyntaxes if str(uid) not in plain and decoders(str(uid))]
    single = [[syntax] for syntax in [*plain, *readable]]
    found: list[tuple[str, list[str]]] = []
    for place, sop_class in enumerate(sop_classes):
        left = OFFERS - len(found) - (len(sop_classes) - place - 1)
        chosen = single if left >= len(single) else [plain]
        found += [(sop_class, syntaxes) for syntaxes in chosen[: max(left, 0)]]
    return found


def identifier(level: str, **attributes: str) -> Dataset:
    """A question for C-FIND or C-GET; an empty attribute is asked for, any other has to match."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def read_object(path: Path) -> Any:
    """A whole object, as written by this package."""
    return pydicom.dcmread(path)


def save_object(dataset: Any, path: Path) -> None:
    """Write a received object, with its own transfer syntax."""
    dataset.save_as(path, enforce_file_format=True)
