"""Read a data set's elements from memory, several times faster than pydicom, which gets all that is unusual."""

import struct
import warnings
from io import BytesIO
from typing import Any

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_sequence
from pydicom.tag import BaseTag
from pydicom.uid import AllTransferSyntaxes, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR
from pydicom.values import convert_string

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
SYNTAXES = frozenset(str(uid) for uid in AllTransferSyntaxes if uid.is_little_endian and "Deflate" not in uid.name)
VRS = {str(vr).encode(): str(vr) for vr in STANDARD_VR}
LONG = frozenset(map(str, EXPLICIT_VR_LENGTH_32))
EXPLICIT, IMPLICIT, LENGTH = struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L")
META_GROUP = b"\x02\x00"
UNDEFINED = 0xFFFFFFFF
CHARACTER_SET, SYNTAX = 0x00080005, BaseTag(0x00020010)


class _UnusualError(Exception):
    """Something that pydicom has to judge."""


def plain_dataset(content: bytes, *, stop_before_pixels: bool) -> tuple[Dataset, int] | None:
    """The data set of a Part-10 file in little endian, and where its reading stopped; None where pydicom has to judge.

    Its elements stay raw, as pydicom leaves them. It is pydicom's to read files without preamble or known syntax, in
    big endian or deflated, those that break off, and everything else that is not as in PS3.5 7.1.

    Args:
        content: The file, or with `stop_before_pixels` its beginning.
        stop_before_pixels: Stop at the pixel data, which must be in `content`.
    """
    if content[128:132] != b"DICM":
        return None
    try:
        meta, here, _ = _elements(content, 132, is_implicit=False, stops=None)
        syntax = meta[SYNTAX].value.rstrip(b"\0 ").decode("ascii")
        if syntax not in SYNTAXES:
            return None
        is_implicit = syntax == ImplicitVRLittleEndian
        stops = PIXEL_TAGS if stop_before_pixels else frozenset()
        elements, here, encoding = _elements(content, here, is_implicit=is_implicit, stops=stops)
    except Exception:  # whatever it is, pydicom says how it is to be taken
        return None
    dataset = Dataset(elements)
    dataset.set_original_encoding(is_implicit, True, encoding)
    dataset.file_meta = FileMetaDataset(meta)
    return dataset, here


def _elements(
    content: bytes, here: int, *, is_implicit: bool, stops: frozenset[int] | None
) -> tuple[dict[BaseTag, Any], int, Any]:
    """Elements from `here` up to a tag of `stops` (None: to the end of group 2), where that is, and the encoding."""
    elements: dict[BaseTag, Any] = {}
    encoding: Any = default_encoding
    size = len(content)
    while here < size:
        if stops is None and content[here : here + 2] != META_GROUP:
            return elements, here, encoding
        # PS3.5 7.1.2 and 7.1.3; not a function of its own, for it runs for every element of every file.
        start, vr = here + 8, None
        if is_implicit:
            group, element, length = IMPLICIT.unpack_from(content, here)
        else:
            group, element, name, length = EXPLICIT.unpack_from(content, here)
            vr = VRS[name]
            if vr in LONG:
                start, length = here + 12, LENGTH.unpack_from(content, here + 8)[0]
        code = group << 16 | element
        if stops and code in stops:
            return elements, here, encoding
        if group in (0, 0xFFFE):
            raise _UnusualError
        tag = BaseTag(code)
        if length == UNDEFINED:
            elements[tag], here = _sequence(content, start, tag, vr, encoding)
            continue
        here = start + length
        if here > size:
            raise _UnusualError
        value: Any = content[start:here] if length else empty_value_for_VR(vr, raw=True)
        elements[tag] = RawDataElement(tag, vr, length, value, start, is_implicit, True)
        if code == CHARACTER_SET:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a set that is not known
                encoding = convert_encodings(convert_string(value or b"", True))
    if stops:
        raise _UnusualError  # no pixel data up to here: the rest of the file, or pydicom, knows more
    return elements, here, encoding


def _sequence(content: bytes, start: int, tag: BaseTag, vr: str | None, encoding: Any) -> tuple[DataElement, int]:
    """A sequence of undefined length, read by pydicom, and where it ends."""
    if (vr or dictionary_VR(tag)) != "SQ":
        raise _UnusualError
    file = BytesIO(content)
    file.seek(start)
    items = read_sequence(file, vr is None, True, UNDEFINED, encoding)
    if file.tell() >= len(content):
        raise _UnusualError  # it may have broken off
    return DataElement(tag, "SQ", items, start, is_undefined_length=True), file.tell()
