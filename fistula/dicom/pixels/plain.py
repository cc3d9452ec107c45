"""Pixels that are read without a second look at their header: the survey says where they stand and what they mean."""

import json
import math

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import Header, sequence, text, whole
from fistula.dicom.pixels.decode import Picture, picture_of
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.stated import PixelFacts, has_bits_beyond, pixel_facts
from fistula.dicom.pixels.window import Window

STATED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
GREYS = ("MONOCHROME1", "MONOCHROME2")
TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def plain_of(header: Header, frame: Frame) -> str:
    """What `read_plain` needs; empty unless the object is one uncompressed grey frame whose header has no tables.

    Args:
        header: Mended.
        frame: Its only frame.
    """
    dataset = header.dataset
    rows, columns, allocated, bits, sign = (whole(dataset, keyword) for keyword in STATED)
    is_plain = (
        header.syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and header.pixel_start >= 0
        and header.pixel_bytes == header.bytes_left  # nothing follows that a second look would see
        and allocated in (8, 16)
        and None not in (rows, columns, bits, sign)
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
    window = facts.window and (facts.window.center, facts.window.width, facts.window.function)
    start = header.pixel_start
    stated = photometric, start + header.bytes_left, start, (rows, columns), allocated, bits, sign == 1
    return json.dumps([*stated, *facts[:-1], window])


def read_plain(content: bytes, plain: str) -> Picture | None:
    """The only frame of an object; None if it is not the one that was looked at, or needs its whole header.

    Args:
        content: The object, unpacked.
        plain: As `plain_of` gives it.

    Raises:
        Refused: If a value is not finite.
    """
    photometric, size, start, shape, allocated, bits, is_signed, slope, intercept, padding, floor, scale, *rest = (
        json.loads(plain)
    )
    if len(content) != size:
        return None
    spacing, aspect, notes, window = rest
    stored = np.frombuffer(content, f"<u{allocated // 8}", math.prod(shape), start).reshape(shape)
    if has_bits_beyond(stored, bits, is_signed=is_signed):
        return None  # padding or an overlay may lie there, which the whole header tells
    if is_signed:  # the sign's bit up to the top and down again fills what is above it
        stored = (stored << (allocated - bits)).view(f"<i{allocated // 8}") >> (allocated - bits)
    window, spacing = window and Window(*window), spacing and tuple(spacing)
    stated = PixelFacts(slope, intercept, padding, floor, scale, spacing, aspect, tuple(notes), window)
    return picture_of(stored, stated, photometric)
