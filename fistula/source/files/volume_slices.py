"""Slices of volumes that are not DICOM: their grey values, and what is known of each without them."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fistula.dicom.container import Part
from fistula.dicom.outcome import Refused
from fistula.dicom.pixels.decode import LUMA, Picture
from fistula.dicom.pixels.geometry import position_along, stance
from fistula.source.files.volumes import read_volume, read_volume_header


def volume_pictures(content: bytes, name: str, frames: Sequence[int]) -> Iterator[Picture]:
    """Slices of a volume; frames count slices along the acquired axis, then volumes.

    One that raises does not end those after it.

    Raises:
        Refused: If it cannot be read, or has complex numbers.
    """
    volume, voxels = read_volume(content, name)
    return map(partial(_picture, volume, voxels), frames)


def _picture(volume: Any, voxels: Any, frame: int) -> Picture:
    time, number = divmod(frame, volume.shape[volume.across])
    index: list[Any] = [slice(None)] * 3
    index[volume.across] = number
    if len(voxels.shape) > 3:
        index.append(time)
    try:
        values = np.asarray(voxels[tuple(index)])
    except Exception as error:
        raise Refused("a damaged volume", "Export it again") from error
    values = _grey(values).T  # what is left of the axes are columns, rows
    inside = np.isfinite(values)
    if not inside.any():
        raise Refused("a slice without a finite value")
    column, row = (axis for axis in range(3) if axis != volume.across)
    return Picture(
        values=np.ascontiguousarray(np.where(inside, values, values[inside].min()), np.float32),
        inside=None if inside.all() else inside,
        spacing=(volume.spacing[row], volume.spacing[column]),
        decoder="pynrrd" if isinstance(volume.header, dict) else "nibabel",
    )


def volume_facts(part: Part, *, limit: int) -> list[dict[str, Any]]:
    """One record a slice with the geometry that an image of DICOM would have; a volume names nobody.

    Raises:
        NotTaken: If it cannot be read.
    """
    volume = read_volume_header(part, limit=limit)
    planes = volume.planes()
    first = planes[0]
    lies = stance([*first.along, *first.down]) if volume.is_placed else None
    notes = list(volume.notes)
    if lies is None:
        notes.append("no orientation: unchanged")
    shared = {
        "frames": len(planes) * volume.times,
        "rows": first.shape[0],
        "columns": first.shape[1],
        "spacing_row": first.spacing[0],
        "spacing_col": first.spacing[1],
        "cosines": list(lies.cosines) if lies else None,
        "orientation": lies.orientation if lies else "",
        "tilt_degrees": lies.tilt_degrees if lies else None,
        "turned": lies.turned if lies else "",
        "syntax": "VR",  # read without a decoder in C that could end the process
        "notes": "|".join(notes),
    }
    # As for DICOM: along the normal of the slice as it is stored.
    across = np.cross(lies.cosines[:3], lies.cosines[3:]) if lies else first.normal
    across = across / np.linalg.norm(across)
    return [
        shared
        | {
            "frame": time * len(planes) + number,
            "instance_number": number + 1,
            "position_mm": position_along(across, plane.corner.tolist()),
            "acquisition": f"volume {time + 1}" if volume.times > 1 else "",
        }
        for time in range(volume.times)
        for number, plane in enumerate(planes)
    ]


def _grey(values: NDArray) -> NDArray:
    if values.dtype.names is not None:  # red, green, blue
        colours = np.stack([values[name].astype(np.float32) for name in values.dtype.names[:3]], axis=-1)
        grey: NDArray = colours @ LUMA
        return grey
    if np.iscomplexobj(values):
        raise Refused("complex numbers", "Save the magnitude as a separate volume")
    with np.errstate(over="ignore"):
        narrow: NDArray = values.astype(np.float32)
    if np.isfinite(values[np.isinf(narrow)]).any():
        raise Refused("values beyond the range of 32-bit numbers", "Scale them, and save the volume again")
    return narrow
