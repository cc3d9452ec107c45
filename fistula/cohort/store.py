"""Slices on their way into pixels.npy: written as they come, then put in their final order."""

import errno
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from fistula.errors import DataError

HEADER = 128  # bytes of an .npy file's header, which NumPy pads
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk in the block into one a user can act on.

    Raises:
        DataError: If the disk, the quota or the largest file size is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        remedy = "Free some space or name another disk (out=...)"
        raise DataError(folder, f"cannot be written: {error.strerror}", remedy=remedy) from error


class PixelStore:
    """Rows of uint8 ``(size, size)`` in a file of their own until their order is known, then put in order in place.

    Several processes of a machine may put rows at once. Plain writes, not a memory map: a full disk is then an error,
    not the death of the process. In place, for a second file would double the room that a cohort needs on the disk.

    Args:
        path: The temporary file; gone when the block ends.
        size: Rows and columns of a slice.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size

    def __enter__(self) -> "PixelStore":
        self.path.touch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.unlink(missing_ok=True)

    def put(self, rows: Iterable[int], pixels: Iterable[np.ndarray]) -> None:
        """Write slices ``(size, size)`` as the rows with these numbers."""
        with self.path.open("r+b") as file:
            for row, image in zip(rows, pixels, strict=True):
                self._write(file, row, np.ascontiguousarray(image).data)

    def finish(self, target: Path, order: Sequence[int]) -> None:
        """Make the rows with these numbers, each once, in this order, an .npy file that can be memory-mapped.

        Args:
            target: On the same disk; the store's own file becomes it.
            order: Numbers of rows.
        """
        count = max(order, default=-1) + 1
        sources = np.concatenate([np.asarray(order, np.int64), np.setdiff1d(np.arange(count), order)])
        with self.path.open("r+b") as file:
            file.truncate(HEADER + count * self.size**2)
            for cycle in _cycles(sources):
                first = self._read(file, cycle[0])
                for place, source in pairwise(cycle):
                    self._write(file, place, self._read(file, source))
                self._write(file, cycle[-1], first)
            file.truncate(HEADER + len(order) * self.size**2)
            file.seek(0)
            file.write(_header((len(order), self.size, self.size)))
        self.path.rename(target)

    def _read(self, file: BinaryIO, row: int) -> bytes:
        file.seek(HEADER + row * self.size**2)
        return file.read(self.size**2)

    def _write(self, file: BinaryIO, row: int, content: bytes | memoryview) -> None:
        file.seek(HEADER + row * self.size**2)
        file.write(content)


def _cycles(sources: np.ndarray) -> Iterator[list[int]]:
    """A permutation's cycles of more than one place, each place followed by that of what comes there."""
    waits = sources != np.arange(len(sources))
    for start in np.flatnonzero(waits).tolist():
        if not waits[start]:
            continue  # of an earlier one
        cycle, place = [], start
        while waits[place]:
            waits[place] = False
            cycle.append(place)
            place = int(sources[place])
        yield cycle


def _header(shape: tuple[int, ...]) -> bytes:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    if len(header.getvalue()) != HEADER:
        raise AssertionError("NumPy writes a header of another length")
    return header.getvalue()


def read_rows(pixels: np.memmap, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Rows ``(size, size)`` of a memory map with these numbers, read from its file.

    Pages of the map itself would count as this process's memory.
    """
    shape = pixels.shape[1:]
    num_bytes = math.prod(shape)
    with Path(str(pixels.filename)).open("rb") as file:
        for number in numbers:
            file.seek(pixels.offset + number * num_bytes)
            yield np.frombuffer(file.read(num_bytes), np.uint8).reshape(shape)
