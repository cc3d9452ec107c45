from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest

from fistula.cohort.split_table import read_split, split_fingerprint, split_table, write_split
from fistula.errors import ConfigError, DataError


def make_table(*parts):
    keys = [f"s{number}" for number in range(len(parts))]
    return pl.DataFrame({"slice_key": keys, "copy": 0, "fold": 0, "part": parts})


TABLE = make_table("train", "val", "test")


def test_a_split_is_read_as_it_was_written(tmp_path):
    write_split(tmp_path / "study" / "split.parquet", TABLE)
    assert read_split(tmp_path / "study" / "split.parquet").equals(TABLE)
    assert [file.name for file in (tmp_path / "study").iterdir()] == ["split.parquet"]


def test_the_fingerprint_is_of_the_rows_in_any_order_and_of_every_cell():
    assert split_fingerprint(TABLE) == split_fingerprint(TABLE.reverse())
    others = [make_table("train", "test", "val"), TABLE.with_columns(fold=1), TABLE.with_columns(copy=1), TABLE[:2]]
    assert len({split_fingerprint(table) for table in (TABLE, *others)}) == 5


def test_no_two_runs_of_a_study_can_differ_in_their_split(tmp_path):
    path = tmp_path / "split.parquet"
    write_split(path, TABLE)
    write_split(path, TABLE.reverse())
    with pytest.raises(ConfigError, match=r"split.parquet: a study has one split, and this run's is another. Use the"):
        write_split(path, make_table("train", "test", "val"))
    assert read_split(path).equals(TABLE)


def test_of_runs_that_start_at_once_with_different_splits_one_alone_goes_on(tmp_path):
    tables = [make_table(*(["train"] * number + ["test"] * (20 - number))) for number in range(16)]

    def attempt(table):
        try:
            write_split(tmp_path / "split.parquet", table)
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, tables)) == 1


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "split.parquet"
    make_table("train", "test", "test").write_parquet(path, metadata={"fingerprint": split_fingerprint(TABLE)})
    with pytest.raises(DataError, match=r"split.parquet: is not the split that was written here"):
        read_split(path)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "split.parquet").write_bytes(b"slice_key,fold,part")
    with pytest.raises(DataError, match=r"split.parquet: cannot be read as a split"):
        read_split(tmp_path / "split.parquet")


def test_of_three_classes_training_needs_all_and_the_others_two():
    images = pl.DataFrame({"slice_key": list("abcdefghi"), "label": [0, 1, 2] * 3})
    parts = np.array(["train"] * 3 + ["val", "val", "test", "test", "val", "val"])
    table = split_table("predefined", images, [parts])
    assert table["part"].to_list() == parts.tolist()
    assert set(table["copy"]) == {0}
    with pytest.raises(DataError, match=r"fold 0: the training set must hold every class, found 2 classes in 2 slices"):
        split_table("predefined", images, [np.where(np.arange(9) == 2, "val", parts)])
    with pytest.raises(DataError, match=r"the test set must hold slices of at least two classes, found class 2 only"):
        split_table("predefined", images, [np.where(np.arange(9) == 6, "val", parts)])
