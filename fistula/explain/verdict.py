"""What `fistula explain` found out about a run's maps, in words, to stand wherever the maps are shown."""

import json
from pathlib import Path
from typing import Any

from fistula.errors import DataError

KEPT = "explain.json"
MADE_OF = {"map": "the map that the score is made of", "grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++"}


def read_kept(run: Path) -> dict[str, Any]:
    """What was found out about a run's maps, by their method; empty where nothing was, DataError if that is damaged."""
    path = run / KEPT
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise DataError(
            path, f"cannot be read ({error})", remedy="Remove it; fistula explain makes it again"
        ) from error
    return kept


def say_length(value: str, unit: str) -> str:
    """A length with its unit; a percentage stands without a space.

    Example:
        >>> say_length("5", "mm"), say_length("5", "% of the side")
        ('5 mm', '5% of the side')
    """
    return f"{value}{unit}" if unit.startswith("%") else f"{value} {unit}"


def say_verdict(run: Path, *, method: str) -> str:
    """Whether a run's maps point at the finding, in one or two sentences.

    They are said to point at it where the lower end of the 95% CI of their hits lies above what one fixed point and
    a random one achieve.
    """
    found = read_kept(run).get(method)
    if found is None:
        return "Whether these maps point at the finding was not tested (fistula explain): do not use them to locate it."
    maps, fixed, chance = found["maps"], found["mean_opening"]["hits"], found["random_point"]["hits"]
    number = f"{maps['slices']} test slice{'s' if maps['slices'] > 1 else ''}"
    limit = say_length(f"{found['tolerance_mm']:g}", found.get("unit", "mm"))
    said = (
        f"The peaks of these maps were within {limit} of the reference location in {maps['hits']:.0%} of {number}; "
        f"the mean location in the training patients, in {fixed:.0%}; a random point of the body, in {chance:.0%}"
    )
    points = maps["hits_low"] is not None and maps["hits_low"] > max(fixed, chance)
    said += ". They point at the finding." if points else ". Do not use them to locate the finding."
    return said if found["learned"] is not False else f"{said} They hardly depend on what the network learned."
