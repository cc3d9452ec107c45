"""The data of the reading room: every test slice as a small picture, with its label and its scores."""

import base64
import io
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from fistula.report.results import Row
from fistula.report.saliency_maps import CELLS, run_maps
from fistula.report.study import Configuration, Study

SIDE = 224  # pixels, at most; a larger slice is shrunk
OPENING = ("opening_row", "opening_col")
QUALITY = 75  # of WebP: enough to see what was missed; a diagnosis is made on the source


def reading_data(
    study: Study, rows: list[Row], *, first: int, maps: str = "none", device: str = "cpu"
) -> dict[str, Any]:
    """Gather what the page of slices needs, as plain JSON values.

    Args:
        study: With its finished runs.
        rows: Its results per patient, whose scores are shown.
        first: Which view to open with.
        maps: Whose saliency maps to make, one of `saliency_maps.WHICH`.
        device: That makes them.

    Returns:
        ``slices``: key, patient, site, position (mm), image number, marked finding (row and column as shares of the
        picture) and picture (data URI) of each slice that any finished run tested; ``views``: for each configuration
        and class, its runs, each with fold, seed, its own thresholds, the scores of its patients, and the indices,
        labels (1: of the class), scores and saliency maps (empty, or as `saliency_maps.run_maps` gives them, with why
        they are not there) of its test slices.
    """
    tested = pl.concat([run.slices.filter(pl.col("part") == "test").select("slice_key") for run in study.runs])[
        "slice_key"
    ].unique()
    manifest = study.cohort.manifest.with_row_index("row").filter(pl.col("slice_key").is_in(tested.implode()))
    manifest = manifest.sort("patient_key", "series_key", "position_mm", "slice_key")
    index = {key: number for number, key in enumerate(manifest["slice_key"])}
    slices = {
        "key": manifest["slice_key"].to_list(),
        "patient": manifest["patient_key"].to_list(),
        "site": manifest["site"].fill_null("").to_list(),
        "position": manifest["position_mm"].to_list(),
        "image": manifest["image_number"].to_list(),
        "finding": [_share(at, study.cohort.pixels.shape[1:]) for at in manifest.select(*OPENING).iter_rows()],
        "picture": [picture(study.cohort.pixels[row]) for row in manifest["row"]],
    }
    shown = [(configuration, positive) for configuration in study.configurations for positive in study.positives]
    views = [
        _view(
            study,
            configuration,
            positive,
            index,
            next(row for row in rows if (row.configuration.name, row.positive) == (configuration.name, positive)),
            explained_on=device if maps == "all" or (maps == "best" and number == first) else None,
        )
        for number, (configuration, positive) in enumerate(shown)
    ]
    height, width = study.cohort.pixels.shape[1:]
    facts = {"classes": study.cohort.classes, "aspect": width / height, "cells": CELLS}
    return facts | {"slices": slices, "views": views, "first": first}


def picture(pixels: NDArray[np.uint8]) -> str:
    """Encode a slice ``(H, W)`` as a data URI of at most `SIDE` pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((SIDE, SIDE))
    encoded = io.BytesIO()
    image.save(encoded, format="WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def _share(opening: tuple[float | None, ...], shape: tuple[int, ...]) -> list[float] | None:
    """A point in pixels, the centre of the first being 0, as shares of the picture's sides."""
    row, column = opening
    return None if row is None or column is None else [(row + 0.5) / shape[0], (column + 0.5) / shape[1]]


def _view(
    study: Study,
    configuration: Configuration,
    positive: str,
    index: dict[str, int],
    patients: Row,
    *,
    explained_on: str | None,
) -> dict[str, Any]:
    classes = study.cohort.classes
    several = len(study.positives) > 1
    runs = []
    for number, run in enumerate(configuration.runs):
        test = run.slices.filter(pl.col("part") == "test")
        maps, without = run_maps(study, run, positive, device=explained_on) if explained_on else ("", "not asked for")
        runs.append(
            {
                "fold": run.record["fold"],
                "seed": run.record["seed"],
                "threshold": study.threshold(run, positive, level="slice"),
                "patient_threshold": study.threshold(run, positive, level="patient"),
                "patients": dict(patients.rows.filter(pl.col("run") == number).select("unit", "score").iter_rows()),
                "slices": [index[key] for key in test["slice_key"]],
                "labels": (test["label"] == classes.index(positive)).cast(pl.Int64).to_list(),
                "scores": test[f"score_{positive}" if several else "score"].to_list(),
                "maps": maps,
                "without_maps": without,
            }
        )
    name = configuration.name + (f": {positive} against the rest" if several else "")
    return {
        "name": name,
        "positive": positive,
        "rest": study.rest(positive),
        "mark": configuration.mark,
        "warnings": configuration.warnings,
        "runs": runs,
    }
