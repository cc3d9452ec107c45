"""What may be uploaded: how much, and which archives."""

import math
import os
import struct
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fistula.errors import refuse_outside

BYTES_AN_ENTRY = 1024  # of an archive's directory: a name and what tools add
END, END_MARK = struct.Struct("<4s4H2LH"), b"PK\x05\x06"
ELSEWHERE_MARK = b"PK\x06\x07"  # 20 bytes before the end, in the zip64 format
MAX_END = END.size + 0xFFFF + 20  # with the longest comment


@dataclass(frozen=True)
class UploadLimits:
    """What one upload may cost."""

    max_upload_mb: int = 256  # MiB of the upload, and eight times as much unpacked
    max_files: int = 2000  # in a zip archive
    seconds: float = 60.0  # to answer
    waiting: int = 16  # uploads that may wait for their turn

    def __post_init__(self) -> None:
        for name, low, high in (
            ("max_upload_mb", 1, 2**20),
            ("max_files", 1, 10**7),
            ("seconds", 0.001, 86400),
            ("waiting", 1, 10**6),
        ):
            refuse_outside(name, getattr(self, name), low, high)

    @property
    def num_bytes(self) -> int:
        return self.max_upload_mb << 20


class UploadError(Exception):
    """An upload that is not taken: an HTTP status, 4xx, 503 or 507, and a reason for whoever sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def receive(body: AsyncIterator[bytes], path: Path, *, declared: str | None, limits: UploadLimits) -> None:
    """Write an upload's bytes into a file, and stop at the limit, whatever length was declared.

    Raises:
        UploadError: If it is too large or empty.
    """
    too_large = UploadError(413, f"an upload may have at most {limits.max_upload_mb} MiB")
    if declared is not None and (len(declared) > 15 or not declared.isdecimal() or int(declared) > limits.num_bytes):
        raise too_large
    received = 0
    with path.open("wb") as file:
        async for block in body:
            received += len(block)
            if received > limits.num_bytes:
                raise too_large
            file.write(block)
    if received == 0:
        raise UploadError(400, "the upload is empty")


def check_archive(path: Path, limits: UploadLimits) -> None:
    """Refuse a zip archive that is damaged, too large unpacked, or names files outside itself.

    Raises:
        UploadError: If it is one of these; anything that is no zip archive passes.
    """
    if not zipfile.is_zipfile(path):
        return
    too_many = UploadError(413, f"an archive may have at most {limits.max_files} files")
    # Before zipfile reads the directory: one of a hundred MiB would take gigabytes as its entries.
    if _directory_bytes(path) > limits.max_files * BYTES_AN_ENTRY:
        raise too_many
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UploadError(400, "a damaged archive") from error
    if len(entries) > limits.max_files:
        raise too_many
    if sum(entry.file_size for entry in entries) > 8 * limits.num_bytes:
        raise UploadError(413, f"an archive may unpack to at most {8 * limits.max_upload_mb} MiB")
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
            raise UploadError(400, "an archive must not name files outside itself")


def _directory_bytes(path: Path) -> float:
    """Length of a zip archive's directory, as its end states it (APPNOTE.TXT 4.3.16).

    Infinite where another record states it: that is for archives of gigabytes.
    """
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_END))
        tail = file.read()
    # As zipfile looks for it: at the very end, or else the last one before a comment.
    is_last = tail[-END.size :].startswith(END_MARK) and tail[-2:] == b"\0\0"
    place = len(tail) - END.size if is_last else tail.rfind(END_MARK)
    if not 0 <= place <= len(tail) - END.size:
        return 0
    is_elsewhere = tail[max(0, place - 20) : place].startswith(ELSEWHERE_MARK)
    return math.inf if is_elsewhere else float(END.unpack_from(tail, place)[5])
