"""DICOM objects on their way from and to an archive."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom import kinds
from fistula.dicom.outcome import NotTaken, damage_refused
from fistula.dicom.parse import read_header
from fistula.dicom.pixels.syntax import decoders
from fistula.errors import DataError

# Usual ones first: they fit into one association.
_USUAL = ("MR Image", "Enhanced MR Image", "CT Image", "Enhanced CT Image", "Secondary Capture Image")
_NAMES = {
    uid: name.partition(" Storage")[0]
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Image Storage" in name and not name.startswith(("Video", "Hardcopy", "DICOS"))
}
IMAGE_CLASSES = tuple(sorted(_NAMES, key=lambda uid: (_NAMES[uid] not in _USUAL, uid)))
# Reports, presentation states and the like, which an archive that lists no classes sends with the images.
_STORED = [uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and name.endswith(" Storage")]
_MAKERS_OWN = [uid for uid in kinds.OTHER_CLASSES if uid not in _STORED]
OTHER_CLASSES = (*(uid for uid in _STORED if uid not in _NAMES), *_MAKERS_OWN)
_PLAIN = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
LIMIT = 1 << 31  # bytes that one may inflate to
_OFFERS = 126  # of an association, beside the two that a question and a retrieval need


def offers(sop_classes: Sequence[str], others: Sequence[str] = ()) -> list[list[tuple[str, list[str]]]]:
    """What to offer to receive objects of these classes, association by association.

    Whoever accepts an offer takes one of its transfer syntaxes, and an archive that does not transcode needs the very
    one in which it holds an object. Each class is thus offered with each syntax that is decoded here by itself, as many
    classes at once as an association has room for. What is no image, of the classes `others`, is offered every time,
    uncompressed: an archive may send nothing at all of a study of which one report is not welcome.
    """
    readable = [*_PLAIN, *(str(uid) for uid in AllTransferSyntaxes if str(uid) not in _PLAIN and decoders(str(uid)))]
    others = others[: _OFFERS // 2]
    room = (_OFFERS - len(others)) // len(readable)
    parts = [sop_classes[start : start + room] for start in range(0, len(sop_classes), room)]
    beside = [(sop_class, _PLAIN) for sop_class in others]
    return [[(sop_class, [syntax]) for sop_class in part for syntax in readable] + beside for part in parts]


def single_offers(sop_classes: Sequence[str], others: Sequence[str] = ()) -> list[list[tuple[str, list[str]]]]:
    """The same with one transfer syntax an association, for an archive that looks at one offer of a class alone."""
    readable = dict.fromkeys(syntax for _, (syntax, *_) in offers(sop_classes[:1])[0])
    beside = [(sop_class, _PLAIN) for sop_class in others[: _OFFERS // 2]]
    return [[*((sop_class, [syntax]) for sop_class in sop_classes), *beside] for syntax in readable]


def further_offers() -> list[list[tuple[str, list[str]]]]:
    """The same for what is no image: uncompressed, for nothing of it is read."""
    parts = [OTHER_CLASSES[start : start + _OFFERS] for start in range(0, len(OTHER_CLASSES), _OFFERS)]
    return [[(sop_class, _PLAIN) for sop_class in part] for part in parts]


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


def save_content(content: bytes, path: Path) -> None:
    """Write a received object as it came: nothing of it is written anew."""
    with _told():
        path.write_bytes(content)


def whose_object(content: bytes) -> Dataset | None:
    """The identifiers of a received object; None of one that is damaged, or breaks off before them."""
    try:
        with damage_refused():
            header = read_header(BytesIO(content), limit=LIMIT)
    except NotTaken:
        return None
    return None if header.pixel_bytes is None and "StudyInstanceUID" not in header.dataset else header.dataset


@contextmanager
def _told() -> Iterator[None]:
    """Say of a full disk that it is one; the archive would be blamed for what it sent, and could not be kept."""
    try:
        yield
    except OSError as error:
        remedy = "Free some space, or name a larger folder in TMPDIR"
        raise DataError("TMPDIR", f"cannot hold what the archive sends ({error.strerror})", remedy=remedy) from error
