"""Slices on their way into pixels.npy: written as they come, then copied in their final order."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import groupby
from pathlib import Path
from types import TracebackType

import numpy as np

TOGETHER = 32


class PixelStore:
    """Rows of uint8 ``(size, size)`` in a file of their own until their order is known.

    Several processes of a machine may put rows at once. Plain writes, not a memory map: a full disk is then an error,
    not the death of the process. While the rows are copied in their order they take twice their room on the disk.

    The file at `path` is a temporary one, gone when the block ends; slices have `size` rows and columns.
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
                file.seek(row * self.size**2)
                file.write(np.ascontiguousarray(image).data)

    def finish(self, target: Path, order: Sequence[int]) -> None:
        """Write the rows with these numbers, in this order, as an .npy file that can be memory-mapped."""
        with self.path.open("rb") as source, target.open("wb") as file:
            file.write(_header((len(order), self.size, self.size)))
            # Rows that stand together are copied together, up to so many.
            for _, run in groupby(enumerate(order), key=lambda item: (item[1] - item[0], item[0] // TOGETHER)):
                rows = [row for _, row in run]
                source.seek(rows[0] * self.size**2)
                file.write(source.read(len(rows) * self.size**2))


def _header(shape: tuple[int, ...]) -> bytes:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()
