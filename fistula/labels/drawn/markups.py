"""Marked points of 3D Slicer: markups (.mrk.json) and its older lists of fiducials (.fcsv)."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fistula.dicom.drawn.drawings import Drawing
from fistula.dicom.drawn.points import Point
from fistula.dicom.outcome import Refused
from fistula.source.files.formats import stem_of

SUFFIXES = (".mrk.json", ".fcsv")
POINTS = ("Fiducial", "PointList")
UNPLACED = "points that were named but not placed, which are ignored"
PLACED = "2"  # of the two further cells that Slicer 5 writes without naming them: position status, automatic
OWN = re.compile(r"(F[-_])?\d*")  # a label that nobody wrote
DAMAGED = "marked points that cannot be read"
# What a file says of its axes, and what turns them into left, posterior, head.
SIGNS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1), "1": (1, 1, 1)}
COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"  # where an older list names none


def is_markup(name: str) -> bool:
    """Whether a file's name is that of marked points."""
    return name.lower().endswith(SUFFIXES)


def read_markups(content: bytes, name: str) -> Drawing:
    """The points of a file, in left, posterior, head; those that 3D Slicer named go by the file's name as well.

    Raises:
        Refused: If it is no such file, or does not say which axes its numbers are of.
    """
    try:
        text = content.decode("utf-8-sig")
        points = list(_list(text) if name.lower().endswith(".fcsv") else _markups(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise Refused(DAMAGED, "Save them again with 3D Slicer") from error
    stem = stem_of(name)
    placed = [replace(one, names=(stem,)) if OWN.fullmatch(one.label) else one for one in points if one is not None]
    return Drawing(points=placed, notes=(UNPLACED,) * (len(points) - len(placed)))


def _markups(said: dict[str, Any]) -> Iterator[Point | None]:
    for markup in said["markups"]:
        if markup.get("type", POINTS[0]) not in POINTS:
            raise Refused("marked lines or planes, not points", "Save the points as a separate list")
        signs, unit = SIGNS[str(markup["coordinateSystem"])], str(markup.get("coordinateUnits", "mm"))
        if unit != "mm":
            raise Refused("marked points that are not in mm")
        for point in markup["controlPoints"]:
            is_placed = point.get("positionStatus", "defined") == "defined"
            yield _point(str(point.get("label", "")), point["position"], signs) if is_placed else None


def _list(text: str) -> Iterator[Point | None]:
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
        raise Refused("marked points that do not state their axes", "Save them again with 3D Slicer")
    names = [name.strip() for name in columns.split(",")]
    for row in csv.DictReader(lines, fieldnames=names, restkey="further"):
        further = row.get("further") or [PLACED, ""]
        if len(further) != 2:  # numbers with decimal commas would move all columns
            raise Refused(DAMAGED, "Save them again with 3D Slicer")
        place = [row["x"], row["y"], row["z"]]
        yield _point((row.get("label") or "").strip(), place, SIGNS[system]) if further[0] == PLACED else None


def _point(label: str, position: list[Any], signs: tuple[int, int, int]) -> Point:
    left, posterior, head = (sign * float(value) for sign, value in zip(signs, position, strict=True))
    if not all(abs(value) < 1e6 for value in (left, posterior, head)):  # not a number neither
        raise Refused(DAMAGED)
    return Point(label, (left, posterior, head))
