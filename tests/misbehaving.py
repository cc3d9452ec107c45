"""Small MR archives that misbehave: tilts, several b-values, one id for all, a series a slice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIDE = 32


@dataclass(frozen=True)
class Image:
    """One image of an archive, and what its header says otherwise than `write_dicom` would.

    Attributes:
        patient: Number of the person.
        place: Number in the stack, from 0.
        uid: Of the instance.
        attributes: DICOM attributes.
    """

    patient: int
    place: int
    uid: str
    attributes: dict = field(default_factory=dict)


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
        Image(
            one.patient,
            one.place,
            one.uid,
            one.attributes
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
        Image(one.patient, one.place, f"{one.uid}{index}", one.attributes | {"DiffusionBValue": value})
        for one in images
        for index, value in enumerate(values)
    ]


def one_id(images: list[Image], word: str = "ANONYMOUS", **attributes) -> list[Image]:
    """Everybody under one PatientID."""
    said = {"PatientID": word, "PatientBirthDate": ""} | attributes
    return [Image(one.patient, one.place, one.uid, one.attributes | said) for one in images]


def write(folder: Path, images: list[Image], write_dicom: Callable) -> Path:
    """Write the images; a folder a patient."""
    for number, one in enumerate(images):
        path = folder / f"{one.patient:02d}" / f"{number:04d}.dcm"
        write_dicom(path, anatomy(one.patient, one.place), SOPInstanceUID=one.uid, **one.attributes)
    return folder


def write_labels(path: Path, lines: list[str], *, header: str = "sop_instance_uid,label") -> Path:
    """Write a table of labels."""
    path.write_text("\n".join([header, *lines]) + "\n")
    return path
