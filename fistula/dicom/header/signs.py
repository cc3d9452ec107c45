"""Give values whose sign is that of the pixels this sign, whatever value representation they are written in."""

import struct

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from fistula.dicom.header.raw import is_absent
from fistula.dicom.header.spelling import OTHERWISE, Form, Mended, element_at, numbers_of, standard_vr, tag_of
from fistula.dicom.parse import text, whole

PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
PALETTES = tuple(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue"))
TABLE = Form(num_values=3, is_whole=True)


def mend_signs(dataset: Dataset, tables: list[Dataset], mended: Mended) -> None:
    """Mend padding values, and the first values of palettes and of the modality tables that are given."""
    _mend_padding(dataset, mended)
    is_painted = text(dataset, "PhotometricInterpretation") == "PALETTE COLOR"
    palettes = [(dataset, keyword) for keyword in PALETTES if is_painted and not is_absent(dataset, keyword)]
    _mend_tables(dataset, palettes + [(item, "LUTDescriptor") for item in tables], mended)


def _mend_padding(dataset: Dataset, mended: Mended) -> None:
    """Bring padding values to the sign that PixelRepresentation says (PS3.3 C.7.5.1.1.2)."""
    if all(is_absent(dataset, keyword) for keyword in PADDING):
        return
    is_signed = whole(dataset, "PixelRepresentation") == 1
    bits = [whole(dataset, keyword) for keyword in ("BitsStored", "BitsAllocated")]
    for keyword in PADDING:
        element = element_at(dataset, tag_of(keyword))
        if element is None:
            continue
        vr = element.VR
        try:
            values, _ = numbers_of(element, keyword, Form(is_whole=True))
        except (ValueError, OverflowError, struct.error) as error:
            mended.refuse(keyword, error)
            continue
        if not values:
            dataset[tag_of(keyword)] = DataElement(tag_of(keyword), standard_vr(keyword), None)
            continue
        stated = int(values[0])
        meant = _with_sign(stated, [count for count in bits if count and 0 < count <= 64], is_signed=is_signed)
        # Implicit VR does not say the sign; there the bytes alone are no misspelling.
        if (vr is not None and meant != stated) or vr not in (None, "US", "SS", "US or SS"):
            mended.notes.add(f"{keyword} {OTHERWISE}")
        dataset[tag_of(keyword)] = DataElement(tag_of(keyword), "SL", meant)


def _mend_tables(dataset: Dataset, tables: list[tuple[Dataset, str]], mended: Mended) -> None:
    """Bring the first value that a table maps to the sign of the pixels (PS3.3 C.11.1.1.1, C.7.6.3.1.5)."""
    for place, keyword in tables:
        element = element_at(place, tag_of(keyword))
        try:
            values, _ = numbers_of(element, keyword, TABLE)
            entries, first, bits = (int(value) for value in values)
        except (AttributeError, ValueError, OverflowError, struct.error) as error:
            mended.refuse(keyword, error)
            continue
        meant = _with_sign(first, [16], is_signed=whole(dataset, "PixelRepresentation") == 1)
        if meant != first and element.VR is not None:  # as above
            mended.notes.add(f"{keyword} {OTHERWISE}")
        place[tag_of(keyword)] = DataElement(tag_of(keyword), "SL", [entries & 0xFFFF, meant, bits])


def _with_sign(value: int, bits: list[int], *, is_signed: bool) -> int:
    """The value of a pixel that has the same bits; the value itself where no pixel has."""
    for count in bits:
        low, high = (-(1 << count - 1), (1 << count - 1) - 1) if is_signed else (0, (1 << count) - 1)
        for shifted in (value, value - (1 << count), value + (1 << count)):
            if low <= shifted <= high:
                return shifted
    return value
