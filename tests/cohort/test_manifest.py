import json

import numpy as np
import polars as pl
import pytest

from fistula.cohort.manifest import SCHEMA, manifest_fingerprint, read_cohort
from fistula.errors import DataError


def test_a_whole_cohort_opens_with_its_pixels_on_disk(cohort_folder):
    cohort = read_cohort(cohort_folder)
    assert isinstance(cohort.pixels, np.memmap)
    assert len(cohort.manifest) == len(cohort.pixels) == 60
    assert cohort.classes == ["0", "1"]


def test_a_cohort_may_lie_in_a_folder_of_any_name(cohort_folder):
    there = cohort_folder.rename(cohort_folder.with_name("MR [1] *?"))  # which Polars takes for a pattern
    assert len(read_cohort(there).manifest)


def test_every_cell_counts_in_the_fingerprint(cohort_folder):
    manifest = read_cohort(cohort_folder).manifest
    before = manifest_fingerprint(manifest)
    for column in ("label", "site", "pixel_hash"):
        changed = manifest.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(column).alias(column))
        if not changed.equals(manifest):
            assert manifest_fingerprint(changed) != before
    assert manifest_fingerprint(manifest.reverse()) != before
    assert manifest_fingerprint(manifest.select(reversed(list(SCHEMA)))) == before


def _drop_column(folder):
    manifest = pl.read_parquet(folder / "manifest.parquet").drop("site")
    manifest.write_parquet(folder / "manifest.parquet")


def _change_label(folder):
    manifest = pl.read_parquet(folder / "manifest.parquet").with_columns(label=1 - pl.col("label"))
    manifest.write_parquet(folder / "manifest.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "ingest.json").unlink(), "has no ingest.json"),
        (lambda folder: (folder / "pixels.npy").write_bytes(b"x"), "cannot be read"),
        (
            lambda folder: np.save(folder / "pixels.npy", np.zeros((3, 4, 4), np.uint8)),
            r"one slice per row, found uint8 \(3, 4, 4\)",
        ),
        (lambda folder: (folder / "ingest.json").write_text("{"), "cannot be read"),
        (
            lambda folder: (folder / "ingest.json").write_text(json.dumps({"format": 2, "fingerprint": "x"})),
            "is not the one",
        ),
        (lambda folder: (folder / "ingest.json").write_text("{}"), r"must have format 2, found 1\. Ingest it again"),
        (_drop_column, "lacks the columns site"),
        (_change_label, "is not the one that ingest.json describes"),
    ],
)
def test_a_folder_that_is_no_cohort_is_refused(cohort_folder, spoil, message):
    spoil(cohort_folder)
    with pytest.raises(DataError, match=message):
        read_cohort(cohort_folder)
