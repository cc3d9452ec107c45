"""Pixels that are read without a second look at their header: the survey says where they stand and what they mean."""

import json
from dataclasses import astuple
from typing import Any

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import Header, sequence, text, whole
from fistula.dicom.pixels.decode import Picture, picture_of
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.stated import PixelFacts, has_bits_beyond, pixel_facts
from fistula.dicom.pixels.window import Window

# What pydicom's decoder wants to know, and where it stands.
OPTIONS = {
    "rows": "Rows",
    "columns": "Columns",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
}
GREYS = ("MONOCHROME1", "MONOCHROME2")
TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def plain_of(header: Header, frame: Frame) -> str:
    """What `read_plain` needs; empty unless the object is one uncompressed grey frame whose header has no tables.

    Args:
        header: Mended.
        frame: Its only frame.
    """
    dataset = header.dataset
    options = {name: whole(dataset, keyword) for name, keyword in OPTIONS.items()}
    is_plain = (
        header.syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and header.pixel_start >= 0
        and header.pixel_bytes == header.bytes_left  # nothing follows that a second look would see
        and options["bits_allocated"] in (8, 16)
        and None not in options.values()
        and whole(dataset, "SamplesPerPixel") == 1
        and (photometric := text(dataset, "PhotometricInterpretation")) in GREYS
        and not any(sequence(dataset, table) for table in TABLES)
    )
    try:
        facts = pixel_facts(frame) if is_plain else None
    except NotTaken:  # whoever reads the pixels hears why
        facts = None
    if facts is None:
        return ""
    window = facts.window and astuple(facts.window)[:3]
    start = header.pixel_start
    return json.dumps([header.syntax, photometric, start + header.bytes_left, start, options, *facts[:-1], window])


def read_plain(content: bytes, plain: str) -> Picture | None:
    """The only frame of an object; None if it is not the one that was looked at, or needs its whole header.

    Args:
        content: The object, unpacked.
        plain: As `plain_of` gives it.

    Raises:
        Refused: If a value is not finite.
    """
    syntax, photometric, size, start, options, slope, intercept, padding, scale, *rest = json.loads(plain)
    if len(content) != size:
        return None
    spacing, aspect, notes, window = rest
    length = options["rows"] * options["columns"] * options["bits_allocated"] // 8
    told: dict[str, Any] = options | {"number_of_frames": 1, "samples_per_pixel": 1, "pixel_keyword": "PixelData"}
    pixels = memoryview(content)[start : start + length]
    raw = np.frombuffer(pixels, f"<u{options['bits_allocated'] // 8}")
    if has_bits_beyond(raw, options["bits_stored"], is_signed=options["pixel_representation"] == 1):
        return None  # padding or an overlay may lie there, which the whole header tells
    stored, _ = get_decoder(UID(syntax)).as_array(pixels, index=0, photometric_interpretation=photometric, **told)
    window, spacing = window and Window(*window), spacing and tuple(spacing)
    facts = PixelFacts(slope, intercept, padding, scale, spacing, aspect, tuple(notes), window)
    return picture_of(stored, facts, photometric)
