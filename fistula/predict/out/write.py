"""Write what was predicted: tables, a summary, overlays, and a page that needs nothing beside it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fistula import __version__
from fistula.errors import FistulaError
from fistula.folder import write_whole
from fistula.predict.out.overlay import Overlay, coloured, explained_classes, heat_maps, ringed
from fistula.predict.out.page import render_page
from fistula.predict.places import SCHEMA as PLACES
from fistula.predict.predictor import Prediction, Predictor
from fistula.predict.source import Slices

OVERLAYS = ("places", "positive", "all", "none")
SLICE_COLUMNS = ("slice_key", "patient_key", "series_uid", "instance_uid", "frame", "image_number", "position_mm")
SERIES_COLUMNS = ("series_uid", "series_key", "patient_key", "slices")


def draw_overlays(
    predictor: Predictor, slices: Slices, prediction: Prediction, *, which: str
) -> tuple[list[Overlay], list[str]]:
    """What is drawn over slices: a small mark of each place, or a heat map.

    With ``places`` it is a mark in the slices that places are in, so none for runs that find none; with ``positive`` a
    heat map of every slice not called the first class, with ``all`` of every slice, with ``none`` of none. Gives the
    overlays, and a name and reason of each that could not be drawn: it costs no other, and no score.
    """
    if which == "places":
        if prediction.places is None:
            return [], []
        places = {row["slice_key"]: row for row in prediction.places.iter_rows(named=True)}
        found = [(index, places.get(key)) for index, key in enumerate(prediction.slices["slice_key"])]
        marked = [(index, row) for index, row in found if row and row["row"] is not None]
        return [Overlay(index, ringed(slices.pixels[index], row), is_map=False) for index, row in marked], []
    rows = np.arange(len(slices.table))
    if which == "positive":
        rows = rows[(prediction.slices["decision"] != predictor.classes[0]).to_numpy()]
    elif which == "none":
        rows = rows[:0]
    keys = prediction.slices["slice_key"]
    channels = predictor.channels(slices)[rows]
    targets = explained_classes(predictor, slices.pixels, channels)
    drawn: list[Overlay] = []
    failed: list[str] = []

    def draw(place: int) -> None:
        row = int(rows[place])
        (heat,) = heat_maps(predictor, slices.pixels[channels[[place]]], targets[[place]])
        drawn.append(Overlay(row, coloured(slices.pixels[row], heat)))

    for place, row in enumerate(rows.tolist()):
        attempt(f"overlays/{keys[row]}.png", partial(draw, place), failed)
    return drawn, failed


def attempt(name: str, make: Callable[[], None], failed: list[str], *, path: Path | None = None) -> None:
    """Make something beside the scores; where that fails for whatever reason, name it in `failed` with the reason.

    Of the file that it writes to `path`, nothing then stays.
    """
    try:
        make()
    except Exception as error:  # of a library, of a damaged header, of the disk or the graphics card
        if path is not None:
            path.unlink(missing_ok=True)
        reason = error.rule if isinstance(error, FistulaError) else type(error).__name__
        failed.append(f"{name}: {reason}")


def write_prediction(
    folder: Path, slices: Slices, prediction: Prediction, overlays: list[Overlay], failed: list[str]
) -> None:
    """Fill an empty folder with tables, overlays, a summary and a page.

    ``predictions.csv`` (by slice), ``series.csv``, ``patients.csv``, ``left_out.csv``, for runs that find places
    ``places.csv``, ``summary.json``, ``overlays/SLICE_KEY.png`` and ``index.html``.

    The tables hold the UIDs of series and instances, so that whoever owns the images finds them again; patients stand
    under their pseudonyms, and nothing else that the images say of a person is written.
    """
    results = [name for name in prediction.slices.columns if name.startswith("score") or name == "decision"]
    weight = [name for name in prediction.slices.columns if name == "weight"]  # of runs that score patients
    tables = {
        "predictions": prediction.slices.select(*SLICE_COLUMNS, *results, *weight),
        "series": prediction.series.select(*SERIES_COLUMNS, *results, "marks"),
        "patients": prediction.patients.select(
            "patient_key", "slices", *results, "possible", "known", "marks", "answer"
        ),
        "left_out": prediction.left_out,
    }
    if prediction.places is not None:
        tables["places"] = prediction.places.select(*PLACES)
    for name, table in tables.items():
        (folder / f"{name}.csv").write_text(table.write_csv(), encoding="utf-8")
    if overlays:
        (folder / "overlays").mkdir()
    keys = prediction.slices["slice_key"]
    for overlay in overlays:
        path = folder / "overlays" / f"{keys[overlay.row]}.png"
        attempt(f"overlays/{path.name}", partial(Image.fromarray(overlay.image).save, path), failed, path=path)
    summary = prediction.summary | stamp() | {"failed": failed}
    (folder / "index.html").write_text(render_page(slices, prediction, overlays, summary), encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def complete(folder: Path, failed: list[str], notes: list[str]) -> None:
    """Say in ``summary.json`` what could not be made beside the scores, and what is worth knowing."""
    summary = json.loads((folder / "summary.json").read_text()) | {"failed": failed, "notes": notes}
    write_whole(folder / "summary.json", json.dumps(summary, indent=1) + "\n")


def stamp() -> dict[str, str]:
    """When and by which version something was made."""
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), "version": __version__}
