import asyncio
import zipfile

import pytest

from fistula.errors import ConfigError
from fistula.serve.uploads import UploadError, UploadLimits, check_archive, receive

LIMITS = UploadLimits(max_upload_mb=1, max_files=3)


async def blocks(*parts):
    for part in parts:
        yield part


def received(path, *parts, declared=None):
    asyncio.run(receive(blocks(*parts), path, declared=declared, limits=LIMITS))
    return path.read_bytes()


def test_an_upload_is_written_as_it_comes(tmp_path):
    assert received(tmp_path / "upload", b"a", b"", b"bc", declared="3") == b"abc"


@pytest.mark.parametrize(
    ("parts", "declared", "status"),
    [
        ((b"x",), str(2 << 30), 413),
        ((b"x",), "many", 413),
        ((b"x",), "\u00b2", 413),
        ((b"x",), "0" * 5000, 413),
        ([b"x" * (1 << 20), b"y"], None, 413),
        ([b"x" * (1 << 20), b"y"], "7", 413),
        ((), "0", 400),
    ],
    ids=[
        "2 GB declared",
        "no number",
        "a raised two",
        "thousands of digits",
        "more than the limit",
        "more than declared",
        "empty",
    ],
)
def test_an_upload_that_is_too_large_or_empty_is_refused(tmp_path, parts, declared, status):
    with pytest.raises(UploadError) as caught:
        received(tmp_path / "upload", *parts, declared=declared)
    assert caught.value.status == status


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("entries", "status", "reason"),
    [
        ({"../../etc/passwd": b"x"}, 400, "must not name files outside itself"),
        ({"/etc/passwd": b"x"}, 400, "must not name files outside itself"),
        ({"a\\..\\..\\b": b"x"}, 400, "must not name files outside itself"),
        ({"C:\\b": b"x"}, 400, "must not name files outside itself"),
        ({"bomb": bytes(9 << 20)}, 413, "may unpack to at most 8 MiB"),
        ({str(number): b"" for number in range(4)}, 413, "at most 3 files"),
    ],
)
def test_an_archive_that_is_a_trap_is_refused(tmp_path, entries, status, reason):
    with pytest.raises(UploadError, match=reason) as caught:
        check_archive(zipped(tmp_path / "trap.zip", entries), LIMITS)
    assert caught.value.status == status


def test_an_honest_archive_and_a_plain_file_pass(tmp_path):
    check_archive(zipped(tmp_path / "fine.zip", {"a/b.dcm": b"x"}), LIMITS)
    (tmp_path / "plain").write_bytes(b"x")
    check_archive(tmp_path / "plain", LIMITS)


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"seconds: must be at least 0\.001 and at most 86400, found 0"):
        UploadLimits(seconds=0)


def archive_of_nothing(entries):
    """A zip archive whose directory has so many entries, and no content."""
    entry = b"PK\x01\x02" + bytes(24) + (1).to_bytes(2, "little") + bytes(16) + b"a"
    size = len(entry) * entries
    end = b"PK\x05\x06" + bytes(8) + size.to_bytes(4, "little") + bytes(4) + bytes(2)
    return b"PK\x03\x04" + bytes(26) + entry * entries, end


@pytest.mark.parametrize("comment", [b"", b"many words"])
def test_a_directory_of_a_million_entries_is_refused_unread(tmp_path, comment, monkeypatch):
    entries, end = archive_of_nothing(100_000)
    (tmp_path / "upload").write_bytes(entries + end[:-2] + len(comment).to_bytes(2, "little") + comment)
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: pytest.fail("it was read"))
    with pytest.raises(UploadError, match="at most 3 files"):
        check_archive(tmp_path / "upload", LIMITS)


def test_a_directory_whose_length_is_stated_elsewhere_is_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "upload").write_bytes(b"PK\x03\x04" + bytes(56) + b"PK\x06\x07" + bytes(16) + b"PK\x05\x06" + bytes(18))
    monkeypatch.setattr(zipfile, "is_zipfile", lambda path: True)
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: pytest.fail("it was read"))
    with pytest.raises(UploadError, match="at most 3 files"):
        check_archive(tmp_path / "upload", LIMITS)
