"""Bring a picture to the cohort's grid: resample to a spacing or fit to a side, then crop or pad about the centre."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from PIL import Image

from fistula.errors import refuse_other, refuse_outside

FITS = ("longer", "shorter")
WHOLE = 0.9  # share of a picture above which what was cropped goes without saying
LITTLE = 0.1  # share of the grid's side, below which a slice that fills no more is noted


@dataclass(frozen=True)
class Grid:
    """The pixels that every slice of a cohort has."""

    size: int  # rows and columns
    spacing_mm: float  # distance of pixels, for pictures that state theirs
    fit: str = "longer"  # for pictures that do not: which side is scaled to `size`; `longer` pads, `shorter` crops

    def __post_init__(self) -> None:
        refuse_outside("size", self.size, 8, 4096)
        refuse_outside("spacing_mm", self.spacing_mm, 0.01, 100)
        refuse_other("fit", self.fit, FITS)


@dataclass(frozen=True)
class Placed:
    """A picture on the grid."""

    values: np.ndarray  # float32 ``(size, size)``; 0 where `inside` is False
    inside: np.ndarray  # bool ``(size, size)``: False where the picture ends or is padding
    scale: tuple[float, float]  # new pixels per old pixel, along rows and along columns
    # Row and column of the scaled picture at which the grid begins; negative where it is padded.
    offset: tuple[int, int]


def grid_point(
    point: tuple[float, float], *, scale: tuple[float, float], offset: tuple[int, int], size: int
) -> tuple[float, float] | None:
    """A point of the source picture on the grid, centres of the first pixels at 0; None if it lies outside.

    The scale counts from pixel edges, half a pixel before the first centre.

    Example:
        >>> grid_point((0.5, 3.0), scale=(2.0, 1.0), offset=(0, 1), size=8)
        (1.5, 2.0)
    """
    row, column = ((old + 0.5) * factor - 0.5 - start for old, factor, start in zip(point, scale, offset, strict=True))
    is_inside = -0.5 <= row < size - 0.5 and -0.5 <= column < size - 0.5
    return (row, column) if is_inside else None


def source_point(
    point: tuple[float, float], *, scale: tuple[float, float], offset: tuple[int, int]
) -> tuple[float, float]:
    """The inverse of `grid_point`: where a point of the grid lies in the picture that was placed there.

    Example:
        >>> source_point((1.5, 2.0), scale=(2.0, 1.0), offset=(0, 1))
        (0.5, 3.0)
    """
    row, column = ((new + start + 0.5) / factor - 0.5 for new, factor, start in zip(point, scale, offset, strict=True))
    return row, column


def place(
    values: np.ndarray,
    grid: Grid,
    *,
    spacing: tuple[float, float] | None,
    aspect: float = 1.0,
    inside: np.ndarray | None = None,
) -> Placed:
    """Resample with an antialiasing triangle filter, then crop or pad about the centre; anatomy is never stretched.

    Args:
        values: Float32 ``(H, W)``.
        grid: Where to.
        spacing: Distance of rows, of columns in mm; None fits the picture to the grid's side.
        aspect: Height of a pixel over its width, where there is no spacing.
        inside: Bool ``(H, W)``, False at pixel padding, which then takes no part in the averages.
    """
    height, width = values.shape
    if spacing is not None:
        wanted = height * spacing[0] / grid.spacing_mm, width * spacing[1] / grid.spacing_mm
    else:
        tall = height * aspect
        side = max(tall, width) if grid.fit == "longer" else min(tall, width)
        wanted = tall * grid.size / side, width * grid.size / side
    # A slice that spans more than this is not one of a patient; the bound keeps a false spacing from filling memory.
    limit = 64 * grid.size
    shape = min(limit, max(1, round(wanted[0]))), min(limit, max(1, round(wanted[1])))
    resampled, covered = _resample(values, inside, shape)
    offset = (shape[0] - grid.size) // 2, (shape[1] - grid.size) // 2
    return Placed(
        values=_crop(resampled, grid.size, offset),
        inside=_crop(covered, grid.size, offset),
        scale=(shape[0] / height, shape[1] / width),
        offset=offset,
    )


def crop_notes(placed: pl.DataFrame, size: int) -> dict[str, int]:
    """How many slices were cropped, and how little is left of one, or fill hardly any of the grid.

    `placed` has columns ``offset_row offset_col`` of `Placed`.
    """
    axes = ("offset_row", "offset_col")
    sides, filled = ([size + 2 * pl.col(name).clip(*ends) for name in axes] for ends in ((0, None), (None, 0)))
    found = placed.select(
        longest=pl.max_horizontal(sides) / size,
        share=size / sides[0] * size / sides[1],
        filled=pl.min_horizontal(filled) / size,
    )
    notes = {"smaller than a tenth of the stored image (is its pixel spacing in mm?)": (found["filled"] < LITTLE).sum()}
    if (cropped := int((found["share"] < WHOLE).sum())) > 0:
        least, times = f"{found['share'].to_numpy().min():.0%}", math.ceil(10 * found["longest"].to_numpy().max()) / 10
        remedy = f"{times:g} times the size= or spacing_mm= keeps all"
        notes[f"cropped about the center, to as little as {least} of the image ({remedy})"] = cropped
    return {note: int(count) for note, count in notes.items() if count}


def to_bytes(unit: np.ndarray) -> np.ndarray:
    """Slices ``(N, H, W)`` in [0, 1] as uint8, rounded to the nearest of 256 levels."""
    result = np.empty(unit.shape, np.uint8)
    for image, row in zip(unit, result, strict=True):  # one by one: a slice fits into the processor's cache
        scaled = np.clip(image, 0, 1)
        scaled *= 255
        row[...] = np.rint(scaled, out=scaled)
    return result


def _resample(values: np.ndarray, inside: np.ndarray | None, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    if inside is None:
        return resize(values, shape), np.ones(shape, bool)
    # Normalised convolution (Knutsson and Westin 1993): the weight of what is not padding divides the sum of it.
    weight = resize(inside.astype(np.float32), shape)
    total = resize(np.where(inside, values, 0).astype(np.float32), shape)
    covered = weight >= 0.5
    return np.divide(total, weight, out=np.zeros_like(total), where=covered), covered


def resize(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale float32 values ``(H, W)`` to a shape, by a triangle filter that averages where it shrinks."""
    if values.shape == shape:
        return values
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _crop(values: np.ndarray, size: int, offset: tuple[int, int]) -> np.ndarray:
    if values.shape == (size, size):
        return values
    result = np.zeros((size, size), values.dtype)
    source = [slice(max(0, start), max(0, start) + size) for start in offset]
    part = values[source[0], source[1]]
    top, left = (max(0, -start) for start in offset)
    result[top : top + part.shape[0], left : left + part.shape[1]] = part
    return result
