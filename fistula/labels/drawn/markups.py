"""Marked points of 3D Slicer: markups (.mrk.json) and its older lists of fiducials (.fcsv)."""

import csv
import json
from collections.abc import Iterator
from typing import Any

from fistula.dicom.drawn.drawings import Drawing, Point
from fistula.dicom.outcome import Refused

SUFFIXES = (".mrk.json", ".fcsv")
POINTS = ("Fiducial", "PointList")
DAMAGED = "marked points that cannot be read"
# What a file says of its axes, and what turns them into left, posterior, head.
SIGNS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1), "1": (1, 1, 1)}
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"  # where an older list names none


def is_markup(name: str) -> bool:
    """Whether a file's name is that of marked points."""
    return name.lower().endswith(SUFFIXES)


def read_markups(content: bytes, name: str) -> Drawing:
    """The points of a file, in left, posterior, head.

    Raises:
        Refused: If it is no such file, or does not say which axes its numbers are of.
    """
    try:
        text = content.decode("utf-8-sig")
        points = list(_list(text) if name.lower().endswith(".fcsv") else _markups(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise Refused(DAMAGED, "Save them again with 3D Slicer") from error
    return Drawing(points=points)


def _markups(said: dict[str, Any]) -> Iterator[Point]:
    for markup in said["markups"]:
        if markup.get("type", POINTS[0]) not in POINTS:
            raise Refused("marked lines or planes, not points", "Save the points as a list of their own")
        signs, unit = SIGNS[str(markup["coordinateSystem"])], str(markup.get("coordinateUnits", "mm"))
        if unit != "mm":
            raise Refused("marked points that are not in mm")
        for point in markup["controlPoints"]:
            if point.get("positionStatus", "defined") == "defined":
                yield _point(str(point.get("label", "")), point["position"], signs)


def _list(text: str) -> Iterator[Point]:
    system, columns = None, COLUMNS
    lines = []
    for line in text.splitlines():
        key, _, value = line.removeprefix("#").partition("=")
        if line.startswith("#"):
            system = value.strip() if key.strip() == "CoordinateSystem" else system
            columns = value.strip() if key.strip() == "columns" else columns
        elif line.strip():
            lines.append(line)
    if system not in SIGNS:
        raise Refused("marked points that do not say what their axes are", "Save them again with 3D Slicer")
    for row in csv.DictReader(lines, fieldnames=columns.split(",")):
        yield _point(row.get("label") or "", [row["x"], row["y"], row["z"]], SIGNS[system])


def _point(label: str, position: list[Any], signs: tuple[int, int, int]) -> Point:
    left, posterior, head = (sign * float(value) for sign, value in zip(signs, position, strict=True))
    if not all(abs(value) < 1e6 for value in (left, posterior, head)):  # not a number neither
        raise Refused(DAMAGED)
    return Point(label, (left, posterior, head))
