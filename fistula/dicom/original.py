"""The header of an image that results refer to, with its patient and study as they are."""

import re
import warnings
from typing import Any

from pydicom.dataset import Dataset

from fistula.dicom.container import Part, open_part
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_header
from fistula.errors import DataError


def read_source(part: Part, *, limit: int) -> Dataset:
    """The header of an object that results refer to, with its patient and study.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with open_part(part, limit=limit) as file:
            return _in_one_set(read_header(file, limit=limit).dataset)
    except NotTaken as outcome:
        raise DataError("dicom", f"a source image cannot be read ({outcome.reason})") from outcome


def _in_one_set(source: Dataset) -> Dataset:
    """The source with its text in UTF-8 if it uses several character sets, which the library does not write.

    Japanese, Korean and Chinese headers do (PS3.5 H, I and K); a name stays the same name.
    """
    if source.get("SpecificCharacterSet") is not None and source["SpecificCharacterSet"].VM > 1:
        with warnings.catch_warnings(action="ignore"):
            source.decode()
            source.walk(_without_escapes)
        source.SpecificCharacterSet = "ISO_IR 192"
    return source


def _without_escapes(dataset: Dataset, element: Any) -> None:
    """Take out the escapes of PS3.3 C.12.1.1.2 that the decoder of a Chinese or Korean name leaves in it."""
    if element.VR in ("PN", "LO", "SH", "ST", "LT", "UC", "UT") and "\x1b" in str(element.value):
        dataset[element.tag].value = re.sub(r"\x1b\$?[()]?.", "", str(element.value))
