"""The names by which other objects refer to an image: its UIDs. They leave this room only into what the user asked."""

from typing import NamedTuple

from fistula.dicom.container import Part, open_part
from fistula.dicom.outcome import NotTaken, damage_refused
from fistula.dicom.parse import read_header, text

KEYWORDS = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "SeriesDescription"


class Reference(NamedTuple):
    """An object's UIDs, patient and description, each empty where the object does not say it."""

    study: str
    series: str
    instance: str
    patient: str
    description: str


def read_reference(part: Part, *, limit: int) -> Reference:
    """Read the UIDs of an object; all empty if it cannot be read.

    Args:
        part: The object.
        limit: Bytes that it may unpack to.
    """
    try:
        with damage_refused(), open_part(part, limit=limit) as file:
            dataset = read_header(file, limit=limit).dataset
            return Reference(*(text(dataset, keyword) for keyword in KEYWORDS))
    except NotTaken:
        return Reference(*[""] * len(KEYWORDS))
