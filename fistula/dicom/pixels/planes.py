"""Pictures as planes in the patient, and what is drawn on one plane carried over to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fistula.dicom.container import Part, open_part
from fistula.dicom.header.mend import mend
from fistula.dicom.kinds import num_frames
from fistula.dicom.outcome import damage_refused
from fistula.dicom.parse import number, read_header, whole
from fistula.dicom.pixels.frames import Frame
from fistula.dicom.pixels.geometry import normal

SAME_MM = 0.05  # pixels and planes that are nearer to each other than this coincide
SAME_COSINES = 2e-3


@dataclass(frozen=True)
class Plane:
    """A picture's grid in the patient (PS3.3 C.7.6.2.1.1); DICOM's axes: left, posterior, head."""

    corner: NDArray[np.float64]  # centre of the first pixel, ``(3,)``, mm
    along: NDArray[np.float64]  # unit vector towards higher columns
    down: NDArray[np.float64]  # unit vector towards higher rows
    spacing: tuple[float, float]  # distance of rows, of columns, mm
    shape: tuple[int, int]  # rows and columns
    thickness: float | None  # what the plane stands for across itself, mm; None where that is not known

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.along, self.down)

    def places(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Row, column and signed distance in mm of points ``(N, 3)`` of the patient; first pixel's centre at 0."""
        vectors = np.asarray(points, float) - self.corner
        axes = np.stack([self.down / self.spacing[0], self.along / self.spacing[1], self.normal], axis=1)
        found: NDArray[np.float64] = vectors @ axes
        return found

    def points(self, rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float64]:
        """Points ``(N, 3)`` of the patient at rows and columns."""
        found: NDArray[np.float64] = (
            self.corner
            + np.multiply.outer(np.asarray(rows, float) * self.spacing[0], self.down)
            + np.multiply.outer(np.asarray(columns, float) * self.spacing[1], self.along)
        )
        return found

    def lies_on(self, other: "Plane") -> bool:
        """Whether its pixels are those of the other plane, or some of them, in whatever order they are written."""
        rows, columns = (np.array([0, 0, size - 1]) for size in self.shape)
        places = other.places(self.points(rows, [0, columns[2], 0]))
        off = np.abs(places[:, :2] - np.round(places[:, :2])) * other.spacing
        inside = (places[:, :2] > -0.5).all() and (places[:, :2] < np.array(other.shape) - 0.5).all()
        is_same_size = np.allclose(np.sort(self.spacing), np.sort(other.spacing), rtol=SAME_COSINES)
        return bool(np.abs(places[:, 2]).max() < SAME_MM and off.max() < SAME_MM and inside and is_same_size)

    def coincides(self, other: "Plane") -> bool:
        """Whether both have the same pixels, written in the same order."""
        pairs = ((self.along, other.along), (self.down, other.down))
        return (
            self.shape == other.shape
            and bool(np.abs(self.corner - other.corner).max() < SAME_MM)
            and all(np.abs(first - second).max() < SAME_COSINES for first, second in pairs)
            and bool(np.allclose(self.spacing, other.spacing, rtol=SAME_COSINES))
        )


@dataclass(frozen=True)
class Drawn:
    """Pixels that are marked on a plane."""

    segment: int  # number of the segment that they are of
    plane: Plane  # where they lie
    pixels: NDArray[np.bool_]  # bool, of the plane's shape
    image: str = ""  # SOPInstanceUID of the image that it was drawn on; empty where it is not said

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """Centres ``(4, 3)`` of the plane's outermost pixels."""
        last, width = self.plane.shape[0] - 1, self.plane.shape[1] - 1
        return self.plane.points([0, 0, last, last], [0, width, 0, width])

    @property
    def extent(self) -> float:
        """Mm from the plane within which its pixels may reach another one."""
        return max(self.plane.spacing) + (self.plane.thickness or 0.0) / 2


def nearby(drawn: Sequence[Drawn], plane: Plane, reach_mm: float | None) -> list[Drawn]:
    """Of what is drawn that which may mark a pixel of a plane: most planes of two volumes are far from each other."""
    if not drawn:
        return []
    across = plane.places(np.concatenate([one.corners for one in drawn]))[:, 2].reshape(-1, 4)
    limit = np.array([one.extent for one in drawn]) + max(reach_mm or 0.0, SAME_MM)
    near = (across.min(axis=1) <= limit) & (across.max(axis=1) >= -limit)
    return [one for one, is_near in zip(drawn, near, strict=True) if is_near]


def carried(drawn: Drawn, plane: Plane, reach_mm: float) -> NDArray[np.bool_]:
    """Which pixels of a plane are marked by what is drawn on another.

    On planes whose pixels coincide they are the same. Elsewhere a pixel is marked if the centre of a drawn one lies in
    it, across the plane no farther than `reach_mm`; or if its own centre lies in a drawn one.

    Args:
        drawn: What is drawn, and where.
        plane: The other plane.
        reach_mm: Half of what the other plane stands for across itself.
    """
    if plane.coincides(drawn.plane):
        return drawn.pixels
    marked = np.zeros(plane.shape, bool)
    own = (drawn.plane.thickness or 0.0) / 2
    extent = drawn.extent
    rows, columns = np.nonzero(drawn.pixels)
    places = plane.places(drawn.plane.points(rows, columns))
    near = np.abs(places[:, 2]) <= max(reach_mm, 0) + extent
    if not near.any():
        return marked
    inside = places[np.abs(places[:, 2]) <= reach_mm + 1e-6]
    _mark(marked, inside[:, :2])
    # The other way round, for drawn pixels that are larger, and for planes that cross.
    margin = np.ceil(extent / np.array(plane.spacing))
    low = np.maximum(np.floor(places[near, :2].min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(places[near, :2].max(axis=0) + margin), np.array(plane.shape) - 1).astype(int)
    if (low > high).any():
        return marked
    grid = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1].reshape(2, -1)
    back = drawn.plane.places(plane.points(grid[0], grid[1]))
    at = np.floor(back[:, :2] + 0.5).astype(int)
    is_in = (np.abs(back[:, 2]) <= own + 1e-6) & (at >= 0).all(axis=1) & (at < drawn.plane.shape).all(axis=1)
    hit = np.flatnonzero(is_in)
    hit = hit[drawn.pixels[at[hit, 0], at[hit, 1]]]
    marked[grid[0, hit], grid[1, hit]] = True
    return marked


def read_planes(part: Part, *, limit: int) -> list[Plane | None]:
    """The plane of each frame of an image, None where its header does not say.

    Args:
        part: The object.
        limit: Bytes that it may unpack to.

    Raises:
        NotTaken: If it cannot be read.
    """
    with damage_refused(), open_part(part, limit=limit) as file:
        header = read_header(file, limit=limit)
        mend(header.dataset)
        return [plane_of(Frame(header.dataset, index)) for index in range(num_frames(header))]


def plane_of(frame: Frame) -> Plane | None:
    """The plane of one frame; None where its header does not say."""
    cosines, corner, spacing = frame.cosines(), frame.corner(), frame.spacing()
    shape = whole(frame.dataset, "Rows"), whole(frame.dataset, "Columns")
    if not cosines or not corner or not spacing or normal(cosines) is None or None in shape:
        return None
    measures = frame.group("PixelMeasuresSequence")
    thickness = number(measures, "SliceThickness")
    return plane(corner, cosines, spacing, (shape[0] or 0, shape[1] or 0), thickness)


def plane(
    corner: Sequence[float],
    cosines: Sequence[float],
    spacing: tuple[float, float],
    shape: tuple[int, int],
    thickness: float | None,
) -> Plane:
    """A plane by what headers say; directions are made unit vectors, for some are rounded."""
    along, down = (np.asarray(one, float) / np.linalg.norm(one) for one in (cosines[:3], cosines[3:]))
    is_stated = thickness is not None and thickness > 0
    return Plane(np.asarray(corner, float), along, down, spacing, shape, thickness if is_stated else None)


def _mark(marked: NDArray[np.bool_], places: NDArray[np.float64]) -> None:
    at = np.floor(places + 0.5).astype(int)
    at = at[(at >= 0).all(axis=1) & (at < marked.shape).all(axis=1)]
    marked[at[:, 0], at[:, 1]] = True
