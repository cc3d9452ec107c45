"""Judge the reading of real DICOM files by two others: pixel values by pydicom, places by dcm2niix.

    python benchmarks/real_files.py FOLDER [--every 40] [--nifti FOLDER]

Of every so many images below FOLDER both decode the first, middle and last frame. With `--nifti` (needs nibabel) the
volumes that dcm2niix wrote of the same files are searched for each slice's stored values, and the slice's position
and pixel spacing are compared with the volume's affine. Ends with 1 if anything differs.
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut

from fistula.dicom.container import open_part, parts_of
from fistula.dicom.header.facts import frame_facts
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.kinds import require_image
from fistula.dicom.outcome import NotTaken
from fistula.dicom.parse import read_dataset, read_header
from fistula.dicom.pixels.decode import decode
from fistula.dicom.tree import find_files

LIMIT = 2 << 30
NAMES = Pseudonyms(b"no name leaves this script")
SAME_MM = 0.05


def images(folder: Path) -> Iterator[tuple[str, bytes, list[dict[str, Any]]]]:
    """Name, content and facts by frame of every image below a folder."""
    for path in find_files(folder)[0]:
        try:
            for part in parts_of(path):
                with open_part(part, limit=LIMIT) as file:
                    content = file.read()
                header = read_header(BytesIO(content), limit=LIMIT)
                require_image(header)
                yield (
                    f"{path}/{part.member}".rstrip("/"),
                    content,
                    frame_facts(header, pseudonyms=NAMES, description=""),
                )
        except NotTaken:
            continue


def by_pydicom(content: bytes, index: int) -> NDArray[np.float64] | None:
    """Values of one frame after the modality transform; None for colour, and where pydicom cannot tell."""
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    if dataset.get("SamplesPerPixel", 1) != 1 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return None
    try:
        stored = dataset.pixel_array
    except (AttributeError, RuntimeError, ValueError):
        return None
    frame = stored[index] if stored.ndim == 3 else stored
    own = list(dataset.get("PerFrameFunctionalGroupsSequence", []))[index : index + 1]
    for group in [*own, *dataset.get("SharedFunctionalGroupsSequence", [])]:
        if transform := group.get("PixelValueTransformationSequence"):
            return frame * float(transform[0].RescaleSlope) + float(transform[0].RescaleIntercept)
    return np.asarray(apply_modality_lut(frame, dataset), np.float64)


def compare_values(folder: Path, every: int) -> Counter[str]:
    """How many frames have pydicom's values."""
    counts: Counter[str] = Counter()
    for number, (name, content, facts) in enumerate(images(folder)):
        if number % every:
            continue
        frames = sorted({0, len(facts) // 2, len(facts) - 1})
        try:
            pictures = list(decode(read_dataset(BytesIO(content), limit=LIMIT), frames))
        except NotTaken as outcome:
            counts[f"refused: {outcome.reason}"] += 1
            continue
        for index, picture in zip(frames, pictures, strict=True):
            expected = by_pydicom(content, index)
            if expected is None:
                counts["frames that pydicom cannot judge"] += 1
            elif np.allclose(picture.values, expected, rtol=1e-5, atol=1e-4):
                counts["frames with pydicom's values"] += 1
            else:
                counts["DIFFER from pydicom"] += 1
                print(f"differs from pydicom: {name}, frame {index}")
    return counts


def signature(stored: NDArray[Any]) -> tuple[int, ...]:
    """The same for a slice however it is turned."""
    values = np.asarray(stored, np.int64).ravel()
    return values.size, *(int((values**power).sum()) for power in (1, 2, 3))


def compare_places(folder: Path, nifti: Path) -> Counter[str]:
    """How many volumes of dcm2niix have our positions and spacings."""
    import nibabel

    known: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for _, content, facts in images(folder):
        dataset = read_dataset(BytesIO(content), limit=LIMIT)
        try:
            stored = np.asarray(dataset.pixel_array).reshape(len(facts), -1)
        except (AttributeError, RuntimeError, ValueError):
            continue
        for own, fact in zip(stored, facts, strict=True):
            if fact["position_mm"] is not None and fact["spacing_row"]:
                known.setdefault(signature(own), []).append(fact)
    counts: Counter[str] = Counter()
    for path in sorted(nifti.rglob("*.nii*")):
        image: Any = nibabel.load(path)
        volumes = np.asarray(image.dataobj.get_unscaled())
        if volumes.dtype.names is not None:
            continue  # colour
        volumes = volumes.reshape(*volumes.shape[:3], -1)
        for number in sorted({0, volumes.shape[3] // 2, volumes.shape[3] - 1}):
            worst = _worst(volumes[..., number], image.affine, known)
            word = "not of these slices" if worst is None else "with our places" if worst <= SAME_MM else "DIFFER"
            counts[f"volumes of dcm2niix {word}"] += 1
            if word == "DIFFER":
                print(f"differs from dcm2niix: {path}, volume {number}, by {worst:.3f} mm")
    return counts


def _worst(volume: NDArray[Any], affine: NDArray[np.float64], known: dict[Any, list[dict[str, Any]]]) -> float | None:
    """The largest difference of a position or a spacing in mm; None if the slices of no axis are known."""
    for axis in range(3):
        slices = [known.get(signature(np.take(volume, index, axis=axis))) for index in range(volume.shape[axis])]
        if any(found is None for found in slices):
            continue
        to_patient = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]  # NIfTI's right is DICOM's left, its front the back
        rows, columns = (to_patient[:, other] for other in range(3) if other != axis)
        normal = np.cross(rows, columns) / np.linalg.norm(np.cross(rows, columns))
        places = [float(normal @ (to_patient[:, axis] * index + to_patient[:, 3])) for index in range(len(slices))]
        far = [
            max(
                min(abs(sign * place - fact["position_mm"]) for fact in found or [])
                for place, found in zip(places, slices, strict=True)
            )
            for sign in (1, -1)
        ]
        fact = (slices[0] or [])[0]
        spacing = np.sort([fact["spacing_row"], fact["spacing_col"]]) - np.sort(np.linalg.norm([rows, columns], axis=1))
        return max(min(far), float(np.abs(spacing).max()))
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("--nifti", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's, of values that break the standard
    counts = compare_values(asked.folder, asked.every)
    if asked.nifti:
        counts += compare_places(asked.folder, asked.nifti)
    for what, count in sorted(counts.items()):
        print(f"{count:7} {what}")
    sys.exit(any("DIFFER" in what for what in counts))


if __name__ == "__main__":
    main()
