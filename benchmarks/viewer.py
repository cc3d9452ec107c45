"""The stack viewer in Chromium: how long label pages for 2 000 slices take to open, and a step of the wheel."""

import argparse
import json
import shutil
import statistics
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from fistula.labels.pages.stacks import FILLED
from fistula.labels.pages.write import Question, write_pages
from fistula.viewer.images import QUALITIES, block, encode

PAGE_MB = 60
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Steps as a reader makes them; each is timed from the event until the slice is drawn and a frame has been shown.
STEPS = """async count => {
  const times = [], frame = () => new Promise(requestAnimationFrame);
  for (let i = 0; i < count; i++) {
    await frame();
    const start = performance.now();
    viewer.active.canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 100, cancelable: true }));
    while (viewer.active.painted !== viewer.active.slice) await new Promise(done => setTimeout(done));
    times.push(performance.now() - start);
  }
  return times;
}"""


def patient(key: str, slices: int, side: int, bits: int) -> dict:
    """A patient whose slices differ, with the noise of a good MR image, as `fistula label` encodes them."""
    for quality in QUALITIES if bits == 8 else QUALITIES[:1]:
        found = encoded(key, slices, side, bits, quality)
        if len(found["series"][0]["block"]) < FILLED * PAGE_MB:
            break
    return found


def encoded(key: str, slices: int, side: int, bits: int, quality: int) -> dict:
    """That patient at one quality."""
    random = np.random.default_rng(len(key))
    shape = np.hypot(*np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j])
    images = []
    for number in range(slices):
        values = 2000 * (shape < 0.6 + 0.2 * np.sin(number / 9)) + 60 * random.standard_normal((side, side))
        images.append(encode(values.astype(np.float32), low=-800, high=3295, bits=bits, quality=quality))
    text, places = block(images)
    rows = [
        {"key": f"{key}-{i}", "number": i + 1, "position": float(i), "image": place, "asked": True}
        for i, place in enumerate(places)
    ]
    return {
        "key": key,
        "quality": quality,
        "series": [
            {
                "key": key, "title": "MR axial water", "pane": 0, "plane": 0, "edges": ["R", "L", "A", "P"],
                "axes": [1, 0, 0, 0, 1, 0], "orientation": "axial", "rows": side, "cols": side, "spacing": [0.7, 0.7],
                "has_spacing": True, "bits": bits, "low": -800, "high": 3295, "window": [1000, 2500],
                "presets": [["automatic", 1000, 2500]], "block": text, "slices": rows,
            }
        ],
    }  # fmt: skip


def main() -> None:
    """Write pages, open each, scroll, print medians and the slowest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--slices", type=int, default=100, help="of a patient")
    parser.add_argument("--side", type=int, default=320, help="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    asked = Question(["normal", "fistula"], "slice", "class", "AB", 0, 0.0, ["opening"])
    total = arguments.patients * arguments.slices
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        layouts = {"many patients": (arguments.patients, arguments.slices, 8), "one patient": (1, total, 8)}
        layouts["many patients, 12 bits"] = (arguments.patients, arguments.slices, 12)
        for name, (patients, slices, bits) in layouts.items():
            made = ((patient(f"p{number:03d}", slices, arguments.side, bits), Counter()) for number in range(patients))
            into = Path(folder) / name
            into.mkdir()
            pages, spool = write_pages(into, made, asked, asked=None, page_mb=PAGE_MB)
            path = max(pages, key=lambda page: page.stat().st_size)
            opened, steps, cpu = [], [], []
            for _ in range(arguments.repeats):
                page = browser.new_page(viewport={"width": 1920, "height": 1080})
                clock = page.context.new_cdp_session(page)
                clock.send("Performance.enable")
                page.goto(path.as_uri(), wait_until="commit")
                page.wait_for_selector("#start[open]")
                page.click("#begin")
                while not page.evaluate("viewer.active !== null && viewer.active.painted === viewer.active.slice"):
                    page.wait_for_timeout(5)
                opened.append(page.evaluate("performance.now()") / 1000)
                measured = {one["name"]: one["value"] for one in clock.send("Performance.getMetrics")["metrics"]}
                cpu.append(measured["ProcessTime"])  # of the page's process: what a busy machine does not change
                steps += page.evaluate(STEPS, min(slices - 1, 80))
                page.close()
            print(json.dumps({
                "layout": name, "slices": patients * slices, "pages": len(pages), "side": arguments.side,
                "quality": sorted(set(spool.qualities.values())), "page_mb": round(path.stat().st_size / 1e6, 1),
                "opened_s": round(statistics.median(opened), 2), "opened_cpu_s": round(statistics.median(cpu), 2),
                "step_ms": round(statistics.median(steps), 1),
                "step_ms_95th": round(float(np.percentile(steps, 95)), 1), "step_ms_slowest": round(max(steps), 1),
            }), flush=True)  # fmt: skip
        browser.close()


if __name__ == "__main__":
    main()
