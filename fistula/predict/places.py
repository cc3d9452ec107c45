"""Where a finding is, for each patient: the most suspicious slices, with point, distance and clock position."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from fistula.cohort.order import in_source
from fistula.evidence.places.clock import clock_hours
from fistula.predict.runs.model import LoadedRun
from fistula.predict.source import Slices

MOST = 3  # slices named for a patient
NEAR = 1.0  # pixels of the grid from the canal's centre, within which a direction says nothing
ABSTAINED = "the patient's answer is abstain"
BELOW = "below the threshold: where a finding would be, not a finding"
SCHEMA: dict[str, Any] = {
    "patient_key": pl.String,
    "rank": pl.Int64,  # 1 is the most suspicious
    "slice_key": pl.String,
    "series_uid": pl.String,
    "instance_uid": pl.String,
    "frame": pl.Int64,
    "image_number": pl.Int64,
    "position_mm": pl.Float64,
    "score": pl.Float64,  # of the slice
    "peak": pl.Float64,  # height of the map at the point, in [0, 1]
    "row": pl.Float64,  # in the source image, the centre of the first pixel at 0
    "col": pl.Float64,
    "clock": pl.Float64,  # hours in (0, 12]
    "from_canal_mm": pl.Float64,
    "canal_row": pl.Float64,
    "canal_col": pl.Float64,
    "remarks": pl.String,
}
ON_GRID = ("grid_row", "grid_col", "grid_canal_row", "grid_canal_col")  # the points in pixels of the scored slice


def places_of(
    slices: Slices,
    scored: pl.DataFrame,
    patients: pl.DataFrame,
    marks: Tensor,
    *,
    run: LoadedRun,
    spacing_mm: float,
) -> pl.DataFrame | None:
    """The most suspicious slices of each patient, at most `MOST`, with what is to be seen where.

    The clock position is that of `fistula.evidence.places.clock`; it stands beside axial slices alone, where the runs
    know the anal canal, and not within `NEAR` of its centre. Distances are null for slices without pixel spacing.

    Patients come with their `answer` and `marks`; the marks of the slices' maps are ``(N, M, 3)``, in pixels of the
    grid, as `fistula.predict.scores.look` gives them. `run` is one of those that scored, `spacing_mm` the grid's.

    Returns:
        Columns as in `SCHEMA`, the most suspicious slice first, and `ON_GRID`;
        None for runs that find no places.
    """
    kinds = run.classifier.head.kinds
    if not kinds:
        return None
    points = {kind: marks[:, number].double().numpy() for number, kind in enumerate(kinds)}
    opening, canal = points["opening"], points.get("canal", np.full((len(marks), 3), np.nan))
    hours, far = _from_canal(slices.table, opening, canal, spacing_mm=spacing_mm)
    answers = {row["patient_key"]: row for row in patients.iter_rows(named=True)}
    scores, keys = scored["score"].to_numpy(), scored["patient_key"].to_numpy()
    rows = []
    for key in patients["patient_key"]:
        own = np.flatnonzero(keys == key)
        for rank, index in enumerate(own[np.argsort(-scores[own], kind="stable")][:MOST], start=1):
            facts = scored.row(int(index), named=True)
            is_below = facts["decision"] == run.classes[0]
            source, middle = (_in_source(kind[index], facts) for kind in (opening, canal))
            said = {name: facts[name] for name in SCHEMA if name in facts}  # a survey has a `row` of its own
            rows.append(
                said
                | {
                    "patient_key": key,
                    "rank": rank,
                    "peak": float(opening[index, 2]),
                    "row": source[0],
                    "col": source[1],
                    "clock": _known(hours[index]),
                    "from_canal_mm": _known(far[index]),
                    "canal_row": middle[0],
                    "canal_col": middle[1],
                    "remarks": "; ".join(_remarks(answers[key], is_below=is_below)),
                    "grid_row": _known(opening[index, 0]),
                    "grid_col": _known(opening[index, 1]),
                    "grid_canal_row": _known(canal[index, 0]),
                    "grid_canal_col": _known(canal[index, 1]),
                }
            )
    return pl.DataFrame(rows, schema=SCHEMA | dict.fromkeys(ON_GRID, pl.Float64))


def say_clock(hours: float | None) -> str:
    """A clock position as a surgeon says it: whole hours.

    Example:
        >>> say_clock(6.2), say_clock(0.3), say_clock(None)
        ("6 o'clock", "12 o'clock", '')
    """
    return "" if hours is None else f"{round(hours) % 12 or 12} o'clock"


def say_place(place: Mapping[str, Any]) -> str:
    """Where a finding would be, as one says it to a surgeon; empty for a slice whose map has no peak.

    A place is a row of `places_of`.

    Example:
        >>> place = {"image_number": 17, "position_mm": -23.4, "row": 80.2, "clock": 6.2, "from_canal_mm": 11.8}
        >>> say_place(place)
        "image 17 (position -23.4 mm), at 6 o'clock, 12 mm from the center of the anal canal"
    """
    if place["row"] is None:
        return ""
    said = "a slice without a number" if place["image_number"] is None else f"image {place['image_number']}"
    if place["position_mm"] is not None:
        said += f" (position {place['position_mm']:.1f} mm)"
    if place["clock"] is not None:
        said += f", at {say_clock(place['clock'])}"
    if place["from_canal_mm"] is not None:
        said += f", {place['from_canal_mm']:.0f} mm from the center of the anal canal"
    return said


def _from_canal(
    table: pl.DataFrame, opening: NDArray[np.float64], canal: NDArray[np.float64], *, spacing_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours and mm from the canal's centre, each ``(N,)``; NaN where they are not known."""
    is_axial = (table["orientation"] == "axial").fill_null(value=False).to_numpy()
    states_spacing = table["spacing_row"].is_not_null().to_numpy()
    far = np.hypot(*(opening[:, :2] - canal[:, :2]).T)
    hours = np.where(is_axial & (far >= NEAR), clock_hours(opening[:, :2], canal[:, :2]), np.nan)
    return hours, np.where(states_spacing, far * spacing_mm, np.nan)


def _remarks(answer: dict[str, Any], *, is_below: bool) -> Sequence[str]:
    said = [ABSTAINED] if answer["answer"] == "abstain" else []
    return [*said, *([answer["marks"]] if answer["marks"] else []), *([BELOW] if is_below else [])]


def _in_source(mark: NDArray[np.float64], facts: dict[str, Any]) -> tuple[float | None, float | None]:
    if np.isnan(mark[0]):
        return None, None
    row, column = in_source((float(mark[0]), float(mark[1])), facts)
    return round(row, 2), round(column, 2)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
