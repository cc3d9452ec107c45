import errno
import os
from pathlib import Path

import pytest

from fistula.dicom.identity import read_pseudonyms
from fistula.errors import ConfigError, DataError
from fistula.folder import name_once, refuse_inside, temporary_folder, whole_folder, write_whole
from fistula.sweep.folder.ownership import claim, holder_of


def test_a_folder_appears_when_the_block_ends_and_not_before(tmp_path):
    target = tmp_path / "deep" / "out"
    with whole_folder(target) as partial:
        (partial / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with whole_folder(tmp_path / "deep" / "out") as partial:
            (partial / "file").write_text("half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("make", "where"), [(whole_folder, r"out=\S+out"), (temporary_folder, r"TMPDIR=\S+")])
def test_a_full_disk_is_named_by_the_key_that_leads_elsewhere(make, where, tmp_path, with_a_full_disk):
    def write():
        with make(tmp_path / "out" if make is whole_folder else "read") as folder:
            (folder / "file").write_bytes(bytes(1000))

    with pytest.raises(DataError, match=where + r": cannot be written \(File too large\)\. Free some space"):
        with_a_full_disk(100, write)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_full_disk_does_not_take_is_named(tmp_path, with_a_full_disk):
    with pytest.raises(OSError, match=r"File too large: '\S+/table.csv'") as found:
        with_a_full_disk(100, write_whole, tmp_path / "table.csv", "x" * 1000)
    assert found.value.filename == str(tmp_path / "table.csv")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(ConfigError, match=r"out=.*out: already exists\. Name another folder"),
        whole_folder(tmp_path / "out"),
    ):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_whose_replacement_is_interrupted_is_back_in_its_place(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "page").write_text("old")
    rename = Path.rename

    def interrupted(self, target):
        if self.suffix == ".partial":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a", replace=True) as folder:
        (folder / "page").write_text("new")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/page"]
    assert (tmp_path / "a" / "page").read_text() == "old"


def test_links_that_form_a_ring_are_no_place_to_write(tmp_path):
    (tmp_path / "ring").symlink_to("ring")
    refuse_inside(tmp_path / "ring" / "out", tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be made"), whole_folder(tmp_path / "ring" / "out"):
        pass


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_whole(path, 3)  # neither text nor bytes
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "FAT or a network share"])
def test_a_name_is_given_once_and_to_a_whole_file(tmp_path, monkeypatch, has_links):
    if not has_links:

        def refuse(*_):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    name_once(tmp_path / "first", tmp_path / "taken")
    with pytest.raises(FileExistsError):
        name_once(tmp_path / "second", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "first"
    monkeypatch.setenv("FISTULA_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    assert read_pseudonyms(create=True)("a", "b") == read_pseudonyms(create=True)("a", "b")
    claimed = claim(tmp_path / "run")
    assert holder_of(tmp_path / "run").number == 0
    claimed.release()
    assert not list(tmp_path.rglob(".*.partial"))
