import json
import shutil

import polars as pl
import pytest

from fistula.errors import DataError
from fistula.report.record import verify


@pytest.fixture
def folder(reported, tmp_path):
    shutil.copytree(reported, tmp_path / "study")
    return tmp_path / "study"


def change(folder, edit):
    path = folder / "report" / "report.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_an_untouched_report_is_verified(reported):
    record = json.loads((reported / "report" / "report.json").read_text())
    assert verify(reported) == len(record["numbers"]) > 100


def test_a_tampered_number_is_named(folder):
    def flatter(record):
        record["numbers"]["results / transfer / <script>alert(1)</script> / patient / auroc"]["value"] += 1e-4

    change(folder, flatter)
    with pytest.raises(DataError, match=r"found 1 of \d+ that do not: results / transfer / .* / patient / auroc: "):
        verify(folder)


def test_an_invented_and_a_dropped_number_are_named(folder):
    def edit(record):
        record["numbers"]["results / ours / best"] = {"value": 1.0, "from": []}
        del record["numbers"]["detectable difference / <script>alert(1)</script>"]

    change(folder, edit)
    with pytest.raises(
        DataError, match=r"best: 1.0 stored, nothing recomputed; detectable difference .*: nothing stored"
    ):
        verify(folder)


def test_tampered_predictions_are_found(folder):
    path = next(folder.glob("resnet18-transfer-*-fold1-*/predictions.parquet"))
    pl.read_parquet(path).with_columns(score=pl.col("label").cast(pl.Float64)).write_parquet(path)
    with pytest.raises(DataError, match=r"every number must follow from the stored predictions, found \d+ of"):
        verify(folder)


@pytest.mark.parametrize("name", ["index.html", "results.csv", "reading.html"])
def test_an_edited_file_is_found(folder, name):
    path = folder / "report" / name
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    with pytest.raises(DataError, match=rf"every file of the report must be as it was written, found {name} changed"):
        verify(folder)


@pytest.mark.parametrize(
    "content", [None, "no json", '{"numbers": {}}', '{"numbers": {}, "settings": {"x": 1}, "files": {}}']
)
def test_without_a_readable_record_there_is_nothing_to_verify(folder, content):
    path = folder / "report" / "report.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"cannot be read as the record of a report .* Make the report again"):
        verify(folder)
