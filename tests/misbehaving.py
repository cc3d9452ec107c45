"""Small MR archives that misbehave: tilts, vendors, several b-values, wrong types, one id for all, a series a slice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

SIDE = 32
# Maker, model, and private elements: a creator's block, then what stands in it. One in two has the block of another.
VENDORS = (
    ("Philips Medical Systems", "Ingenia", (
        (0x20050010, "LO", "Philips MR Imaging DD 001"), (0x2005100E, "FL", 0.004), (0x20051011, "CS", "W"),
    )),
    ("SIEMENS", "Skyra", ((0x00190010, "LO", "SIEMENS MR HEADER"), (0x0019100C, "IS", "0"))),
    ("GE MEDICAL SYSTEMS", "Signa HDxt", ((0x00430010, "LO", "GEMS_PARM_01"), (0x0043102F, "SS", 0))),
    ("TOSHIBA", "Titan", ((0x20050010, "LO", "TOSHIBA_MEC_MR3"), (0x2005100E, "FL", 99.0))),  # no scale slope
    ("UIH", "uMR 780", ((0x00190010, "LO", "UIH"), (0x0019100C, "IS", "800"))),  # no b-value
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """One image of an archive, and what its header says otherwise than `write_dicom` would.

    Attributes:
        patient: Number of the person.
        place: Number in the stack, from 0.
        uid: Of the instance.
        attributes: DICOM attributes.
        elements: Further ones as tag or keyword, value representation and value, put over the others as they are.
    """

    patient: int
    place: int
    uid: str
    attributes: dict = field(default_factory=dict)
    elements: tuple[tuple[Any, str, Any], ...] = ()


def anatomy(patient: int, place: int, *, gain: float = 1.0) -> np.ndarray:
    """A body whose signal rises along the stack, uint16 ``(SIDE, SIDE)``: of no bearing on labels."""
    random = np.random.default_rng([patient, place])
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = (rows / 0.8) ** 2 + (columns / 0.9) ** 2 < 1
    signal = 300 + 150 * place + 80 * random.random((SIDE, SIDE))
    return (gain * (body * signal + 20 * random.random((SIDE, SIDE)))).astype(np.uint16)


def stack(patient: int, *, slices: int = 6, tilt: float = 0.0, **attributes) -> Iterator[Image]:
    """A patient's slices, 3 mm apart, tilted by so many degrees about the left-right axis."""
    down, back = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    for place in range(slices):
        where = {
            "ImageOrientationPatient": [1, 0, 0, 0, float(down), float(back)],
            "ImagePositionPatient": [0, float(-back * 3 * place), float(down * 3 * place)],
            "PixelSpacing": [1, 1],
            "InstanceNumber": place + 1,
            "PatientID": f"P{patient:02d}",
            "PatientBirthDate": f"19{50 + patient % 40}0101",
            "StudyInstanceUID": f"2.25.9{patient:02d}",
            "SeriesInstanceUID": f"2.25.8{patient:02d}",
        }
        yield Image(patient, place, f"2.25.7{patient:02d}{place:02d}", where | attributes)


def cohort(patients: int = 8, **options) -> list[Image]:
    """Stacks of so many patients."""
    return [image for patient in range(patients) for image in stack(patient, **options)]


def series_a_slice(images: list[Image]) -> list[Image]:
    """Every slice under a SeriesInstanceUID of its own, as some scanners export."""
    return [
        replace(
            one,
            attributes=one.attributes
            | {
                "SeriesInstanceUID": f"2.25.6{one.patient:02d}{one.place:02d}",
                "SeriesNumber": 7,
                "FrameOfReferenceUID": f"2.25.5{one.patient:02d}",
            },
        )
        for one in images
    ]


def b_values(images: list[Image], values: tuple[float, ...] = (0.0, 800.0)) -> list[Image]:
    """Every slice once a b-value, in one series and under one image number."""
    return [
        replace(one, uid=f"{one.uid}{index}", attributes=one.attributes | {"DiffusionBValue": value})
        for one in images
        for index, value in enumerate(values)
    ]


def one_id(images: list[Image], word: str = "ANONYMOUS", **attributes) -> list[Image]:
    """Everybody under one PatientID."""
    said = {"PatientID": word, "PatientBirthDate": ""} | attributes
    return [replace(one, attributes=one.attributes | said) for one in images]


def vendors(images: list[Image]) -> list[Image]:
    """Each patient from the next maker's scanner, with its private elements, or another's at the same place."""
    found = []
    for one in images:
        maker, model, elements = VENDORS[one.patient % len(VENDORS)]
        said = {"Manufacturer": maker, "ManufacturerModelName": model}
        found.append(replace(one, attributes=one.attributes | said, elements=one.elements + elements))
    return found


def written_as(images: list[Image], keyword: str, vr: str, value: Any) -> list[Image]:
    """One attribute of every image in a value representation that is not its own."""
    return [replace(one, elements=(*one.elements, (keyword, vr, value))) for one in images]


def write(folder: Path, images: list[Image], write_dicom: Callable) -> Path:
    """Write the images; a folder a patient."""
    for number, one in enumerate(images):
        path = folder / f"{one.patient:02d}" / f"{number:04d}.dcm"
        image = write_dicom(path, anatomy(one.patient, one.place), SOPInstanceUID=one.uid, **one.attributes)
        for tag, vr, value in one.elements:
            image[Tag(tag)] = DataElement(Tag(tag), vr, value)
        if one.elements:
            image.save_as(path)
    return folder


def write_labels(path: Path, lines: list[str], *, header: str = "sop_instance_uid,label") -> Path:
    """Write a table of labels."""
    path.write_text("\n".join([header, *lines]) + "\n")
    return path
