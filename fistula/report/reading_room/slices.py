"""The data of the reading room: every test slice as a small picture, with its label and its scores."""

from typing import Any

import polars as pl

from fistula.cohort.manifest import POINTS, Cohort
from fistula.errors import say_class
from fistula.explain.verdict import MADE_OF, say_verdict
from fistula.report.reading_room.saliency_maps import CELLS, run_maps
from fistula.report.results import Row
from fistula.report.run import Run
from fistula.report.study import Configuration, Study
from fistula.viewer.images import picture, shrunk


def reading_data(
    study: Study, rows: list[Row], *, first: int, maps: str = "none", device: str = "cpu"
) -> dict[str, Any]:
    """Gather what the page of slices needs, as plain JSON values.

    `rows` are its results per patient, whose scores are shown, and `first` the view to open with; `maps` says whose
    saliency maps to make, one of `saliency_maps.WHICH`.

    Returns:
        ``slices``: key, patient, stack (slices of one volume share it), site, position (mm), image number, marks and
        picture (data URI) of each slice that any finished run tested, and ``sequences``: of each of a cohort with
        several its name and pictures, null where it lacks. Marks are what the reference standard gives,
        ``{kind, row, col}`` in pixels of the picture; a run may bring further ones, as its ``marks``, a list for each
        of its test slices. ``rows`` and ``cols``: pixels of a picture. ``views``: for each configuration
        and class, its runs, each with fold, seed, its own thresholds, the scores of its patients, and the indices,
        labels (1: of the class), scores, weights in their patients' scores (null where slices were scored)
        and saliency maps (empty, or as `saliency_maps.run_maps` gives them, with why they are not there) of its test
        slices.
    """
    tested = pl.concat([run.slices.filter(pl.col("part") == "test").select("slice_key") for run in study.runs])[
        "slice_key"
    ].unique()
    manifest = study.cohort.manifest.with_row_index("row").filter(pl.col("slice_key").is_in(tested.implode()))
    manifest = manifest.sort("patient_key", "series_key", "position_mm", "slice_key")
    index = {key: number for number, key in enumerate(manifest["slice_key"])}
    height, width = study.cohort.pixels.shape[1:]
    side = shrunk((height, width))
    slices = {
        "key": manifest["slice_key"].to_list(),
        "patient": manifest["patient_key"].to_list(),
        "stack": manifest.select(pl.struct("series_key", "volume").rank("dense")).to_series().to_list(),
        "site": manifest["site"].fill_null("").to_list(),
        "position": manifest["position_mm"].to_list(),
        "image": manifest["image_number"].to_list(),
        "marks": [_marks(row, (height, width), side) for row in manifest.iter_rows(named=True)],
        "picture": [picture(study.cohort.pixels[row]) for row in manifest["row"]],
        "sequences": _sequences(study.cohort, manifest["slice_key"]),
    }
    shown = [(configuration, positive) for configuration in study.configurations for positive in study.positives]
    by_view, views = {(row.configuration.name, row.positive): row for row in rows}, []
    for number, (configuration, positive) in enumerate(shown):
        explained_on = device if maps == "all" or (maps == "best" and number == first) else None
        row = by_view[configuration.name, positive]
        views.append(_view(study, configuration, positive, index, row, explained_on=explained_on))
    facts = {"classes": study.cohort.classes, "rows": side[0], "cols": side[1], "cells": CELLS}
    return facts | {"slices": slices, "views": views, "first": first}


def _sequences(cohort: Cohort, keys: pl.Series) -> list[dict[str, Any]]:
    """Of a cohort with several sequences the name of each and its pictures in the order of the keys; empty for one.

    Those of the first stand with the slices already.
    """
    found = []
    for name in cohort.sequences:
        there = cohort.beside(keys).filter((pl.col("sequence") == name) & (pl.col("covered") > 0))
        pictures = {key: picture(cohort.pixels[row]) for key, row in there.select("grid_key", "row").iter_rows()}
        found.append({"name": name, "picture": [pictures.get(key) for key in keys]})
    return found


def _marks(row: dict[str, Any], shape: tuple[int, int], side: tuple[int, int]) -> list[dict[str, Any]]:
    """Points of a slice of the manifest in pixels of its picture, the centre of the first pixel being 0."""
    found = []
    for kind in POINTS:
        at: list[Any] = [row.get(f"{kind}_{axis}") for axis in ("row", "col")]
        if None not in at:
            places = [(place + 0.5) * new / old - 0.5 for place, old, new in zip(at, shape, side, strict=True)]
            found.append({"kind": kind, "row": round(places[0], 2), "col": round(places[1], 2)})
    return found


def _named(run: Run, keys: list[str], shape: tuple[int, ...]) -> list[list[dict[str, Any]]] | None:
    """Points that a run names on its test slices, as `_marks` gives the reference; None where it names none."""
    if run.places is None:
        return None
    places = run.places.filter((pl.col("part") == "test") & (pl.col("copy") == 0) & pl.col("row").is_not_null())
    found: dict[str, list[dict[str, Any]]] = {}
    for row in places.iter_rows(named=True):
        own = {f"{row['kind']}_row": row["row"], f"{row['kind']}_col": row["col"]}
        marks = _marks(own, (shape[0], shape[1]), shrunk(shape))
        found.setdefault(row["slice_key"], []).extend({**one, "kind": f"found {one['kind']}"} for one in marks)
    return [found.get(key, []) for key in keys]


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
        method = "grad_cam" if run.places is None else "map"
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
                "weights": test["weight"].to_list() if "weight" in test.columns else None,
                "marks": _named(run, test["slice_key"].to_list(), study.cohort.pixels.shape[1:]),
                "maps": maps,
                "maps_made_of": MADE_OF[method],
                "maps_say": say_verdict(run.folder, method=method),
                "without_maps": without,
            }
        )
    name = configuration.name + (f": {say_class(positive)} against the rest" if several else "")
    return {
        "name": name,
        "positive": positive,
        "rest": study.rest(positive),
        "says": [say_class(study.rest(positive)), say_class(positive)],
        "mark": configuration.mark,
        "warnings": configuration.warnings,
        "runs": runs,
    }
