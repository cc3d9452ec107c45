"""The picture of docs/places.md: what `fistula predict` says of a patient with a finding, from the page that it writes.

    python benchmarks/picture.py RUN SOURCE docs/place.png

`RUN` finds places (`head=locate`); of the patients below `SOURCE` whom it was not trained on the one is drawn who is
called positive with the highest score. Needs Playwright and an installed Chromium.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from playwright.sync_api import sync_playwright

# The stack and what is said of one patient, and nothing else of the page.
ALONE = """key => {
  const section = document.getElementById(key).parentElement;
  for (const one of document.querySelectorAll("header, main > :not(#stack), ol"))
    if (one !== section) one.style.display = "none";
  document.body.style.padding = "8px";
  show(key);
  viewer.draw();
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "predicted"
        words = ("predict", f"run={options.run}", f"source={options.source}", f"out={out}")
        subprocess.run([sys.executable, "-m", "fistula.cli", *words], check=True)
        classes = json.loads((out / "summary.json").read_text())["classes"]
        patients = pl.read_csv(out / "patients.csv").sort("score", descending=True)
        found = patients.filter((pl.col("answer") == classes[-1]) & pl.col("known").fill_null("").ne("trained on"))[
            "patient_key"
        ]
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 880, "height": 760}, color_scheme="light")
            page.goto((out / "index.html").as_uri())
            page.evaluate(ALONE, found[0])
            page.wait_for_timeout(500)
            page.screenshot(path=options.picture, clip=page.locator("main").bounding_box())
            browser.close()


if __name__ == "__main__":
    main()
