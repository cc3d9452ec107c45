"""Uncompressed grey pixels straight from the file's bytes; what is out of the ordinary is left to pydicom."""

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fistula.dicom.parse import text, whole
from fistula.dicom.spelling import element_at

PIXEL_DATA = 0x7FE00010
TYPES = {(8, 0): "u1", (8, 1): "i1", (16, 0): "<u2", (16, 1): "<i2"}  # by BitsAllocated and PixelRepresentation


def plain_pixels(dataset: Dataset, index: int) -> np.ndarray | None:
    """Stored values of frame `index`, read-only ``(H, W)``; None where pydicom has to look at them.

    That is so for everything but MONOCHROME1 and MONOCHROME2 in little endian whose values fill their bits, or leave
    the unused ones 0, and whose length is what the header says.
    """
    if dataset.file_meta.TransferSyntaxUID not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        return None
    if text(dataset, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return None
    rows, columns, stored = (whole(dataset, keyword) or 0 for keyword in ("Rows", "Columns", "BitsStored"))
    allocated, sign = whole(dataset, "BitsAllocated") or 0, whole(dataset, "PixelRepresentation")
    kind = TYPES.get((allocated, -1 if sign is None else sign))
    element, frames = element_at(dataset, PIXEL_DATA), whole(dataset, "NumberOfFrames")
    if kind is None or whole(dataset, "SamplesPerPixel") != 1 or not isinstance(element, RawDataElement):
        return None
    size, count = rows * columns, 1 if frames is None else frames
    num_bytes = size * count * allocated // 8
    if not size or not 0 <= index < count or element.value is None or len(element.value) != num_bytes + num_bytes % 2:
        return None
    values = np.frombuffer(element.value, kind, count=size, offset=index * size * allocated // 8).reshape(rows, columns)
    is_full = stored == allocated or (0 < stored < allocated and sign == 0 and int(values.max()) >> stored == 0)
    return values if is_full else None
