"""Fetch from and store to an archive, whichever way it speaks."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fistula.archive import dimse, web
from fistula.archive.address import Address, Manners


@contextmanager
def fetched(address: Address, manners: Manners) -> Iterator[Path]:
    """A folder with a study's or series' instances, for as long as the block lasts.

    Raises:
        ArchiveError: If they cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="fistula-archive-") as folder:
        (web if address.scheme == "dicomweb" else dimse).fetch(address, Path(folder), manners)
        yield Path(folder)


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store DICOM files.

    Raises:
        ArchiveError: If the archive does not take them all.
    """
    (web if address.scheme == "dicomweb" else dimse).store(address, files, manners)
