"""Make the guide's pictures of the label page anew: `python docs/pictures.py`, with Chromium and Playwright."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from PIL import Image
from playwright.sync_api import Page, sync_playwright

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


def answers_of(folder: Path) -> dict[str, dict]:
    """Label and points of every slice by its pseudonym, as the phantom's own table says."""
    pseudonyms = read_pseudonyms(create=True)
    survey = survey_source(folder, Look(pseudonyms, "", 2048, 60.0), Workers(1, "loky"))
    labels = read_labels(folder / "labels.csv", classes=CLASSES)
    images = survey.facts.filter(pl.col("outcome") == "image")
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
    """A picture of the page in 128 colours, which is a third of the file."""
    wait(page, SHOWN)
    page.mouse.move(5, 670)
    page.wait_for_timeout(2600)  # until the last note of what a key did is gone
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(DOCS / name, optimize=True)
    print(f"{DOCS / name}: {(DOCS / name).stat().st_size // 1000} kB")


def read(page: Page, truth: dict[str, dict]) -> None:
    """Answer most of a patient who has a fistula, as a reader would; end on a slice with both points."""
    keys = "viewer.panes[0].series.slices.map(slice => slice.key)"
    for index in range(page.evaluate("state.turns.length")):
        page.evaluate(f"go(state.turns[{index}])")
        wait(page, SHOWN)
        slices = [truth[key] for key in page.evaluate(keys)]
        marked = [number for number, row in enumerate(slices) if row["source_opening_row"] is not None]
        if len(marked) > 4 and marked[0] > 1:
            break
    page.keyboard.press("Home")
    page.keyboard.press("0")
    for _ in range(marked[0] - 2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+0")
    for _ in range(len(marked) - 1):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+1")
    middle = slices[marked[len(marked) // 2]]
    page.evaluate(f"viewer.activate(viewer.panes[0]), viewer.active.go({marked[len(marked) // 2]})")
    wait(page, SHOWN)
    click(page, middle["source_opening_row"], middle["source_opening_col"])
    if middle["source_canal_row"] is not None:
        click(page, middle["source_canal_row"], middle["source_canal_col"], "Alt")


def main() -> None:
    """Write a phantom, its label page, and the pictures of it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        os.environ[ENVIRONMENT] = str(Path(folder) / "key")
        archive, pages = Path(folder) / "archive", Path(folder) / "pages"
        command("phantom", f"out={archive}", *PATIENTS)
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
