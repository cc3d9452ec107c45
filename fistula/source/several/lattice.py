"""Where the pixels of a volume lie in the patient, and where in a volume a point of the patient lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.dicom.pixels.geometry import (
    BY_LOCATION,
    TURNS,
    found_cosines,
    found_point,
    normal,
    position_along,
    same_direction,
)

Floats = NDArray[np.floating]
ONE_POSITION = "one ImagePositionPatient for all slices, positioned by SliceLocation"
ONE_LOCATION = "one SliceLocation for all slices, and no other position"
HOLE = 0.75  # distances of slices, from the nearest one: half of where `spacing_notes` finds one missing
SHIFTED_MM = 5.0  # by which places in the plane of a stack differ that are of another field of view
SHIFTED = 5  # times that of the other slices: those of a tilted gantry are all shifted
FEW = 4  # slices, of fewer than which any two or three may lie on a line
STRAIGHT_MM = 0.5  # how far what lies on one line may lie from it
NEAR = 1e-3  # mm, and pixels: what rounding may move


@dataclass(frozen=True)
class Lattice:
    """The slices of a volume in the stored orientation, in the order of their positions."""

    along: Floats  # direction in which columns count up, in patient coordinates, ``(3,)``
    down: Floats  # direction in which rows count up
    spacing: tuple[float, float]  # distance of rows, of columns in mm
    shape: tuple[int, int]  # rows and columns
    corners: Floats  # centres of the slices' first pixels, mm, ``(N, 3)``
    order: NDArray[np.int64]  # which row of the table each slice is, ``(N,)``

    @cached_property
    def normal(self) -> Floats:
        """Direction in which positions count up."""
        across = np.cross(self.along, self.down)
        return across / np.linalg.norm(across)

    @cached_property
    def positions(self) -> Floats:
        """Of the slices along the normal, mm, ``(N,)``."""
        return self.corners @ self.normal

    @cached_property
    def gap(self) -> float:
        """Median distance of neighbouring slices in mm; of a single one, the distance of its rows."""
        gaps = np.diff(self.positions)
        gaps = gaps[gaps > NEAR]
        return float(np.median(gaps)) if len(gaps) else self.spacing[0]

    @cached_property
    def middle(self) -> Floats:
        """Of the volume."""
        return (self.middle_of(0) + self.middle_of(len(self.corners) - 1)) / 2

    def middle_of(self, number: int) -> Floats:
        """Of a slice."""
        return self.points(number, (self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2)

    def points(self, number: int, rows: Floats | float, columns: Floats | float) -> Floats:
        """Places ``(..., 3)`` in mm of rows and columns of a slice, which are broadcast."""
        rows, columns = np.asarray(rows)[..., None], np.asarray(columns)[..., None]
        return self.corners[number] + rows * self.spacing[0] * self.down + columns * self.spacing[1] * self.along

    def indices(self, points: Floats) -> Floats:
        """Slice, row and column of places ``(..., 3)``, as fractions, ``(3, ...)``.

        Between slices corners are interpolated, so that slices that are shifted against each other (a tilted gantry)
        lie where they should. Beyond the first and the last slice it goes on at the distance of slices.
        """
        z = points @ self.normal
        numbers = np.arange(len(self.corners), dtype=float)
        slices = np.interp(z, self.positions, numbers)
        slices = slices + np.where(z < self.positions[0], (z - self.positions[0]) / self.gap, 0)
        slices = slices + np.where(z > self.positions[-1], (z - self.positions[-1]) / self.gap, 0)
        corner = np.stack([np.interp(z, self.positions, axis) for axis in self.corners.T], axis=-1)
        offset = points - corner
        return np.stack([slices, offset @ self.down / self.spacing[0], offset @ self.along / self.spacing[1]])


def reached(lattice: Lattice, indices: Floats) -> NDArray[np.bool_]:
    """Which of the places at these `indices` lie in a pixel of the volume: within half of one of its centres.

    Where a slice is missing, what lies further than `HOLE` from its neighbours is no part of the volume.
    """
    slices, rows, columns = indices
    inside = np.ones(slices.shape, bool)
    for index, side in ((rows, lattice.shape[0]), (columns, lattice.shape[1])):
        inside &= (index >= -0.5 - NEAR) & (index <= side - 0.5 + NEAR)
    inside &= (slices >= -0.5 - NEAR) & (slices <= len(lattice.corners) - 0.5 + NEAR)
    whole = np.clip(np.floor(slices), 0, max(0, len(lattice.corners) - 2)).astype(int)
    steps = np.append(np.diff(lattice.positions), lattice.gap)[whole]
    part = (slices - whole) * steps
    return inside & ((part <= HOLE * lattice.gap) | (steps - part <= HOLE * lattice.gap) | (slices < 0))


def lattice_of(rows: pl.DataFrame) -> Lattice:
    """The lattice of a volume's slices: columns ``cosines corner spacing_row spacing_col rows columns turned``."""
    first = rows.row(0, named=True)
    turned = first["turned"] or ""
    along, down = np.array(first["cosines"]).reshape(2, 3)
    along, down = along / np.linalg.norm(along), down / np.linalg.norm(down)
    is_transposed = TURNS[turned][0]
    spacing, shape = (first["spacing_row"], first["spacing_col"]), (first["rows"], first["columns"])
    found_along, found_down = np.reshape(found_cosines((*along, *down), turned), (2, 3))
    laid = shape[::-1] if is_transposed else shape
    row, column = found_point((0, 0), shape, turned)
    corners = np.stack(rows["corner"].to_list()) + row * spacing[0] * found_down + column * spacing[1] * found_along
    order = np.argsort(corners @ np.cross(along, down), kind="stable")
    spacing = spacing[::-1] if is_transposed else spacing
    return Lattice(along, down, spacing, laid, corners[order], order)


def located(facts: pl.DataFrame) -> pl.DataFrame:
    """Let SliceLocation say where slices lie that all state one ImagePositionPatient; one for all says nothing."""
    series, place, corner = (pl.col(name) for name in ("series_key", "location", "corner"))
    is_one = pl.len().over(series) > 1
    for axis in range(3):  # or none at all
        is_one &= corner.list.get(axis, null_on_oob=True).n_unique().over(series) == 1
    is_told = is_one & (place.n_unique().over(series) > 1) & (place.null_count().over(series) == 0)
    moved = facts.select(
        is_located=is_told & corner.is_not_null(),
        is_nowhere=is_one & ~is_told & corner.is_null() & (pl.col("position_mm") == place),
    )
    for name, position, said in (("is_located", place, ONE_POSITION), ("is_nowhere", pl.lit(None), ONE_LOCATION)):
        if moved[name].any():
            notes = pl.col("notes").fill_null("").str.replace(BY_LOCATION, "", literal=True)
            facts = facts.with_columns(
                pl.when(moved[name]).then(value).otherwise(pl.col(column)).alias(column)
                for column, value in {"position_mm": position, "corner": None, "notes": notes + f"|{said}"}.items()
            )
    return facts


def aligned(facts: pl.DataFrame) -> pl.DataFrame:
    """Slices of a series whose directions tremble about one have that one, and are turned and placed by it.

    Else each would lie along its own normal: 0.1 degrees move a corner that is 300 mm from the origin by half a
    millimetre. The rows are a survey's; those of one series agree or not as `same_direction` says.
    """
    places = ("series_key", "cosines", "turned", "orientation")
    stated = {(key, tuple(cosines), *lies) for key, cosines, *lies in facts.select(places).unique().rows() if cosines}
    if len({key for key, *_ in stated}) == len(stated):
        return facts
    leaders: dict[str, list[tuple]] = {}
    leader_of: dict[tuple, tuple] = {}
    for orientation, found, (key, cosines, turned, _) in sorted(
        (one[3] or "", found_cosines(one[1], one[2] or ""), one) for one in stated
    ):  # axial before coronal before sagittal, as where two planes are as near
        for first, *lead in leaders.setdefault(key, []):
            if same_direction(first, found):
                leader_of[key, cosines, turned] = tuple(lead)
                break
            if same_direction(lead[0], cosines):  # laid otherwise in its file
                leader_of[key, cosines, turned] = lead[0], turned, orientation
                break
        else:
            leaders[key].append((found, cosines, turned, orientation))
    if not leader_of:
        return facts
    rows = []
    for key, cosines, turned, orientation, corner, position in facts.select(*places, "corner", "position_mm").rows():
        lies = leader_of.get((key, tuple(cosines or ()), turned), (cosines, turned, orientation))
        across = normal(lies[0]) if corner and lies[0] is not cosines else None
        rows.append((*lies, position if across is None else position_along(across, corner)))
    values = zip((*places[1:], "position_mm"), zip(*rows, strict=True), strict=True)
    return facts.with_columns(pl.Series(name, value, dtype=facts.schema[name]) for name, value in values)


def fields_of_view(cosines: Sequence[float], corners: Sequence[Sequence[float]]) -> list[int]:
    """Number of the field of view of each parallel slice: which lie one behind the other, and which beside them.

    Slices whose corners lie on one line, as a tilted gantry leaves them, have one.

    `cosines` are the directions of their rows and columns, `corners` ImagePositionPatient of each, all laid alike.
    """
    axes = np.reshape(np.asarray(cosines, float), (2, 3))
    places = np.asarray(corners, float)
    number, beside = np.zeros(len(places), np.int64), (places @ axes.T).T
    if (beside.max(axis=1) - beside.min(axis=1) <= SHIFTED_MM).all():
        return number.tolist()
    along = places @ np.cross(*axes)
    for place in beside:
        order = np.argsort(place, kind="stable")
        gaps = np.diff(place[order])
        usual = float(np.median(gaps)) if len(places) >= FEW else 0.0  # of two slices, there is but the one
        is_far = gaps > max(SHIFTED_MM, SHIFTED * usual)
        if is_far.any() and len(np.unique(along)) > 1:
            line = np.polynomial.Polynomial.fit(along, place, 1)
            is_straight = bool(np.abs(line(along) - place).max() <= STRAIGHT_MM)
            is_steep = len(places) < FEW and np.ptp(place) > np.ptp(along)  # as no gantry is tilted
            is_far &= is_steep or not is_straight
        part = np.zeros_like(number)
        part[order[1:]] = np.cumsum(is_far)
        number = number * (int(part.max()) + 1) + part
    return number.tolist()
