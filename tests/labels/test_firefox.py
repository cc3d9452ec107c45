"""The label page in Firefox: what a reader answers there by keys and clicks becomes a cohort."""

import csv
import time

import numpy as np
import polars as pl
import pytest
from labels.firefox import FIREFOX, Firefox

SLICES = 6


@pytest.fixture
def archive(tmp_path, write_dicom):
    random = np.random.default_rng(1)
    for place in range(2 * SLICES):
        patient = place // SLICES
        write_dicom(
            tmp_path / "archive" / f"{place}.dcm", random.integers(0, 4000, (60, 40)).astype(np.uint16),
            SOPInstanceUID=f"2.25.77{place}", SeriesInstanceUID=f"2.25.88{patient}", PixelSpacing=[0.5, 1.0],
            StudyInstanceUID=f"2.25.99{patient}", PatientID=f"PID-{patient}",
            ImagePositionPatient=[0, 0, 3.0 * place], InstanceNumber=place + 1,
        )  # fmt: skip
    return tmp_path / "archive"


@pytest.fixture
def firefox(tmp_path):
    if FIREFOX is None:
        pytest.skip("no Firefox on this machine: apt-get install firefox-esr")
    browser = Firefox(tmp_path / "profile", tmp_path / "downloads")
    yield browser
    browser.close()


@pytest.mark.slow
def test_what_is_answered_in_firefox_becomes_a_cohort(archive, firefox, fistula_here, tmp_path):
    code, _, error = fistula_here("label", f"source={archive}", "out=labels", "workers.count=1")
    assert code == 0, error

    def begin(name):
        firefox.wait("document.querySelector('#start').open")  # once what the browser keeps has been looked for
        firefox.type("#name", name)
        firefox.press("Enter")
        firefox.wait("document.querySelector('.corner.sw').textContent.includes('/ 6')")

    firefox.call("Navigate", url=(tmp_path / "labels" / "label-1.html").as_uri())
    begin("AB")
    left, top, wide, high = firefox.script(
        "const area = document.querySelector('canvas.slice').getBoundingClientRect();"
        "return [area.left, area.top, area.width, area.height]"
    )
    scale = min(high / (60 * 0.5), wide / (40 * 1.0))  # the whole slice, in the middle

    def at(row, col):
        return left + wide / 2 + (col + 0.5 - 20) * scale, top + high / 2 + (row + 0.5 - 30) * 0.5 * scale

    firefox.press("0 ArrowDown ArrowDown Shift+1")  # 0 1 1 1
    firefox.wheel(*at(30, 20), -100)
    firefox.wait("document.querySelector('.corner.sw').textContent.startsWith('4 / 6')")
    firefox.click_at(*at(20, 30))
    firefox.click_at(*at(20, 10), held="Alt")
    firefox.wait("document.querySelector('#place').textContent.includes(\"3.0 o'clock\")")  # 20 pixels to the left
    firefox.press("n")  # the rest, and the next patient comes
    firefox.wait("document.querySelector('#patient b').textContent === 'Patient 2 of 2'")
    firefox.press("u n")
    firefox.wait("document.querySelector('#total').textContent.includes('2 of 2')")

    firefox.call("Refresh")
    begin("")  # the name is there again
    firefox.wait("document.querySelector('#total').textContent.includes('2 of 2')")
    firefox.click("[data-do=export]")
    deadline = time.monotonic() + 20
    while not (found := [path for path in (tmp_path / "downloads").glob("*.csv") if path.stat().st_size]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with found[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["label"] for row in rows) == ["", *["fistula"] * 3, *["normal"] * 8]
    marked = next(row for row in rows if row["opening_row"])
    assert [float(marked[name]) for name in ("opening_row", "opening_col", "canal_row", "canal_col")] == pytest.approx(
        [20, 30, 20, 10], abs=0.1
    )

    code, _, error = fistula_here("ingest", f"source={archive}", f"labels={found[0]}", "out=cohort", "workers.count=1")
    assert code == 0, error
    manifest = pl.read_parquet(tmp_path / "cohort" / "manifest.parquet")
    assert manifest["label"].value_counts(sort=True)["count"].to_list() == [8, 3, 1]
