"""`fistula explain`: whether a run's maps point at the openings, where the cohort says where those are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig

from fistula.errors import DataError, count, refuse_other, refuse_outside
from fistula.explain.cam import method_of
from fistula.explain.pointing import evaluate
from fistula.explain.verdict import KEPT, MADE_OF, read_kept, say_length, say_verdict
from fistula.folder import write_whole
from fistula.learning.places.points import pixel_mm_of
from fistula.predict.runs.ensemble import load_runs
from fistula.predict.runs.model import LoadedRun


def run(cfg: DictConfig) -> None:
    """Evaluate every run that is named, each on its own test slices, and keep the result in its folder."""
    if cfg.method is not None:
        refuse_other("method", cfg.method, MADE_OF)
    refuse_outside("tolerance_mm", cfg.tolerance_mm, 0.1, 1000)
    refuse_outside("seed", cfg.seed, 0, 2**32 - 1)
    for loaded in load_runs(Path(cfg.run), only=cfg.only, device=cfg.device):
        method = cfg.method or method_of(loaded.classifier)
        result = _evaluate(loaded, method=method, tolerance_mm=float(cfg.tolerance_mm), seed=cfg.seed)
        path = loaded.folder / KEPT
        write_whole(path, json.dumps(read_kept(loaded.folder) | {method: result}, indent=1) + "\n")
        maps, guess, chance = result["maps"], result["mean_opening"], result["random_point"]
        print(f"{loaded.name}: {MADE_OF[method]}, {count(maps['slices'], 'test slice')} with a known opening")
        unit = result["unit"]
        print(f"  peak within {say_length(f'{cfg.tolerance_mm:g}', unit)}: {_share(maps)}")
        print(f"  pointing at the mean opening: {_share(guess)}; at a random point of the body: {chance['hits']:.0%}")
        if maps["without_map"]:
            print(f"  {count(maps['without_map'], 'slice')} without a map: no region supported the class")
        far = (one["distance_mm"] for one in (maps, guess, chance))
        means = ("n/a" if distance is None else say_length(f"{distance:.1f}", unit) for distance in far)
        print("  mean distance: {}; of the mean opening: {}; of a random point: {}".format(*means))
        print(f"  {_say_learned(result)}")
        print(f"  {say_verdict(loaded.folder, method=method)}")
        print(f"  kept in {path}")


def _evaluate(loaded: LoadedRun, *, method: str, tolerance_mm: float, seed: int) -> dict[str, Any]:
    if len(loaded.classes) != 2:
        rule = "must have two classes, of which the second has an opening"
        remedy = "fistula predict overlays=all draws its maps"
        raise DataError(f"run={loaded.folder}", rule, found=", ".join(loaded.classes), remedy=remedy)
    has_opening = pl.col("opening_row").is_not_null() & (pl.col("label") == 1)
    key = loaded.key
    tested = loaded.predictions.filter((pl.col("part") == "test") & (pl.col("copy") == 0))[key]
    chosen = loaded.cohort.labelled.filter(has_opening & pl.col(key).is_in(tested.implode()))
    learned = loaded.learned.filter(has_opening)
    if chosen.is_empty() or learned.is_empty():
        remedy = (
            "Give opening_row and opening_col in the table of labels; fistula predict with overlays=all draws the maps"
        )
        rule = "its cohort must have openings in the training and the test set"
        raise DataError(f"run={loaded.folder}", rule, remedy=remedy)
    image_size, size = loaded.resize.image_size, loaded.cohort.pixels.shape[1]

    def in_image(rows: pl.DataFrame) -> np.ndarray:
        return (rows.select("opening_row", "opening_col").to_numpy() + 0.5) * image_size / size - 0.5

    pixel_mm = pixel_mm_of(loaded.cohort, image_size=image_size)
    result = evaluate(
        loaded.classifier,
        loaded.images(chosen["row"].to_numpy()),
        in_image(chosen),
        chosen["patient_key"].to_numpy(),
        guess=in_image(learned).mean(axis=0),
        pixel_mm=pixel_mm or 100 / image_size,
        tolerance_mm=tolerance_mm,
        method=method,
        seed=seed,
    )
    return result | {"unit": "mm" if pixel_mm else "% of the side"}


def _say_learned(result: dict[str, Any]) -> str:
    if result["learned"] is None:
        return "no slice has a map: dependence on what the network learned cannot be tested"
    if result["similarity"] is None:
        return "random weights give no map here: the maps depend on what the network learned"
    depend = "depend" if result["learned"] else "hardly depend"
    said = f"rank correlation with the maps of random weights {result['similarity']:.2f}"
    return f"{said}: the maps {depend} on what the network learned"


def _share(result: dict[str, Any]) -> str:
    if result["hits_low"] is None:
        return f"{result['hits']:.0%}"
    return f"{result['hits']:.0%} ({result['hits_low']:.0%} to {result['hits_high']:.0%})"
