import os
from dataclasses import replace

import numpy as np
import pytest

from fistula.cohort.manifest import read_cohort
from fistula.learning.data import resized as module
from fistula.learning.data.resized import ResizedAnew, resized
from fistula.learning.data.slices import Resize

from ..conftest import write_cohort

ROWS = np.array([0, 2, 5])


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path / "cohort", patients=2, slices=3))


def test_each_slice_is_the_one_that_would_be_resized_anew(cohort):
    resize = Resize(48, "bicubic")
    kept, anew = resized(cohort, resize, ROWS), ResizedAnew(cohort.pixels, resize)
    for row in ROWS:
        np.testing.assert_array_equal(kept[row], anew[row])


def test_slices_are_resized_once_for_all_runs(cohort, monkeypatch):
    resize = Resize(16, "bicubic")
    first = np.array(resized(cohort, resize, ROWS))
    monkeypatch.setattr(Resize, "__call__", lambda self, image: pytest.fail("resized a second time"))
    np.testing.assert_array_equal(resized(cohort, resize, ROWS), first)


def test_slices_of_the_right_size_are_the_cohorts_own(cohort):
    assert resized(cohort, Resize(32, "bicubic"), ROWS) is cohort.pixels
    assert not list(cohort.folder.glob(".*"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: replace(c, record=c.record | {"fingerprint": "0" * 64}), id="another cohort there now"),
        pytest.param(lambda c: c, id="other rows"),
    ],
)
def test_what_is_kept_is_of_this_cohort_and_these_rows(cohort, change):
    resize = Resize(16, "bicubic")
    resized(cohort, resize, ROWS)
    changed = replace(change(cohort), pixels=255 - np.array(cohort.pixels))
    rows = ROWS if changed.record != cohort.record else np.arange(6)
    np.testing.assert_array_equal(resized(changed, resize, rows)[5], resize(255 - np.array(cohort.pixels[5])))


def test_a_damaged_file_or_a_full_disk_costs_time_and_no_run(cohort, caplog, monkeypatch):
    caplog.set_level("INFO")
    resize = Resize(16, "bicubic")
    resized(cohort, resize, ROWS)
    (path,) = cohort.folder.glob(".resized-*.npy")
    path.write_bytes(b"half")
    np.testing.assert_array_equal(resized(cohort, resize, ROWS)[5], resize(np.asarray(cohort.pixels[5])))
    path.unlink()
    monkeypatch.setattr(module, "SHARE_OF_FREE", 0.0)
    np.testing.assert_array_equal(resized(cohort, resize, ROWS)[5], resize(np.asarray(cohort.pixels[5])))
    assert not list(cohort.folder.glob(".resized-*"))
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "slices are resized again in each epoch"
    ] * 2


def test_few_sizes_are_kept_beside_a_cohort_the_latest_among_them(cohort):
    for number, size in enumerate(range(8, 15)):
        resized(cohort, Resize(size, "bicubic"), ROWS)
        for path in cohort.folder.glob(f".resized-*-{size}-*.npy"):
            os.utime(path, (number, number))
    kept = sorted(int(path.name.split("-")[2]) for path in cohort.folder.glob(".resized-*.npy"))
    assert kept == [11, 12, 13, 14]
