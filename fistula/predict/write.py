"""Write what was predicted: tables, a summary, overlays, and a page that needs nothing beside it."""

import base64
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from fistula import __version__
from fistula.predict.overlay import coloured, explained_classes, heat_maps
from fistula.predict.predictor import Prediction, Predictor
from fistula.predict.source import Slices

OVERLAYS = ("all", "positive", "none")
SIDE = 224  # pixels, at most, of a picture on the page
SLICE_COLUMNS = ("slice_key", "patient_key", "series_uid", "instance_uid", "frame", "position_mm")
SERIES_COLUMNS = ("series_uid", "series_key", "patient_key", "slices")


@dataclass(frozen=True)
class Overlay:
    """A slice with its map: the row of the prediction's slices, and RGB ``(size, size, 3)``."""

    row: int
    image: NDArray[np.uint8]


def draw_overlays(predictor: Predictor, slices: Slices, prediction: Prediction, *, which: str) -> list[Overlay]:
    """Overlays of every slice, of those not called the first class, or of none."""
    rows = np.arange(len(slices.pixels))
    if which == "positive":
        rows = rows[(prediction.slices["decision"] != predictor.classes[0]).to_numpy()]
    elif which == "none":
        rows = rows[:0]
    channels = predictor.channels(slices)[rows]
    targets = explained_classes(predictor, slices.pixels, channels)
    maps = heat_maps(predictor, slices.pixels[channels], targets)
    pictures = [coloured(image, heat) for image, heat in zip(slices.pixels[rows], maps, strict=True)]
    return [Overlay(int(row), picture) for row, picture in zip(rows, pictures, strict=True)]


def write_prediction(folder: Path, slices: Slices, prediction: Prediction, overlays: list[Overlay]) -> None:
    """Fill a folder with tables, overlays, a summary and a page.

    ``predictions.csv`` (by slice), ``series.csv``, ``patients.csv``, ``left_out.csv``, ``summary.json``,
    ``overlays/SLICE_KEY.png`` and ``index.html``.

    The tables hold the UIDs of series and instances, so that whoever owns the images finds them again; patients stand
    under their pseudonyms, and nothing else that the images say of a person is written.
    """
    results = [name for name in prediction.slices.columns if name.startswith("score") or name == "decision"]
    tables = {
        "predictions": prediction.slices.select(*SLICE_COLUMNS, *results),
        "series": prediction.series.select(*SERIES_COLUMNS, *results, "marks"),
        "patients": prediction.patients.select(
            "patient_key", "slices", *results, "possible", "known", "marks", "answer"
        ),
        "left_out": prediction.left_out,
    }
    for name, table in tables.items():
        table.write_csv(folder / f"{name}.csv")
    summary = prediction.summary | stamp()
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    if overlays:
        (folder / "overlays").mkdir()
    keys = prediction.slices["slice_key"]
    for overlay in overlays:
        Image.fromarray(overlay.image).save(folder / "overlays" / f"{keys[overlay.row]}.png")
    (folder / "index.html").write_text(render_page(slices, prediction, overlays, summary), encoding="utf-8")


def note_failures(folder: Path, failed: list[str]) -> None:
    """Name in ``summary.json`` what could not be made beside the scores."""
    summary = json.loads((folder / "summary.json").read_text()) | {"failed": failed}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def stamp() -> dict[str, str]:
    """When and by which version something was made."""
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), "version": __version__}


def render_page(slices: Slices, prediction: Prediction, overlays: list[Overlay], summary: dict[str, Any]) -> str:
    """The page of patients and slices, which needs nothing beside it."""
    drawn = {overlay.row: overlay.image for overlay in overlays}
    pictures = [
        {
            **row,
            "picture": picture(np.asarray(slices.pixels[index])),
            "overlay": picture(drawn[index]) if index in drawn else "",
        }
        for index, row in enumerate(prediction.slices.iter_rows(named=True))
    ]
    by_patient: dict[str, list[dict[str, Any]]] = {}
    for row in pictures:
        by_patient.setdefault(row["patient_key"], []).append(row)
    environment = Environment(
        loader=PackageLoader("fistula.predict"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("index.html").render(
        summary=summary,
        patients=prediction.patients.to_dicts(),
        slices=by_patient,
        left_out=prediction.left_out.group_by("reason").agg(pl.len().alias("count")).sort("reason").to_dicts(),
        score_columns=[name for name in prediction.slices.columns if name.startswith("score_")],
    )


def picture(pixels: NDArray[np.uint8]) -> str:
    """Encode grey ``(H, W)`` or RGB ``(H, W, 3)`` as a data URI of at most `SIDE` pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    image.save(encoded, format="WEBP", quality=80, method=2)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()
