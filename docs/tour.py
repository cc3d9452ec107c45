"""Make README's picture of a leaky split, its moving one, and those of report, reading room and place, from real pages.

    python docs/tour.py leakage=multirun/leakage study=multirun/demonstration scores=scores

Needs Chromium and Playwright; `docs/pictures.py` makes the picture of the label page, with which the tour begins.
"""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import polars as pl
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
WIDTH, HEIGHT, BAND = 960, 600, 44  # pixels of the tour; the band at its top says what is done
SECONDS = 3
COLUMNS = 188
SMALL = ".shown, .shown * { font-size: 10.5px !important; line-height: 1.4 !important; }"
STEPS = ("1 Label", "2 Train", "3 Report", "4 Place")


def draw_leak(study: Path) -> None:
    """AUROC by slice with its interval, split by image and by patient, labels as given and permuted."""
    rows = pl.read_csv(study / "report" / "results.csv").filter(pl.col("level") == "slice")
    mpl.rcParams.update({"font.family": "sans-serif", "font.size": 11})
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    lines = [("given", "image_holdout"), ("given", "patient_kfold"), ("permuted_by_patient", "image_holdout"),
             ("permuted_by_patient", "patient_kfold")]  # fmt: skip
    for height, (labels, split) in enumerate(reversed(lines)):
        row = rows.filter((pl.col("labelling") == labels) & (pl.col("split") == split)).row(0, named=True)
        colour = "#d55e00" if split == "image_holdout" else "#0072b2"
        axes.plot([row["auroc_low"], row["auroc_high"]], [height, height], color=colour, linewidth=3)
        axes.plot(row["auroc"], height, "o", color=colour, markersize=9)
        said = f"{row['auroc']:.2f} ({row['auroc_low']:.2f} to {row['auroc_high']:.2f})"
        axes.text(1.03, height, said, va="center", color=colour)
        print(labels, split, said)
    names = {"image_holdout": "split by image", "patient_kfold": "split by patient"}
    about = {"given": "true labels", "permuted_by_patient": "permuted labels"}
    axes.set_yticks(range(4), [f"{about[labels]}, {names[split]}" for labels, split in reversed(lines)])
    axes.axvline(0.5, color="#888888", linewidth=1, linestyle=":")
    axes.set_xlim(0.2, 1.02)
    axes.set_ylim(-0.5, 3.5)
    axes.set_xlabel("AUROC with 95% CI; 0.5 is chance")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(DOCS / "why.png", dpi=110)


def terminal(study: Path) -> str:
    """What `fistula status` shows of the study, as a page."""
    home, name = study.resolve().parents[1], f"{study.resolve().parent.name}/{study.name}"
    words = (sys.executable, "-m", "fistula.cli", "status", f"study={name}")
    seen = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    shown = subprocess.run(words, check=True, capture_output=True, text=True, env=seen, cwd=home)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ fistula train -m cohort=data/cohort study=demonstration", style="bold"))
    console.print(Text.from_ansi(shown.stdout))
    page = console.export_html(inline_styles=True).replace("<pre ", '<pre class="shown" ')
    return page.replace("</head>", f"<style>{SMALL}</style></head>")


def film(study: Path, scores: Path) -> None:
    """Label page, terminal, report and prediction as an animated GIF; report and reading room by themselves as well."""
    frames = [Image.open(DOCS / "label.png").convert("RGB")]
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 695})
        page.set_content(terminal(study))
        frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        for shown in (study / "report" / "index.html", scores / "index.html"):
            page.goto(shown.resolve().as_uri())
            page.wait_for_timeout(1500)
            page.evaluate("document.getElementById('shown')?.scrollIntoView()")  # and its clock
            page.wait_for_timeout(200)
            frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        page.set_viewport_size({"width": 1200, "height": 1080})
        for shown, name in (("index.html", "report.png"), ("reading.html", "reading.png")):
            page.goto((study / "report" / shown).resolve().as_uri())
            page.wait_for_timeout(2500)
            _save(page.screenshot(), name)
        page.set_viewport_size({"width": 960, "height": 1800})
        page.goto((scores / "index.html").resolve().as_uri())
        page.wait_for_timeout(1500)
        top, end = (page.locator(one).first.bounding_box() for one in ("#stack", "section table"))
        _save(page.screenshot(clip=top | {"height": end["y"] + end["height"] - top["y"]}), "place.png")
        browser.close()
    drawn = [_framed(frame, number) for number, frame in enumerate(frames)]
    drawn[0].save(
        DOCS / "tour.gif", save_all=True, append_images=drawn[1:], duration=SECONDS * 1000, loop=0, optimize=True
    )
    print(f"{DOCS / 'tour.gif'}: {(DOCS / 'tour.gif').stat().st_size // 1000} kB")


def _save(picture: bytes, name: str) -> None:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(255, kmeans=3, dither=Image.Dither.NONE).save(DOCS / name, optimize=True)


def _framed(frame: Image.Image, number: int) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    shown = frame.resize((WIDTH, round(frame.height * WIDTH / frame.width)), Image.Resampling.LANCZOS)
    picture.paste(shown.crop((0, 0, WIDTH, HEIGHT - BAND)), (0, BAND))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(22)
    pen.rectangle((0, 0, WIDTH, BAND), fill="#1f2933")
    for step, name in enumerate(STEPS):
        pen.text((24 + step * 150, 9), name, fill="#ffffff" if step == number else "#7b8794", font=font)
    return picture.quantize(128, kmeans=3, dither=Image.Dither.NONE)  # the ring keeps its color


def main(*words: str) -> None:
    """Write `docs/why.png`, or all other pictures: whichever study is given."""
    given = {key: Path(value) for key, _, value in (word.partition("=") for word in words)}
    if "leakage" in given:
        draw_leak(given["leakage"])
    if "study" in given:
        film(given["study"], given["scores"])


if __name__ == "__main__":
    main(*sys.argv[1:])
