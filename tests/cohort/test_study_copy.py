import errno
import os
import shutil

import pytest

from fistula.cohort.manifest import read_cohort
from fistula.cohort.study_copy import link_cohort
from fistula.errors import ConfigError

from ..conftest import write_cohort


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path / "cohort", patients=4))


def test_a_study_keeps_its_cohort_without_taking_space(cohort, tmp_path):
    link_cohort(cohort, tmp_path / "study")
    kept = read_cohort(tmp_path / "study" / "cohort")
    assert kept.fingerprint == cohort.fingerprint
    for path in kept.folder.iterdir():
        assert path.samefile(cohort.folder / path.name)


def test_where_the_file_system_has_no_links_the_cohort_is_copied(cohort, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    link_cohort(cohort, tmp_path / "study")
    shutil.rmtree(cohort.folder)
    assert read_cohort(tmp_path / "study" / "cohort").fingerprint == cohort.fingerprint


def test_a_study_that_keeps_another_cohort_refuses_this_one(cohort, tmp_path):
    link_cohort(cohort, tmp_path / "study")
    link_cohort(cohort, tmp_path / "study")
    other = read_cohort(write_cohort(tmp_path / "other", patients=6))
    with pytest.raises(ConfigError, match=r"is not the cohort of the study .*: a study has one"):
        link_cohort(other, tmp_path / "study")
    assert read_cohort(tmp_path / "study" / "cohort").fingerprint == cohort.fingerprint


def test_a_cohort_that_cannot_be_kept_leaves_nothing_behind(cohort, tmp_path):
    (cohort.folder / "pixels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"pixels\.npy"):
        link_cohort(cohort, tmp_path / "study")
    assert not (tmp_path / "study").exists()
