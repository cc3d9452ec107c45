"""A study's own test patients as another scanner might have shown them: graded changes of the stored pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from fistula.cohort.manifest import Cohort
from fistula.predict.outside import score_cohort
from fistula.predict.predictor import of_runs
from fistula.predict.runs.model import LoadedRun

Change = Callable[[NDArray[np.float64], float, np.random.Generator], NDArray[np.float64]]
STRENGTHS = (1, 2, 3)
SIDE = 256  # pixels of the slices that the widths below are meant for


def _bias(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    angle = random.uniform(0, 2 * np.pi)
    row, column = np.meshgrid(*(np.linspace(-1, 1, side) for side in image.shape), indexing="ij")
    return image * (1 + amount * (np.cos(angle) * row + np.sin(angle) * column))


def _noise(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    return image + random.normal(0, amount, image.shape)


def _blur(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(image, amount * image.shape[0] / SIDE)


def _contrast(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    return 255 * (np.clip(image, 0, 255) / 255) ** amount


def _rotation(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    sign = 1 if random.random() < 0.5 else -1
    return ndimage.rotate(image, sign * amount, reshape=False, order=1, mode="constant")


def _resolution(image: NDArray[np.float64], amount: float, random: np.random.Generator) -> NDArray[np.float64]:
    small = [max(2, round(side / amount)) for side in image.shape]
    coarse = ndimage.zoom(image, np.array(small) / image.shape, order=1, grid_mode=True, mode="nearest")
    return ndimage.zoom(coarse, np.array(image.shape) / coarse.shape, order=1, grid_mode=True, mode="nearest")


# What each does, and how much at each strength.
SHIFTS: dict[str, tuple[Change, tuple[float, float, float], str]] = {
    "bias field": (_bias, (0.2, 0.4, 0.8), "brightness from 1 \N{MINUS SIGN} a to 1 + a across the slice"),
    "noise": (_noise, (6.0, 13.0, 26.0), "standard deviation, of 255 gray levels"),
    "blur": (_blur, (1.5, 3.0, 6.0), "standard deviation, pixels of 256"),
    "contrast": (_contrast, (1.25, 1.6, 2.2), "gamma"),
    "rotation": (_rotation, (5.0, 10.0, 20.0), "degrees, to either side"),
    "resolution": (_resolution, (1.5, 2.0, 4.0), "times as coarse"),
}


@dataclass(frozen=True)
class Shifted:
    """uint8 ``(N, H, W)``, changed as they are asked for; the same slice always alike, whatever else is asked."""

    pixels: NDArray[np.uint8]
    shift: str  # one of `SHIFTS`; empty for none
    strength: int  # one of `STRENGTHS`

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.uint8]:
        found = np.asarray(self.pixels[rows])
        if not self.shift:
            return found
        change, amounts, _ = SHIFTS[self.shift]
        amount = amounts[self.strength - 1]
        changed = [
            change(image.astype(np.float64), amount, np.random.default_rng((int(row), self.strength)))
            for row, image in zip(rows, found, strict=True)
        ]
        return np.clip(np.rint(np.stack(changed)), 0, 255).astype(np.uint8)


def score_shifts(runs: list[LoadedRun], *, error: float) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Score each run's own test patients under every shift, and without one.

    Yields:
        For each run, shift and strength (0: none): its rows as `outside.ScoredCohort.predictions`, ``part`` being test,
        and ``patient_key run answer scanner``; both with ``shift`` and ``strength``.
    """
    for run in runs:
        predictor, test = of_runs([run], error=error), run.predictions.filter(pl.col("part") == "test")
        patients = test["patient_key"].unique().sort().to_list()
        for shift, strength in [("", 0), *((name, level) for name in SHIFTS for level in STRENGTHS)]:
            pixels: Any = Shifted(run.cohort.pixels, shift, strength)
            changed: Cohort = replace(run.cohort, pixels=pixels)
            found = score_cohort(predictor, changed, patients)
            told = {"shift": pl.lit(shift), "strength": pl.lit(strength, pl.Int64)}
            rows = found.predictions.filter(pl.col(run.key).is_in(test[run.key].implode()))
            answers = found.patients.select("patient_key", "answer", "manufacturer", "scanner")
            yield (
                rows.with_columns(part=pl.lit("test"), **told),
                answers.with_columns(run=pl.lit(run.folder.name), **told),
            )
