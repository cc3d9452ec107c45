"""Published images with the tables that came with them, where they lie beside the repository: one command each."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from fistula.cohort.manifest import read_cohort

DATA = Path(os.environ.get("FISTULA_DATA", Path(__file__).parents[2] / "shared" / "data"))

pytestmark = pytest.mark.slow


@pytest.fixture
def ingested(fistula_here, tmp_path):
    def ingest(folder, source, table, *options):
        if not (DATA / folder / table).is_file():
            pytest.skip(f"{folder} is not at {DATA}")
        words = (f"source={DATA / folder / source}", f"labels={DATA / folder / table}", "out=cohort", *options)
        code, shown, error = fistula_here("ingest", *words, "size=64", "workers.count=1")
        assert code == 0, error
        return json.loads((tmp_path / "cohort" / "ingest.json").read_text()), shown

    return ingest


def test_chest_radiographs_with_a_column_of_another_name_and_columns_of_no_use(ingested):
    record, shown = ingested("cxr-icu", ".", "table.csv", "columns.label=icu", "other_columns=ignore")
    assert (record["labelled"], record["patients"]) == (243, 71)
    assert "other_columns=ignore: left out sex, projection, day" in shown


def test_breast_ultrasound_with_the_places_of_lesions(ingested):
    record, _ = ingested("busi", ".", "labels.csv", "classes=[normal,benign,malignant]")
    assert record["labelled"] == 529


def test_breast_ultrasound_with_its_masks_has_the_places_of_its_table(fistula_here, tmp_path):
    source = DATA / "busi"
    if not (source / "labels.csv").is_file():
        pytest.skip(f"busi is not at {DATA}")
    ways = {
        "masks": ("labels=masks", "patient=(?P<patient>.+)[.]png"),
        "table": (f"labels={source / 'labels.csv'}", "classes=[normal,benign,malignant]"),
    }
    for out, words in ways.items():
        code, _, error = fistula_here("ingest", f"source={source}", *words, f"out={out}", "size=64", "workers.count=1")
        assert code == 0, error
    first, second = (read_cohort(tmp_path / out).manifest.sort("slice_key") for out in ways)
    assert first["slice_key"].to_list() == second["slice_key"].to_list()
    assert first["label"].to_list() == (second["label"] > 0).cast(pl.Int64).to_list()
    off = (first["opening_row"] - second["opening_row"]).abs().drop_nulls()
    assert len(off) > 300
    assert off.median() < 0.2  # the table has centroids of whole masks, this of the largest part of each


def test_tomography_by_path(ingested):
    record, _ = ingested("ct-contrast", "dicom", "labels.csv", "classes=[plain,contrast]", "keep=all")
    assert (record["labelled"], record["patients"]) == (95, 54)
