"""Where the networks looked: a coarse saliency map of each test slice, small enough to stand in the reading room."""

import base64

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.errors import FistulaError
from fistula.report.run import Run
from fistula.report.study import Study

CELLS = 16  # a side: finer than the last features of a network at 224 pixels, which have 7
WHICH = ("best", "all", "none")
"""Whose runs are explained: the configuration that the reading room opens with, all, or none."""


def run_maps(study: Study, run: Run, positive: str, *, device: str = "cpu") -> tuple[str, str]:
    """Maps of a run's test slices for a class, of the kind of `fistula.explain.cam.method_of`.

    Returns:
        The maps, in the order of the run's test rows, each ``CELLS`` × ``CELLS`` bytes, as base64; and why there are
        none, where the run's network cannot be loaded or explained.
    """
    # Here, because reports without maps need no network.
    from fistula.explain.cam import saliency
    from fistula.predict.runs.model import load_run

    rows = _pixel_rows(study, run)
    try:
        loaded = load_run(run.folder, device=device)
        target = study.cohort.classes.index(positive)
        maps = [saliency(loaded.classifier, loaded.images(np.array([row])), target=target)[0] for row in rows]
    except FistulaError as error:
        return "", f"{error.where}: {error.rule}"
    return base64.b64encode(b"".join(shrink(one).tobytes() for one in maps)).decode(), ""


def shrink(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map in [0, 1], ``(H, W)``, as bytes ``(CELLS, CELLS)``: means over areas."""
    small = cv2.resize(heat, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)


def _pixel_rows(study: Study, run: Run) -> list[int]:
    """The row of the cohort's pixels of each test row; a jittered copy stands with the map of its slice."""
    place = {key: row for row, key in enumerate(study.cohort.manifest["slice_key"])}
    return [place[key] for key in run.slices.filter(pl.col("part") == "test")["slice_key"]]
