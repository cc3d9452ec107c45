"""Masks that are not DICOM: what they mark, and how it is called."""

import json
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fistula.dicom.container import Part, open_part
from fistula.dicom.drawn.drawings import Drawing, Segment
from fistula.dicom.outcome import Refused
from fistula.dicom.pixels.planes import Drawn
from fistula.source.files.pictures import read_picture
from fistula.source.files.volumes import is_volume, read_volume

MOST_VALUES = 255  # more are those of an image
LONGEST_NAMES = 1 << 24  # bytes of a file that names segments
SHARE = 0.5  # of the brightest value of a picture, from which its pixels are marked


def read_mask(part: Part, *, limit: int) -> Drawing:
    """Read a mask: a volume of whole numbers, or a picture that is bright where something is.

    It is NIfTI, NRRD (also 3D Slicer's, with names and layers), or a picture; `limit` is of the bytes unpacked.

    Raises:
        Refused: If it cannot be read, or is an image rather than a mask.
    """
    with open_part(part, limit=limit) as file:
        content = file.read()
    name = part.member or part.path.name
    if not is_volume(name):
        values = read_picture(content).values
        pixels = values >= max(SHARE * float(values.max()), 0.5)
        return Drawing(segments=[Segment(1, "mask")], on_images=[(1, "", 1, pixels)])
    volume, voxels = read_volume(content, name)
    values = _whole(np.asarray(voxels))
    planes = volume.planes()
    drawing = Drawing(grid=planes, is_placed=volume.is_placed, notes=volume.notes)
    layers = values[..., np.newaxis] if values.ndim == 3 else values
    for segment, layer, value in _segments(volume.header, layers):
        drawing.segments.append(segment)
        of = np.moveaxis(layers[..., layer] == value, volume.across, 0)
        for number in np.flatnonzero(of.any(axis=(1, 2))):
            drawing.drawn.append(Drawn(segment.number, planes[number], np.ascontiguousarray(of[number].T)))
    return drawing


def named_by_data_set(part: Part, segments: Iterable[Segment]) -> list[Segment]:
    """Segments with the names that nnU-Net's dataset.json gives their values, where one lies one folder up."""
    try:
        place = str(PurePosixPath(part.member).parent.parent / "dataset.json") if part.member else ""
        file = Part(part.path if place else part.path.parent.parent / "dataset.json", place)
        with open_part(file, limit=LONGEST_NAMES) as opened:
            said = json.loads(opened.read())["labels"]
        # {"0": "background", "1": "tumour"} in its first version, the other way round in its second.
        names = {int(key): str(value) for key, value in said.items()} if "0" in said else {}
        for name, values in {} if names else said.items():
            names |= {int(value): str(name) for value in (values if isinstance(values, list) else [values])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Refused):
        return list(segments)
    return [Segment(one.number, names.get(one.number, one.label), (one.label, *one.names)) for one in segments]


def _segments(header: Any, layers: NDArray) -> list[tuple[Segment, int, int]]:
    """Each segment with its layer and value."""
    if isinstance(header, dict) and "Segment0_LabelValue" in header:
        return list(_of_slicer(header))
    found = np.unique(layers[layers > 0])
    if len(found) > MOST_VALUES or layers.min() < 0 or layers.shape[-1] > 1:
        raise Refused("an image rather than a mask: more values than a mask has")
    return [(Segment(int(value), str(int(value))), 0, int(value)) for value in found]


def _of_slicer(header: dict[str, Any]) -> Iterable[tuple[Segment, int, int]]:
    """3D Slicer's own fields: a name, layer and value for each segment, its type as ~-separated codes."""
    number = 0
    while f"Segment{number}_LabelValue" in header:
        prefix = f"Segment{number}_"
        terms = re.search(r"TerminologyEntry:([^|]*)", str(header.get(f"{prefix}Tags", "")))
        parts = terms[1].split("~") if terms else []
        code = parts[2].split("^") if len(parts) > 2 else []
        names = (code[2], code[1], f"{code[0]}:{code[1]}") if len(code) == 3 and code[1] else ()
        segment = Segment(number + 1, str(header.get(f"{prefix}Name", number + 1)), names)
        yield segment, int(header.get(f"{prefix}Layer", 0)), int(header[f"{prefix}LabelValue"])
        number += 1


def _whole(values: NDArray) -> NDArray:
    if values.dtype.names is not None or np.iscomplexobj(values):
        raise Refused("an image rather than a mask: its values are not numbers")
    if np.issubdtype(values.dtype, np.floating):
        rounded = np.rint(values)
        if not np.array_equal(rounded, values):
            raise Refused("an image rather than a mask: its values are not whole numbers")
        return rounded.astype(np.int64)
    return values
