"""Smooth random fields that belong to a patient: they change slowly from slice to slice."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Fields are drawn on a coarse grid over this square and interpolated; it holds every field of view.
EXTENT_MM = 420.0


@dataclass(frozen=True)
class Field:
    """Two independent smooth images whose mixture turns with the level."""

    images: np.ndarray  # ``(2, N, N)`` float32 over `EXTENT_MM`, each of mean 0 and variance 1
    turn: float  # radians per mm of level

    def at(self, rows: np.ndarray, columns: np.ndarray, level: float) -> np.ndarray:
        """Values ``(H, W)`` on a grid of evenly spaced mm coordinates, ``(H,)`` and ``(W,)``, at a level."""
        # math, not NumPy: a NumPy scalar would turn the images into float64.
        turn = self.turn * level
        mixed = math.cos(turn) * self.images[0] + math.sin(turn) * self.images[1]
        down, across = ((line / EXTENT_MM + 0.5) * (len(mixed) - 1) for line in (rows, columns))
        return _sample(_sample(mixed, down).T, across).T


def draw_field(rng: np.random.Generator, *, length: float, turn: float = 0.0, size: int = 160) -> Field:
    """Draw a field.

    `length` is the standard deviation of the smoothing Gaussian, mm; `turn` radians per mm of level, 0 for the same
    field on every slice; `size` the points along each side of the coarse grid.
    """
    noise = rng.standard_normal((2, size, size), dtype=np.float32)
    smooth = np.stack([ndimage.gaussian_filter(image, length / EXTENT_MM * size, mode="wrap") for image in noise])
    return Field(smooth / smooth.std(axis=(1, 2), keepdims=True), turn)


def _sample(image: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Interpolate rows of ``(N, M)`` linearly at fractional positions ``(P,)``; held at the edges."""
    position = np.clip(position, 0, len(image) - 1.001)
    low = position.astype(int)
    part = (position - low).astype(np.float32)[:, None]
    return image[low] * (1 - part) + image[low + 1] * part
