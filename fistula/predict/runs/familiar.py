"""What a run knows: whom it has seen, how sure its patients' scores are, and what its images look like."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import Cohort
from fistula.evidence.probability.conformal import Calibration, answers_of_known
from fistula.predict.runs.model import LoadedRun
from fistula.predict.scores import group_scores

# In the order of how much they give away: what a patient was to any of the runs.
PARTS = ("trained on", "validated on", "tested on")
NAMES = ("patient_key", "file_patient", "study_key", "series_key", "slice_key")
SPACING_SLACK = 1.5  # a pixel spacing up to so many times outside the cohort's range is no surprise
PROFILE_SLACK = 1.5  # likewise for the distance of a series' grey levels from the nearest of the cohort
LEVELS = np.linspace(0, 1, 33)


def known_patients(runs: Sequence[LoadedRun]) -> dict[str, str]:
    """What each patient of the cohort was to the runs: one of `PARTS`, the one that gives most away."""
    known: dict[str, str] = {}
    for run in runs:
        stored = run.predictions
        patients = {
            PARTS[0]: run.learned["patient_key"],  # in a split by image these may have scored slices too
            PARTS[1]: stored.filter(pl.col("part") == "val")["patient_key"],
            PARTS[2]: stored.filter(pl.col("part") == "test")["patient_key"],
        }
        for part in PARTS:
            for patient in patients[part].unique():
                known[patient] = min(part, known.get(patient, part), key=PARTS.index)
    return known


def cohort_patients(cohort: Cohort) -> dict[str, str]:
    """The cohort's patient by each name that stands for one alone: pseudonyms of PatientID, study, series and slice.

    Where a table or a rule said who the patients are, a header says it otherwise; it still leads to them.
    """
    found: dict[str, set[str]] = {}
    for column in NAMES:
        if column in cohort.manifest.columns:  # a cohort may be from before one was written
            pairs = cohort.manifest.select(pl.col(column).alias("name"), patient="patient_key").unique().drop_nulls()
            for name, patient in pairs.iter_rows():
                found.setdefault(name, set()).add(patient)
    return {name: patients.pop() for name, patients in found.items() if len(patients) == 1}


def recognised(table: pl.DataFrame, patients: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """What each patient of new slices was to the runs: one of `PARTS`; those who were nothing are left out.

    The slices have the columns `NAMES`; `cohort_patients` and `known_patients` give the other two.
    """
    found: dict[str, str] = {}
    for names in set(zip(*(table[name].to_list() for name in NAMES), strict=True)):
        parts = [known[patients[name]] for name in names if patients.get(name) in known]
        if parts:
            found[names[0]] = min([*parts, found.get(names[0], parts[0])], key=PARTS.index)
    return found


@dataclass(frozen=True)
class TestedPatients:
    """Each run's own test patients, whom it did not learn from, ``N`` rows."""

    labels: NDArray[np.intp]  # index of the patient's class, the last that a slice has, ``(N,)``
    scores: NDArray[np.float64]  # aggregated, of each class, ``(N, K)``
    patients: NDArray  # ``(N,)``
    models: NDArray[np.intp]  # index of the run, ``(N,)``
    decisions: NDArray[np.intp]  # index of the class by the run's operating point, ``(N,)``

    @cached_property
    def calibration(self) -> Calibration:
        """Their scores for their own class; who was scored by several runs counts once."""
        _, owners, rows = np.unique(self.patients, return_inverse=True, return_counts=True)
        own = self.scores[np.arange(len(self.labels)), self.labels]
        return Calibration(self.labels, own, self.models, 1 / rows[owners])

    def say_answers(self, error: float, classes: Sequence[str]) -> list[str]:
        """Which answers so few patients allow, and how often such a patient would get one, and a wrong one."""
        notes = []
        if few := [name for label, name in enumerate(classes) if self.calibration.smallest(label) > error]:
            rule = f"too few known patients to exclude {' or '.join(few)} at an error of {error:g}"
            notes.append(f"{rule}: no other class is answered" if len(few) == 1 else f"{rule}: all abstain")
        told = answers_of_known(self.labels, self.scores, self.patients, self.decisions, error=error)
        if told.answered.any():
            wrong = told.wrong.sum() / told.answered.sum()
            notes.append(
                f"of the study's test patients, {told.answered.mean():.0%} receive an answer, of which {wrong:.0%} are "
                f"wrong; the error rate of {error:g} refers to the possible classes in all patients"
            )
        return notes


def scored_patients(runs: Sequence[LoadedRun]) -> TestedPatients:
    """The test patients of all runs."""
    found, shares = [], []
    for index, run in enumerate(runs):
        test = run.predictions.filter((pl.col("part") == "test") & (pl.col("copy") == 0))
        rows, aggregated = group_scores(test, _stored_scores(test, run.classes)[None], [run], by="patient_key")
        labels = test.group_by("patient_key").agg(pl.col("label").max())
        rows = rows.select("patient_key", "decision").join(labels, on="patient_key", maintain_order="left")
        found.append(rows.with_columns(model=index))
        shares.append(aggregated[0])
    table = pl.concat(found)
    return TestedPatients(
        table["label"].to_numpy().astype(np.intp),
        np.concatenate(shares),
        table["patient_key"].to_numpy(),
        table["model"].to_numpy().astype(np.intp),
        np.array([runs[0].classes.index(name) for name in table["decision"]], dtype=np.intp),
    )


def _stored_scores(stored: pl.DataFrame, classes: Sequence[str]) -> NDArray[np.float64]:
    if len(classes) > 2:
        return stored.select(f"score_{name}" for name in classes).to_numpy()
    scores = stored["score"].to_numpy()
    return np.stack([1 - scores, scores], axis=1)


@dataclass(frozen=True)
class Looks:
    """What a cohort's headers and grey levels look like."""

    # Values of modality, component and orientation that it has; a column that it does not know has none.
    words: dict[str, set[str]]
    spacing: tuple[float, float] | None  # smallest and largest pixel spacing in mm; None where no image states one
    is_spaced: bool  # whether every image states one
    profiles: NDArray[np.float64]  # grey levels of each series at evenly spaced ranks, ``(series, levels)``, in [0, 1]
    reach: float  # the largest distance of a series' profile from that of the nearest other series

    def oddities(self, series: pl.DataFrame, pixels: NDArray[np.uint8]) -> list[str]:
        """How one series differs from all of the cohort's; empty if it does not."""
        odd = []
        for column, words in self.words.items():
            odd += [f"{column} {value or 'not stated'}" for value in set(series[column]) - words]
        spacings = series["spacing_row"].drop_nulls()
        if self.spacing is not None and len(spacings):
            low, high = self.spacing[0] / SPACING_SLACK, self.spacing[1] * SPACING_SLACK
            far = [value for value in set(spacings) if not low <= value <= high]
            odd += [f"pixel spacing {value:g} mm" for value in far]
        if self.is_spaced and series["spacing_row"].null_count():
            odd.append("pixel spacing not stated")
        distance = float(np.abs(self.profiles - profile(pixels)).mean(axis=1).min())
        if distance > PROFILE_SLACK * self.reach:
            odd.append(
                f"gray levels {distance / self.reach:.1f} times as far from the cohort's as those are from each other"
            )
        return sorted(odd)


def looks_of(cohort: Cohort) -> Looks:
    """What a cohort looks like, from its manifest and its pixels."""
    manifest = cohort.grid
    words: dict[str, set[str]] = {
        column: set(manifest[column].drop_nulls())
        for column in ("modality", "component", "orientation")
        if column in manifest.columns and manifest[column].drop_nulls().len()
    }
    spacings = manifest["pixel_spacing_mm"].drop_nulls().to_list()
    rows = manifest.group_by("series_key", maintain_order=True).agg("row")["row"]
    profiles = np.stack([profile(cohort.pixels[indices.to_numpy()]) for indices in rows])
    distances = np.abs(profiles[:, None] - profiles[None]).mean(axis=2)
    np.fill_diagonal(distances, np.inf)
    reach = float(distances.min(axis=1).max()) if len(profiles) > 1 else 1.0
    bounds = (min(spacings), max(spacings)) if spacings else None
    return Looks(words, bounds, len(spacings) == len(manifest), profiles, max(reach, 1 / 255))


def profile(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels at evenly spaced ranks, in [0, 1]; their mean absolute difference is a Wasserstein distance."""
    # By counting, which for 256 grey levels is ten times faster than by sorting, and the same.
    up_to = np.cumsum(np.bincount(pixels.ravel(), minlength=256))
    place = LEVELS * (pixels.size - 1)
    below, above = (np.searchsorted(up_to, rank, side="right") for rank in (np.floor(place), np.ceil(place)))
    return (below + (above - below) * (place % 1)) / 255
