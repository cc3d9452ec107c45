"""Open the files of a source as streams: plain, or unpacked in memory with a size limit."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import zstandard
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from fistula.dicom.outcome import Refused, Skipped

GZIP, ZIP, ZSTD = b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd"
# What begins an archive that is not opened: 7z, RAR, bzip2, xz.
OTHER_ARCHIVES = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh", b"\xfd7zXZ\x00")
# What follows the header of a zip that is a program or an office document.
OFFICE = ("META-INF/", "[Content_Types].xml", "_rels/", "mimetype")
NOT_PACKED_IMAGES = tuple(name.encode() for name in OFFICE)
DAMAGED = "a damaged archive", "Copy or pack it again"
UNKNOWN_METHOD = "an archive packed by a method that is not opened", "Unpack it first"  # Windows' Deflate64
BLOCK = 1 << 20
META_LIMIT = 4096
CODE_PAGES = ("utf-8", "gb18030", "cp932", "euc-kr", "big5", "cp1251", "cp1252")  # of names in old zip archives


class Part(NamedTuple):
    """One DICOM object's place: a file, or a member of a zip archive.

    Attributes:
        path: The file.
        member: Name inside a zip archive; empty for everything else.
    """

    path: Path
    member: str = ""


def parts_of(path: Path) -> Iterator[Part]:
    """The file itself, or each member of it if it is a zip archive.

    Raises:
        Skipped: If it is not a regular file, or an office document: its parts are no files of the user's.
        Refused: If it cannot be opened, is a link to nowhere, or a damaged archive.
    """
    if not path.is_file():
        if path.is_symlink() and not path.exists():  # as git-annex and DataLad have it before the content was fetched
            raise Refused("a link to a file that is missing", "Fetch it, or remove the link")
        raise Skipped("not a regular file")  # a pipe would block for ever
    try:
        with path.open("rb", buffering=0) as file:
            magic = file.read(4)
        if magic != ZIP:
            yield Part(path)
            return
        with _zip(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except NotImplementedError as error:
        raise Refused(*UNKNOWN_METHOD) from error
    except (zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        raise Refused(*DAMAGED) from error
    except OSError as error:
        raise Refused("cannot be opened", "Check its permissions and the disk") from error
    if "[Content_Types].xml" in names or names[:1] == ["mimetype"]:
        raise Skipped("an office document")
    if len(set(names)) < len(names):
        rule = "an archive with several files of one name"  # no more than one of which can be opened
        raise Refused(rule, "Pack it again")
    yield from (Part(path, name) for name in names)


def members(path: Path) -> list[str]:
    """Names of what is in a zip archive; one empty name for any other file, a program's archive among them.

    Raises:
        NotTaken: As `parts_of`.
    """
    names = [part.member for part in parts_of(path)]
    return [""] if any(name.startswith(OFFICE) for name in names) else names


def begins(path: Path, member: str, length: int) -> bytes:
    """The first bytes of a file, or of a member of a zip archive; none where it cannot be read."""
    try:
        with path.open("rb") if not member else _archive(path, path.stat().st_mtime_ns).open(member) as file:
            return file.read(length)
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return b""


def open_part(part: Part, *, limit: int) -> BinaryIO:
    """Open an object for reading; what is packed is unpacked into memory.

    Args:
        part: Which one.
        limit: Bytes that an unpacked object may have; more is taken for a bomb.

    Raises:
        Refused: If it cannot be opened, is damaged, encrypted, or unpacks to more than `limit`.
    """
    try:
        if not part.member:
            return _unpacked(part.path.open("rb"), limit=limit)
        with _archive(part.path, part.path.stat().st_mtime_ns).open(part.member) as packed:
            member = _read(packed, limit=limit)
        return _unpacked(io.BytesIO(member), limit=limit)
    except NotImplementedError as error:
        raise Refused(*UNKNOWN_METHOD) from error
    except (zipfile.BadZipFile, zlib.error, zstandard.ZstdError, EOFError, KeyError) as error:
        raise Refused(*DAMAGED) from error
    except RuntimeError as error:  # what zipfile raises where a password is needed
        raise Refused("an encrypted archive", "Unpack it first") from error
    except OSError as error:  # gzip's own BadGzipFile is one of them
        is_damaged = isinstance(error, gzip.BadGzipFile)
        raise Refused(
            *(DAMAGED if is_damaged else ("cannot be opened", "Check its permissions and the disk"))
        ) from error


def inflated(file: BinaryIO, *, limit: int) -> tuple[BinaryIO, bool]:
    """Turn a deflated object into a plain one in memory, never more than `limit` bytes of it."""
    file.seek(0)
    start = file.read(META_LIMIT)
    file.seek(0)
    name = DeflatedExplicitVRLittleEndian.encode()
    begin = 132 if start[128:132] == b"DICM" else 0
    if name not in start:
        return file, False
    end = _meta_end(start, begin)
    if start.find(name) > end:
        return file, False
    file.seek(0)
    # As long as the deflated name, so that the lengths in the meta stay true.
    meta = file.read(end).replace(name, ExplicitVRLittleEndian.encode().ljust(len(name), b"\0"))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(file.read(limit), limit)
    except zlib.error as error:
        raise Refused("a damaged deflated object") from error
    if inflater.unconsumed_tail:
        raise Refused("unpacks to more than the size limit", "Raise max_object_mb if the file is genuine")
    return io.BytesIO(meta + data), True


def as_written(member: str) -> list[str]:
    """The name of a zip's member, and what else its bytes may spell.

    Where an archive does not say that its names are UTF-8 they are read as code page 437, and most often are in that of
    the country it comes from.
    """
    try:
        raw = member.encode("cp437")
    except UnicodeEncodeError:
        return [member]
    names = [member]
    for encoding in CODE_PAGES if not member.isascii() else ():
        try:
            names.append(raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return names


def is_closed_archive(start: bytes) -> bool:
    """Whether what begins with these 262 bytes is an archive that stays closed: of another kind, or a zip in a zip."""
    if start[:4] == ZIP:
        return not start[30:].startswith(NOT_PACKED_IMAGES)
    return start.startswith(OTHER_ARCHIVES) or start[257:262] == b"ustar"


@lru_cache(maxsize=1)
def _archive(path: Path, changed: int) -> zipfile.ZipFile:
    """An archive, kept open: its directory would else be read once for every member, which takes minutes for 10 000."""
    return _zip(path)


def _zip(path: Path) -> zipfile.ZipFile:
    """An archive whose names have slashes, as the format asks for, where Windows wrote backslashes."""
    archive = zipfile.ZipFile(path)
    for entry in archive.infolist():
        entry.filename = entry.filename.replace("\\", "/")
        archive.NameToInfo[entry.filename] = entry
    return archive


def _unpacked(file: BinaryIO, *, limit: int) -> BinaryIO:
    """The file itself from its beginning, or what gzip or Zstandard packed into it."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == GZIP:
        with file, gzip.GzipFile(fileobj=file) as packed:
            return io.BytesIO(_read(packed, limit=limit))
    if magic == ZSTD:
        stated = zstandard.get_frame_parameters(file.read(18)).content_size  # no frame's header is longer
        file.seek(0)
        with file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as packed:
            content = _read(packed, limit=limit)
        # zstandard says nothing of a frame that breaks off.
        if not content or (stated != zstandard.CONTENTSIZE_UNKNOWN and len(content) < stated):
            raise Refused(*DAMAGED)
        return io.BytesIO(content)
    return file


def _read(packed: IO[bytes] | io.BufferedIOBase, *, limit: int) -> bytes:
    blocks, size = [], 0
    while block := packed.read(BLOCK):
        size += len(block)
        if size > limit:
            raise Refused("unpacks to more than the size limit", "Raise max_object_mb if the file is genuine")
        blocks.append(block)
    return b"".join(blocks)


def _meta_end(start: bytes, here: int) -> int:
    """Where the file meta that begins at `here` ends: it is group 2, in explicit VR little endian (PS3.10 7.1)."""
    while start[here : here + 2] == b"\x02\x00" and here + 12 <= len(start):
        is_long = start[here + 4 : here + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR")
        first, width = (8, 4) if is_long else (6, 2)
        here += first + width + int.from_bytes(start[here + first : here + first + width], "little")
    return here
