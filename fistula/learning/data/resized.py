"""Slices at the size of a network's input, made once for a cohort and a size, and shared by all runs."""

import hashlib
import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fistula.cohort.manifest import Cohort
from fistula.folder import partial_beside
from fistula.learning.data.slices import Images, Resize

KEPT_FILES = 4  # sizes beside a cohort; the ones made first go first
SHARE_OF_FREE = 0.25  # of the disk, that one of them may take

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResizedAnew:
    """Slices that are resized each time they are asked for, where there is no room to keep them."""

    pixels: NDArray[np.uint8]
    resize: Resize

    @property
    def shape(self) -> tuple[int, int, int]:
        """As that of an array."""
        return len(self.pixels), self.resize.image_size, self.resize.image_size

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        if np.ndim(rows) == 0:
            return self.resize(np.asarray(self.pixels[rows]))
        return np.stack([self[row] for row in rows.flat]).reshape(*rows.shape, *self.shape[1:])


def resized(cohort: Cohort, resize: Resize, rows: NDArray[np.int64]) -> Images:
    """The slices of a cohort at the network's size, mapped from a file beside its pixels that all runs share.

    The file holds the rows that are asked for and holes where the others would be. A folder that cannot be written to
    costs time, never a run.
    """
    size = resize.image_size
    if cohort.pixels.shape[1:] == (size, size):
        return cohort.pixels
    wanted = np.zeros(len(cohort.pixels), bool)
    wanted[rows] = True
    digest = hashlib.sha256(np.packbits(wanted).tobytes()).hexdigest()[:8]  # of as many rows of another sequence
    kind = f"{cohort.fingerprint[:12]}-{size}-{resize.interpolation}-{int(wanted.sum())}-{digest}"
    path = cohort.folder / f".resized-{kind}.npy"
    try:
        if not path.exists():
            _write(path, cohort.pixels, resize, np.flatnonzero(wanted))
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        if kept.dtype != np.uint8 or kept.shape != (len(cohort.pixels), size, size):
            raise ValueError(f"it holds {kept.dtype} {kept.shape}")
        return kept
    except (OSError, ValueError) as error:
        log.info("slices are resized again in each epoch: %s cannot be kept (%s)", path, error)
        return ResizedAnew(cohort.pixels, resize)


def _write(path: Path, pixels: NDArray[np.uint8], resize: Resize, rows: NDArray[np.int64]) -> None:
    size, free = resize.image_size, shutil.disk_usage(path.parent).free
    if len(rows) * size * size > SHARE_OF_FREE * free:
        raise OSError(f"it would take more than a quarter of the {free / 1e9:.1f} GB that are free")
    with partial_beside(path) as partial:
        kept = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(pixels), size, size))
        for row in rows:
            kept[row] = resize(np.asarray(pixels[row]))
        kept.flush()
        partial.replace(path)
    ages = {file: file.stat().st_mtime for file in path.parent.glob(".resized-*.npy")}
    for file in sorted(ages, key=lambda file: ages[file])[:-KEPT_FILES]:
        with suppress(OSError):
            file.unlink()  # a run that has it mapped keeps it until it ends
