import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
import zstandard

from fistula.dicom.container import Part, open_part, parts_of
from fistula.dicom.outcome import Refused, Skipped
from fistula.dicom.parse import read_header
from fistula.dicom.tree import find_files

BOMB = b"\0" * 3_000_000


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_packed_file_is_read_in_memory_and_a_bomb_is_refused(pack, tmp_path):
    (tmp_path / "a").write_bytes(pack(BOMB))
    with open_part(Part(tmp_path / "a"), limit=len(BOMB)) as file:
        assert file.read() == BOMB
    with pytest.raises(Refused, match="more than the size limit"):
        open_part(Part(tmp_path / "a"), limit=len(BOMB) - 1)


def test_members_of_a_zip_are_parts_and_a_bomb_among_them_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/small", b"text")
        archive.writestr("bomb", BOMB)
    small, bomb = parts_of(tmp_path / "a.zip")
    with open_part(small, limit=1000) as file:
        assert file.read() == b"text"
    with pytest.raises(Refused, match="more than the size limit"):
        open_part(bomb, limit=1000)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_packed_member_of_a_zip_is_unpacked_twice(pack, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.dcm.gz", pack(BOMB))
    with open_part(Part(tmp_path / "a.zip", "a.dcm.gz"), limit=len(BOMB)) as file:
        assert file.read() == BOMB
    with pytest.raises(Refused, match="more than the size limit"):
        open_part(Part(tmp_path / "a.zip", "a.dcm.gz"), limit=len(BOMB) - 1)


def test_zstandard_frames_one_after_the_other_are_one_file(tmp_path):
    (tmp_path / "a").write_bytes(zstandard.compress(b"one") + zstandard.compress(b"two"))
    with open_part(Part(tmp_path / "a"), limit=100) as file:
        assert file.read() == b"onetwo"


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(bytes(range(256)) * 9)[:-20],
        b"\x28\xb5\x2f\xfdxx",
        zstandard.compress(os.urandom(300_000))[:-100_000],  # the blocks before the break are whole
    ],
    ids=["gzip", "no frame", "zstandard"],
)
def test_a_damaged_archive_is_refused(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refused, match="a damaged archive"):
        open_part(Part(tmp_path / "a"), limit=1 << 20)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_of_one_name_in_an_archive_are_refused_as_that(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("1.dcm", b"1")
        archive.writestr("1.dcm", b"2")
    with pytest.raises(Refused, match="an archive with several files of one name"):
        list(parts_of(tmp_path / "a"))


def test_an_archive_that_changed_on_the_way_is_to_be_copied_again(tmp_path):
    content = bytearray(gzip.compress(bytes(1000)))
    content[-6] ^= 255  # of the checksum
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refused) as refused:
        open_part(Part(tmp_path / "a"), limit=1 << 20)
    assert (refused.value.reason, refused.value.remedy) == ("a damaged archive", "Copy or pack it again")


def test_a_damaged_zip_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(Refused, match="a damaged archive"):
        list(parts_of(tmp_path / "a"))


def test_a_pipe_is_skipped_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Skipped, match="not a regular file"):
        list(parts_of(tmp_path / "pipe"))


def test_a_link_to_nowhere_is_refused_for_its_content_may_be_half_a_study(tmp_path):
    (tmp_path / "IM1").symlink_to(".git/annex/objects/x")
    with pytest.raises(Refused, match="a link to a file that is missing"):
        list(parts_of(tmp_path / "IM1"))


def test_a_link_to_its_own_parent_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert find_files(tmp_path) == ([tmp_path / "a" / "file"], {})


def test_what_was_deleted_and_what_systems_keep_is_no_part_of_a_source(tmp_path):
    passed = (".Trash-1000/files", "$Recycle.Bin", "P1/@eaDir/x.png", "P1/.ipynb_checkpoints")
    for folder in ("P1", *passed, ".git"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a").touch()
    (tmp_path / "lost+found").mkdir(mode=0)
    found, counts = find_files(tmp_path)
    assert found == [tmp_path / ".git" / "a", tmp_path / "P1" / "a"]
    assert counts == dict.fromkeys((".trash", "$recycle.bin", "@eadir", ".ipynb_checkpoints", "lost+found"), 1)
    assert find_files(tmp_path / ".Trash-1000") == ([tmp_path / ".Trash-1000" / "files" / "a"], {})


def test_a_folder_that_cannot_be_read_is_refused_and_not_passed_over(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    code = """
import os, sys
from pathlib import Path
from fistula.dicom.tree import find_files
os.geteuid() or os.seteuid(65534)  # root may read everything
find_files(Path("."))
"""
    tmp_path.chmod(0o755)
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "DataError: ./closed: cannot be read (Permission denied). Check its permissions" in shown.stderr


def test_an_archive_that_changed_is_opened_anew(tmp_path):
    path = tmp_path / "a.zip"
    for content in (b"first", b"second"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", content)
        with open_part(Part(path, "a"), limit=100) as file:
            assert file.read() == content


@pytest.mark.parametrize(
    ("places", "value", "message"), [((6, 8), 1, "an encrypted archive"), ((8, 10), 9, "packed by a method")]
)
def test_a_member_that_is_encrypted_or_packed_by_another_method_is_refused(tmp_path, places, value, message):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content")
    content = bytearray(path.read_bytes())
    for mark, place in zip((b"PK\x03\x04", b"PK\x01\x02"), places, strict=True):  # flags or method, in both headers
        content[content.index(mark) + place] |= value
    path.write_bytes(content)
    with pytest.raises(Refused, match=message):
        open_part(Part(path, "a"), limit=100)


def test_names_in_a_zip_have_slashes_though_windows_wrote_backslashes(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("P1\\", "P1\\1.dcm"):
            entry = zipfile.ZipInfo()
            entry.filename = name
            archive.writestr(entry, name)
    (part,) = parts_of(path)
    assert part.member == "P1/1.dcm"
    with open_part(part, limit=100) as file:
        assert file.read() == b"P1\\1.dcm"


def test_a_file_that_is_gone_is_refused(tmp_path):
    with pytest.raises(Refused, match="cannot be opened"):
        open_part(Part(tmp_path / "a"), limit=100)


def _tar(kind):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{kind}") as archive:
        archive.addfile(tarfile.TarInfo("image.dcm"))
    return packed.getvalue()


def _zip(name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, "")
    return packed.getvalue()


CLOSED = {
    "tar": _tar(""),
    "tar in gzip": _tar("gz"),
    "tar in bzip2": _tar("bz2"),
    "tar in xz": _tar("xz"),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(300),
    "RAR": b"Rar!\x1a\x07\x01" + bytes(300),
}


@pytest.mark.parametrize("kind", CLOSED)
def test_an_archive_of_another_kind_is_refused_and_not_passed_over(kind, tmp_path):
    (tmp_path / "a").write_bytes(CLOSED[kind])
    with open_part(Part(tmp_path / "a"), limit=1 << 20) as file, pytest.raises(Refused, match="not opened"):
        read_header(file, limit=1 << 20)


@pytest.mark.parametrize("name", ["[Content_Types].xml", "mimetype"])
def test_a_workbook_beside_the_images_is_one_file_and_not_an_archive_of_many(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "labels.xlsx", "w") as archive:
        for member in (name, "xl/workbook.xml", "xl/worksheets/sheet1.xml"):
            archive.writestr(member, "<x/>")
    with pytest.raises(Skipped, match="an office document"):
        list(parts_of(tmp_path / "labels.xlsx"))


@pytest.mark.parametrize(("name", "outcome"), [("image.dcm", Refused), ("[Content_Types].xml", Skipped)])
def test_a_zip_in_a_zip_is_refused_and_a_document_skipped(name, outcome, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner", _zip(name))
    with open_part(Part(tmp_path / "a.zip", "inner"), limit=1 << 20) as file, pytest.raises(outcome):
        read_header(file, limit=1 << 20)
