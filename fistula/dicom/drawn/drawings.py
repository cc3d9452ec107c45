"""What is drawn on images, read from DICOM: segmentations, contours of radiotherapy, points of structured reports."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels

from fistula.dicom.container import Part, open_part
from fistula.dicom.drawn.points import Point, has_lines, names_of, points_of
from fistula.dicom.outcome import Refused, Skipped, damage_refused
from fistula.dicom.parse import number, read_dataset, sequence, text, whole
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.planes import Drawn, Plane, plane_of

CERTAIN = 0.5  # share of the largest value from which a pixel of a fractional segmentation is in its segment
OWN = "fistula"  # maker of what this program wrote: a prediction is no label
# Why survey passes over such an object, and what it is.
DRAWINGS = ("a segmentation", "a radiotherapy object")
REPORTS = ("a structured report",)


@dataclass(frozen=True)
class Segment:
    """What is drawn: its number in the object, its label, and further names that it goes by, such as codes."""

    number: int
    label: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contour:
    """A closed line around something."""

    segment: int  # number of the segment that it is of
    points: NDArray[np.float64]  # ``(N, 3)``, mm, in the axes of `fistula.dicom.pixels.planes.Plane`
    image: str = ""  # SOPInstanceUID of the image that it was drawn on; empty where it is not said


@dataclass
class Drawing:
    """All that one object or file draws."""

    segments: list[Segment] = field(default_factory=list)  # what it may have pixels, lines or points of
    drawn: list[Drawn] = field(default_factory=list)  # pixels
    # Pixels without a plane, by the image and frame that they are of.
    on_images: list[tuple[int, str, int, NDArray[np.bool_]]] = field(default_factory=list)
    contours: list[Contour] = field(default_factory=list)  # lines
    unclosed: set[int] = field(default_factory=set)  # numbers of the segments that have lines which are not closed
    points: list[Point] = field(default_factory=list)  # places
    grid: list[Plane] = field(default_factory=list)  # all planes of a volume, those without a marked pixel too
    is_placed: bool = True  # whether it says where it lies in a patient
    notes: tuple[str, ...] = ()  # what is odd about it
    images: set[str] = field(default_factory=set)  # SOPInstanceUIDs of the images that it says it is of
    space: str = ""  # FrameOfReferenceUID
    study: str = ""  # StudyInstanceUID


def read_drawing(part: Part, *, limit: int) -> Drawing:
    """Read a segmentation (binary, fractional or label map), a structure set, or the points of a report.

    Args:
        part: The object.
        limit: Bytes that it may unpack to.

    Raises:
        Skipped: If it is none of these, or this program wrote it.
        Refused: If it cannot be read.
    """
    with damage_refused(), open_part(part, limit=limit) as file:
        dataset = read_dataset(BytesIO(file.read()), limit=limit)
        if text(dataset, "Manufacturer").lower() == OWN:
            raise Skipped("written by fistula itself")
        found = Drawing(
            images=set(_referenced(dataset)),
            space=text(dataset, "FrameOfReferenceUID"),
            study=text(dataset, "StudyInstanceUID"),
        )
        if "SegmentSequence" in dataset or "SegmentationType" in dataset:
            _segmentation(dataset, found)
        elif "ROIContourSequence" in dataset or "StructureSetROISequence" in dataset:
            _structure_set(dataset, found)
        elif "ContentSequence" in dataset:
            found.points = list(points_of(dataset))
            found.images |= {point.image for point in found.points} - {""}
            found.notes = ("reports that also mark lines or areas, which are not points",) * has_lines(dataset)
        else:
            raise Skipped("no drawing")
        return found


def _referenced(dataset: Dataset) -> Iterator[str]:
    """UIDs of the images that an object names as its source, wherever it does."""
    for series in sequence(dataset, "ReferencedSeriesSequence"):
        for keyword in ("ReferencedInstanceSequence", "ReferencedSOPSequence"):
            yield from (text(item, "ReferencedSOPInstanceUID") for item in sequence(series, keyword))
    for space in sequence(dataset, "ReferencedFrameOfReferenceSequence"):
        for study in sequence(space, "RTReferencedStudySequence"):
            for series in sequence(study, "RTReferencedSeriesSequence"):
                yield from (text(item, "ReferencedSOPInstanceUID") for item in sequence(series, "ContourImageSequence"))


def _segmentation(dataset: Dataset, found: Drawing) -> None:
    kind = text(dataset, "SegmentationType").upper()
    if "TotalPixelMatrixRows" in dataset:
        raise Refused("a segmentation of a microscope's slide")
    segments = [_segment(item) for item in sequence(dataset, "SegmentSequence")]
    found.segments = [one for one in segments if one.number]  # a label map calls its background 0
    numbers = [segment.number for segment in found.segments]
    largest = number(dataset, "MaximumFractionalValue") or 255.0
    if "PixelData" not in dataset or not segments or (kind != "LABELMAP" and len(numbers) < len(segments)):
        raise Refused("a segmentation without pixels, or without the numbers of its segments")
    for index, values in enumerate(iter_pixels(dataset)):
        frame = Frame(dataset, index)
        source = _source_of(frame)
        found.images |= {source[0]} - {""}
        own = whole(frame.group("SegmentIdentificationSequence"), "ReferencedSegmentNumber")
        if own is None and kind != "LABELMAP" and len(numbers) != 1:
            raise Refused("a segmentation whose frames do not name their segment")
        layers = {own or numbers[0]: values >= CERTAIN * largest if kind == "FRACTIONAL" else values > 0}
        if kind == "LABELMAP":
            layers = {segment: values == segment for segment in numbers}
        for segment, pixels in layers.items():
            if not pixels.any():
                continue
            if (plane := plane_of(frame)) is not None:
                across = number(frame.group("PixelMeasuresSequence"), "SpacingBetweenSlices") or 0.0
                plane = replace(plane, thickness=abs(across) or plane.thickness)
                found.drawn.append(Drawn(segment, plane, pixels, source[0]))
            elif source[0]:
                found.on_images.append((segment, *source, pixels))
            else:
                raise Refused("a segmentation with neither position nor reference to an image")


def _segment(item: Dataset) -> Segment:
    names = []
    for code in sequence(item, "SegmentedPropertyTypeCodeSequence"):
        names += names_of(code)
    return Segment(whole(item, "SegmentNumber") or 0, text(item, "SegmentLabel"), tuple(names))


def _source_of(frame: Frame) -> tuple[str, int]:
    """The image that a frame of a segmentation was drawn on, and that image's frame; an empty UID where not said."""
    for group in frame.groups:
        for derivation in sequence(group, "DerivationImageSequence"):
            for source in sequence(derivation, "SourceImageSequence"):
                return text(source, "ReferencedSOPInstanceUID"), whole(source, "ReferencedFrameNumber") or 0
    return "", 0


def _structure_set(dataset: Dataset, found: Drawing) -> None:
    for item in sequence(dataset, "StructureSetROISequence"):
        found.segments.append(Segment(whole(item, "ROINumber") or 0, text(item, "ROIName")))
        found.space = found.space or text(item, "ReferencedFrameOfReferenceUID")
    for roi in sequence(dataset, "ROIContourSequence"):
        segment = whole(roi, "ReferencedROINumber") or 0
        for item in sequence(roi, "ContourSequence"):
            if not text(item, "ContourGeometricType").upper().startswith(("CLOSED_PLANAR", "POINT")):
                found.unclosed.add(segment)
                continue
            data = [float(value) for value in item.get("ContourData") or ()]
            if len(data) % 3 or not data or not np.isfinite(data).all():
                raise Refused("a contour whose points do not have three numbers each")
            if whole(item, "NumberOfContourPoints") not in (None, len(data) // 3):
                raise Refused("a contour of more or fewer points than it states", "Export it again")
            images = [text(image, "ReferencedSOPInstanceUID") for image in sequence(item, "ContourImageSequence")]
            found.images |= set(images) - {""}
            found.contours.append(Contour(segment, np.reshape(data, (-1, 3)), images[0] if images else ""))
    if {contour.segment for contour in found.contours} - {segment.number for segment in found.segments}:
        raise Refused("contours of a structure that it does not name")
