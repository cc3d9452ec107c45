"""Marked points, and how structured reports say them (TID 1500)."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from fistula.dicom.outcome import Refused
from fistula.dicom.parse import sequence, text, whole

FINDING = "121071"  # DCM, "Finding" (PS3.16 TID 1501)
NUMBERS = {"SCOORD": 2, "SCOORD3D": 3}  # of a point in an image, and in the patient


@dataclass(frozen=True)
class Point:
    """A marked place."""

    label: str  # what is marked
    place: tuple[float, float, float] | None  # left, posterior, head in mm; None for a place in an image's own pixels
    image: str = ""  # SOPInstanceUID of the image; empty where it is not said
    frame: int = 0  # of that image, from 1; 0 where it is not said, which is enough for an image of one frame
    pixel: tuple[float, float] | None = None  # row and column in that image, the first pixel's centre at 0
    names: tuple[str, ...] = ()  # what else the finding goes by, such as codes
    space: str = ""  # FrameOfReferenceUID that `place` is in; empty where it is not said


def points_of(item: Dataset, finding: tuple[str, ...] = ()) -> Iterator[Point]:
    """Points of a report's content tree; what is found is said by an item beside them or further up (TID 1410)."""
    children = sequence(item, "ContentSequence")
    for child in children:
        if any(text(code, "CodeValue") == FINDING for code in sequence(child, "ConceptNameCodeSequence")):
            finding = _concept(child, "ConceptCodeSequence") or (
                (text(child, "TextValue"),) if "TextValue" in child else finding
            )
    for child in children:
        kind, graphic = text(child, "ValueType").upper(), text(child, "GraphicType").upper()
        name, *names = finding or _concept(child, "ConceptNameCodeSequence") or ("",)
        if kind in NUMBERS and graphic == "POINT":
            data = [float(value) for value in child.get("GraphicData") or ()]
            if len(data) != NUMBERS[kind]:
                raise Refused(f"a point that is not {NUMBERS[kind]} numbers")
            if kind == "SCOORD3D":
                space = text(child, "ReferencedFrameOfReferenceUID")
                yield Point(name, (data[0], data[1], data[2]), names=tuple(names), space=space)
            else:
                uid, frame = _selected(child)
                # Coordinates count from the corner of the first pixel (PS3.3 C.18.6.1.1).
                yield Point(name, None, uid, frame, (data[1] - 0.5, data[0] - 0.5), tuple(names))
        yield from points_of(child, finding)


def has_lines(item: Dataset) -> bool:
    """Whether a report's tree has coordinates that are of no single point."""
    is_line = text(item, "ValueType").upper() in NUMBERS and text(item, "GraphicType").upper() != "POINT"
    return is_line or any(has_lines(child) for child in sequence(item, "ContentSequence"))


def _selected(item: Dataset) -> tuple[str, int]:
    """The image in which a point is marked, and its frame; 0 where none is named."""
    for child in sequence(item, "ContentSequence"):
        for image in sequence(child, "ReferencedSOPSequence"):
            if "\\" in text(image, "ReferencedFrameNumber"):
                raise Refused("a point assigned to several frames")
            return text(image, "ReferencedSOPInstanceUID"), whole(image, "ReferencedFrameNumber") or 0
    raise Refused("a point without its image")


def _concept(item: Dataset, keyword: str) -> tuple[str, ...]:
    return next((tuple(names_of(code)) for code in sequence(item, keyword)), ())


def names_of(code: Dataset) -> list[str]:
    """What a coded concept goes by: its meaning, its value, and scheme and value."""
    value, scheme = text(code, "CodeValue"), text(code, "CodingSchemeDesignator")
    return [name for name in (text(code, "CodeMeaning"), value, f"{scheme}:{value}") if name.strip(":")]
