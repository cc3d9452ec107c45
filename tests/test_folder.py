import pytest

from fistula.errors import ConfigError
from fistula.folder import whole_folder, write_whole


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


def test_an_existing_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        pytest.raises(ConfigError, match=r"out=.*out: already exists\. Name another folder"),
        whole_folder(tmp_path / "out"),
    ):
        pass
    assert list((tmp_path / "out").iterdir()) == []


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
