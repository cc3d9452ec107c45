"""Published images with the tables that came with them, where they lie beside the repository: the guide's commands."""

import json
import os
import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from fistula.cohort.manifest import read_cohort

DATA = Path(os.environ.get("FISTULA_DATA", Path(__file__).parents[2] / "shared" / "data"))
GUIDE = Path(__file__).parents[1] / "docs" / "own-data.md"

pytestmark = pytest.mark.slow


@pytest.fixture
def ingested(fistula_here, tmp_path):
    """Run the guide's command that writes `out`, as it stands there, beside data of the names that it has."""

    def ingest(folder, out):
        if not (DATA / folder).is_dir():
            pytest.skip(f"{folder} is not at {DATA}")
        (tmp_path / folder).symlink_to(DATA / folder)
        (line,) = re.findall(rf"^fistula (ingest source={folder}.* out={out})$", GUIDE.read_text(), re.MULTILINE)
        code, shown, error = fistula_here(*shlex.split(line), "size=64", "workers.count=1")
        assert code == 0, error
        return json.loads((tmp_path / out / "ingest.json").read_text()), shown, read_cohort(tmp_path / out).manifest

    return ingest


def test_chest_radiographs_with_a_column_of_another_name_and_columns_of_no_use(ingested):
    record, shown, _ = ingested("cxr-icu", "data/cxr")
    assert (record["labelled"], record["patients"]) == (243, 71)
    assert "other_columns=ignore: ignored sex, projection, day" in shown


def test_breast_ultrasound_by_its_table_and_by_its_masks(ingested, tmp_path):
    record, _, of_table = ingested("busi", "data/busi")
    assert record["by_class"].keys() == {"normal", "benign", "malignant"}
    assert record["labelled"] == 529
    (tmp_path / "busi").unlink()
    _, _, of_masks = ingested("busi", "data/busi-masks")
    table, masks = (one.sort("slice_key") for one in (of_table, of_masks))
    assert masks["slice_key"].to_list() == table["slice_key"].to_list()
    assert masks["label"].to_list() == (table["label"] > 0).cast(pl.Int64).to_list()
    off = (masks["opening_row"] - table["opening_row"]).abs().drop_nulls()
    assert len(off) > 300
    assert off.median() < 0.2  # the table has centroids of whole masks, this of the largest part of each


def test_tomography_by_path(ingested):
    record, _, _ = ingested("ct-contrast", "data/ct")
    assert (record["labelled"], record["patients"]) == (95, 54)
