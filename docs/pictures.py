"""Make the guide's pictures of the label page anew: `python docs/pictures.py`, with Chromium and Playwright."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy.ndimage import binary_fill_holes, gaussian_filter

from fistula.dicom.identity import ENVIRONMENT, read_pseudonyms
from fistula.dicom.look import Look
from fistula.labels.matching import match
from fistula.labels.tables.read import read_labels
from fistula.source.survey import survey_source
from fistula.source.workers import Workers

DOCS = Path(__file__).parent
SIZE = {"width": 1200, "height": 675}
PATIENTS = ("patients=4", "controls=2", "seed=1")
CLASSES = ["normal", "fistula"]
SHOWN = "viewer.active !== null && viewer.panes.every(pane => pane.painted === pane.slice)"


def command(*words: str) -> None:
    """Run `fistula ...`, or end with its line."""
    subprocess.run([sys.executable, "-m", "fistula.cli", *words], check=True, stdout=subprocess.DEVNULL)


def add_in_phase(folder: Path) -> None:
    """Beside the water stack of each patient, where fat is dark, one in which it is bright, of every second slice."""
    for number, path in enumerate(sorted(folder.glob("*/*.dcm"))):
        image = pydicom.dcmread(path)
        if image.InstanceNumber % 2:
            continue
        water = image.pixel_array.astype(float)
        top = np.percentile(water, 99)
        body = binary_fill_holes(gaussian_filter(water, 4) > 0.07 * top)
        shown = np.maximum(0.6 * water, body * 0.9 * (top - water))
        image.PixelData = np.clip(shown, 0, 2**image.BitsStored - 1).astype(image.pixel_array.dtype).tobytes()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID[:58]}.{number}"
        image.SeriesInstanceUID = f"{image.SeriesInstanceUID[:60]}.1"
        image.ImageType = ["DERIVED", "PRIMARY", "IP", "IP"]
        image.remove_private_tags()  # which say water as well
        del image.WindowCenter, image.WindowWidth
        image.save_as(path.with_name(f"in-phase-{path.name}"))


def answers_of(folder: Path) -> dict[str, dict]:
    """Label and points of every slice by its pseudonym, as the phantom's own table says."""
    pseudonyms = read_pseudonyms(create=True)
    survey = survey_source(folder, Look(pseudonyms, "", 2048, 60.0), Workers(1, "loky"))
    labels = read_labels(folder / "labels.csv", classes=CLASSES)
    images = survey.facts.filter(pl.col("outcome") == "image").with_columns(file_series="series_key")
    return {row["slice_key"]: row for row in match(survey, images, labels, pseudonyms).iter_rows(named=True)}


def click(page: Page, row: float, col: float, *modifiers: str) -> None:
    """Click a place of the first pane's slice."""
    x, y = page.evaluate(
        """([row, col]) => { const pane = viewer.panes[0], box = pane.box(), area = pane.canvas.getBoundingClientRect();
        return [area.left + box.x + (col + 0.5) / pane.series.cols * box.width,
                area.top + box.y + (row + 0.5) / pane.series.rows * box.height]; }""",
        [row, col],
    )
    for key in modifiers:
        page.keyboard.down(key)
    page.mouse.click(x, y)
    for key in modifiers:
        page.keyboard.up(key)


def wait(page: Page, condition: str) -> None:
    """Poll from outside: the page's own policy forbids Playwright to wait inside it."""
    while not page.evaluate(condition):
        page.wait_for_timeout(20)


def save(page: Page, name: str) -> None:
    """A picture of the page in 128 colours, which is half of the file."""
    wait(page, SHOWN)
    page.mouse.move(5, 670)
    page.wait_for_timeout(2600)  # until the last note of what a key did is gone
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(128, kmeans=3, dither=Image.Dither.NONE).save(DOCS / name, optimize=True)
    print(f"{DOCS / name}: {(DOCS / name).stat().st_size // 1000} kB")


def read(page: Page, truth: dict[str, dict]) -> None:
    """Answer most of a patient who has a fistula and a second sequence, as a reader would; end on a marked slice."""
    keys = "viewer.panes[0].series.slices.map(slice => slice.key)"
    for index in range(page.evaluate("state.turns.length")):
        page.evaluate(f"go(state.turns[{index}])")
        wait(page, SHOWN)
        slices = [truth[key] for key in page.evaluate(keys)]
        marked = [number for number, row in enumerate(slices) if row["source_opening_row"] is not None]
        if len(marked) > 4 and page.evaluate("viewer.panes.length") > 1:
            break
    for number, row in enumerate(slices[: marked[-1] - 1]):
        page.evaluate(f"viewer.active.go({number})")
        page.keyboard.press(str(row["label"]))
    middle = marked[len(marked) // 2 - 1]
    page.evaluate(f"viewer.active.go({middle}), viewer.panes.forEach(pane => {{ pane.zoom = 1.6; }}), viewer.draw()")
    wait(page, SHOWN)
    click(page, slices[middle]["source_opening_row"], slices[middle]["source_opening_col"])
    click(page, slices[middle]["source_canal_row"], slices[middle]["source_canal_col"], "Alt")


def main() -> None:
    """Write a phantom, its label page, and the pictures of it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        os.environ[ENVIRONMENT] = str(Path(folder) / "key")
        archive, pages = Path(folder) / "archive", Path(folder) / "pages"
        command("phantom", f"out={archive}", *PATIENTS)
        add_in_phase(archive)
        command("label", f"source={archive}", f"out={pages}", "beside=[mr]")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE)
        page.goto((pages / "label-1.html").as_uri())
        page.fill("#name", "AB")
        page.click("#begin")
        wait(page, SHOWN)
        read(page, answers_of(archive))
        save(page, "label.png")
        page.keyboard.press("?")
        save(page, "label-keys.png")
        browser.close()


if __name__ == "__main__":
    main()
