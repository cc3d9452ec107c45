"""Fetch from and store to an archive, whichever way it speaks."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fistula.archive import dimse, web
from fistula.archive.address import Address, Manners
from fistula.dicom.outcome import Refused
from fistula.dicom.timing import TimeLimit
from fistula.errors import ArchiveError
from fistula.folder import temporary_folder

for _name in ("dicomweb_client", "pynetdicom", "urllib3"):  # they would name studies and peers on the terminal
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

LIBRARIES = {"dicomweb": "dicomweb_client.api", "dimse": "pynetdicom"}


def require_library(*addresses: Address | None) -> None:
    """Import now what talking to these archives takes; a missing extra would else be found after all the work.

    Raises:
        ImportError: If it is not installed.
    """
    for address in addresses:
        if address is not None:
            import_module(LIBRARIES[address.scheme])


@contextmanager
def fetched(address: Address, manners: Manners) -> Iterator[Path]:
    """A folder with a study's or series' instances, for as long as the block lasts.

    Raises:
        ArchiveError: If they cannot be had.
    """
    with temporary_folder("archive") as folder:
        with _limited(address, manners):
            _of(address).fetch(address, folder, manners)
        yield folder


def store(address: Address, files: Sequence[Path], manners: Manners) -> None:
    """Store DICOM files. Raises ArchiveError if the archive does not take them all."""
    with _limited(address, manners):
        _of(address).store(address, files, manners)


def _of(address: Address) -> Any:
    return web if address.scheme == "dicomweb" else dimse


@contextmanager
def _limited(address: Address, manners: Manners) -> Iterator[None]:
    """End the block after `total_s`: an archive may answer byte by byte, or without end.

    Raises:
        ArchiveError: If that was so.
    """
    try:
        with TimeLimit(manners.total_s):
            yield
    except Refused as error:
        remedy = "Try again, or raise archive.total_s if the archive is merely slow"
        raise ArchiveError(address.name, f"must be done within {manners.total_s:g} s", remedy=remedy) from error
