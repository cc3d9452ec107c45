"""One or several runs as one reader of new images: scores, decisions, and when to abstain from one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fistula.errors import ConfigError
from fistula.evidence.probability.conformal import p_values
from fistula.predict.out.summary import summary_of
from fistula.predict.places import places_of
from fistula.predict.runs.ensemble import load_runs
from fistula.predict.runs.familiar import (
    Looks,
    TestedPatients,
    cohort_patients,
    known_patients,
    looks_of,
    recognised,
    scored_patients,
)
from fistula.predict.runs.features import Neighbourhood, joined, neighbourhood
from fistula.predict.runs.folding import pack
from fistula.predict.runs.known import known_of_slices, with_stated
from fistula.predict.runs.model import LoadedRun, cohort_folder
from fistula.predict.scores import GROUPS, alone, group_scores, look, pooled, slice_scores
from fistula.predict.source import Limits, Reader, Slices, reader_of, reading
from fistula.source.survey import those
from fistula.source.workers import Workers

FAR_SHARE = 0.5  # of a series' slices that must be far for the series to be marked
ABSTAIN = "abstain"


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of new images."""

    slices: pl.DataFrame  # one row a scored slice: keys, UIDs, position, score, its range over the runs, decision
    series: pl.DataFrame  # one row a series, likewise, and ``marks``: how it differs from what the runs know
    # One row a patient, likewise, and ``known`` (what the patient was to the runs, empty for a new one), ``possible``
    # (the classes that the patient may have at the stated error) and ``answer``: the decision, or ``abstain``.
    patients: pl.DataFrame
    left_out: pl.DataFrame
    summary: dict[str, Any]
    # Where the finding is most likely, as `fistula.predict.places.places_of` has it; None for runs that do not say.
    places: pl.DataFrame | None = None


@dataclass(frozen=True)
class Predictor:
    """Scores new images as a run, or as the ensemble of a study's folds and seeds."""

    runs: Sequence[LoadedRun]  # of one configuration and one cohort
    reader: Reader
    error: float = 0.1  # rate at which a patient's true class may be missing among the possible ones, in (0, 1)

    def __post_init__(self) -> None:
        if not 0 < self.error < 1:
            raise ConfigError("error", "must lie between 0 and 1", found=self.error, remedy="For example error=0.1")

    def predict(
        self, source: str | Path, *, workers: Workers | None = None, covariates_table: Path | None = None
    ) -> Prediction:
        """Read a file, a zip archive or a folder, and judge it; errors as `reading` and `with_stated` raise them."""
        with reading(Path(source), self.reader, workers or Workers(1)) as slices:
            return self.judge(with_stated(self.runs[0], self.reader, slices, covariates_table))

    def probabilities(self, pixels: NDArray[np.uint8], channels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Class probabilities ``(runs, N, K)`` of images made of the rows ``(N, C)`` of slices ``(M, size, size)``."""
        return alone(self.runs, look(self.runs, pixels, channels)[0])

    def judge(self, slices: Slices) -> Prediction:
        """Score slices that were read, and say what they come to."""
        return self.decide(slices, *self.scored(slices))

    def decide(
        self, slices: Slices, scored: NDArray, bags: dict[str, NDArray], noted: Tensor, marks: Tensor | None = None
    ) -> Prediction:
        """Say what the scores of slices come to; arguments as `scored` gives them, without marks no places."""
        far, table = self.neighbourhood.are_far(noted), slice_scores(slices.table, scored, self.runs)
        if "weight" in bags:
            table = table.with_columns(pl.Series("weight", bags["weight"]))
        names, pooled = ("patient_key", "series_uid"), bags.get("series_key")
        series, _ = group_scores(slices.table, scored, self.runs, by="series_key", kept=names, pooled=pooled)
        series = series.hstack([self._marks(slices, series, far)])
        of_bags = bags.get("patient_key")
        patients, of_all = group_scores(slices.table, scored, self.runs, by="patient_key", pooled=of_bags)
        patients = self._answer(patients, series, of_all, recognised(slices.table, self.cohort_patients, self.known))
        places = None
        if marks is not None:
            grid = self.reader.plan.grid
            places = places_of(slices, table, patients, marks, run=self.runs[0], spacing_mm=grid.spacing_mm)
        return Prediction(table, series, patients, slices.left_out, summary_of(self, slices, patients), places)

    @torch.inference_mode()
    def scored(self, slices: Slices) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], Tensor, Tensor]:
        """Of slices ``(runs, N, K)``; by column, of bags, and ``weight`` of slices in them; features; and marks."""
        stated = known_of_slices(self.runs[0], slices.table)
        backbone = self.runs[0].classifier.backbone
        with backbone.noting_features() as noted:
            seen, marks = look(self.runs, slices.pixels, self.channels(slices), stated)
        known = joined(backbone, noted)
        by_itself, _ = pooled(self.runs, seen, slices.table, by="")
        found = {by: pooled(self.runs, seen, slices.table, by=by) for by in GROUPS[self.runs[0].unit]}
        bags = {by: scores for by, (scores, _) in found.items()}
        if found:
            bags["weight"] = found["patient_key"][1]
        return by_itself, bags, known, marks

    def channels(self, slices: Slices) -> NDArray[np.int64]:
        """Rows of the slices that the image of each is made of, ``(N, C)``.

        Raises:
            DataError: If the runs look at neighbours, and a slice has no position.
        """
        return self.runs[0].rows_of(slices.whole)[: len(slices.table)]

    def prepare(self) -> None:
        """Compute now what the first answer would else wait for, and lay out weights for single images."""
        for run in self.runs:
            if run.classifier.device.type == "cpu":
                pack(run.classifier.backbone, run.images(np.zeros(1, dtype=np.int64)))
        _ = self.known, self.cohort_patients, self.answers_said, self.looks, self.neighbourhood

    @property
    def classes(self) -> list[str]:
        return self.runs[0].classes

    @cached_property
    def known(self) -> dict[str, str]:
        """What each patient of the cohort was to the runs."""
        return known_patients(self.runs)

    @cached_property
    def cohort_patients(self) -> dict[str, str]:
        return cohort_patients(self.runs[0].cohort)

    @cached_property
    def tested(self) -> TestedPatients:
        """The runs' own test patients, with their scores."""
        return scored_patients(self.runs)

    @cached_property
    def answers_said(self) -> list[str]:
        """Which answers the stated error allows, and how often they would be wrong."""
        return self.tested.say_answers(self.error, self.classes)

    @cached_property
    def looks(self) -> Looks:
        return looks_of(self.runs[0].cohort)

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        """Of the first run's features; one network is enough to see that an image is strange."""
        return neighbourhood(self.runs[0])

    def _marks(self, slices: Slices, series: pl.DataFrame, far: NDArray[np.bool_]) -> pl.Series:
        """How each series differs from the cohort, in words; empty where it does not."""
        keys, headers = slices.table["series_key"].to_numpy(), slices.table[[*self.looks.words, "spacing_row"]]
        marks = []
        for key in series["series_key"]:
            rows = np.flatnonzero(keys == key)
            odd = self.looks.oddities(those(headers, pl.Series(keys == key)), slices.pixels[rows])
            if far[rows].mean() > FAR_SHARE:
                odd.append(f"{far[rows].sum()} of {len(rows)} slices look unlike the training images")
            marks.append("; ".join(odd))
        return pl.Series("marks", marks, dtype=pl.String())

    def _answer(self, patients: pl.DataFrame, series: pl.DataFrame, scores: NDArray, known: dict) -> pl.DataFrame:
        """Add ``known``, ``marks``, ``possible`` and ``answer``."""
        keys, decisions = patients["patient_key"].to_list(), patients["decision"].to_list()
        marks: dict[str, set[str]] = {key: set() for key in keys}
        for key, mark in zip(series["patient_key"], series["marks"], strict=True):
            marks[key] |= {mark} - {""}
        fits = p_values(self.tested.calibration, scores) > self.error
        possible = ["|".join(np.array(self.classes)[row]) for row in fits]
        is_sure = [
            one == decision and not marks[key] for one, decision, key in zip(possible, decisions, keys, strict=True)
        ]
        found = {
            "known": [known.get(key, "") for key in keys],
            "marks": ["; ".join(sorted(marks[key])) for key in keys],
            "possible": possible,
            "answer": [decision if sure else ABSTAIN for decision, sure in zip(decisions, is_sure, strict=True)],
        }
        return patients.hstack([pl.Series(name, values, dtype=pl.String()) for name, values in found.items()])


def load(
    run: str | Path, *, only: str = "*", error: float = 0.1, limits: Limits | None = None, device: str = "auto"
) -> Predictor:
    """Load a run, or a study's runs as an ensemble, to score new images.

    Args:
        run: Folder of a run or of a study.
        only: Of a study, the runs with names like this.
        error: Rate at which a patient's true class may be missing among the possible ones.
        limits: What one object may cost.
        device: Where the networks go: ``auto`` is a graphics card if there is one; ``cpu``, ``cuda:1``.

    Raises:
        FistulaError: If the folder holds no such run, or the run was tampered with.
    """
    return of_runs(load_runs(Path(run), only=only, device=device), error=error, limits=limits)


def of_runs(runs: Sequence[LoadedRun], *, error: float = 0.1, limits: Limits | None = None) -> Predictor:
    """Runs of one configuration as one reader; arguments and errors as `load`."""
    where = cohort_folder(runs[0].folder) / "ingest.json"
    sequences = runs[0].sequences
    reader = reader_of(runs[0].cohort.record, where=where, limits=limits or Limits(), sequences=sequences)
    return Predictor(runs, reader, error)
