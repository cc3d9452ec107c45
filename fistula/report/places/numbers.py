"""Where the finding is said to be: distances, slices and clock positions of every configuration that names places."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.design.compare import Comparison, clustered_mcnemar
from fistula.evidence.design.verdict import holm
from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.places.clock import ClockErrors, clock_errors, clock_hours, hours_off
from fistula.evidence.places.distances import (
    best_of,
    distances_mm,
    lroc_area,
    mean_distance,
    median_distance,
    share_within,
)
from fistula.evidence.places.froc import Froc, froc
from fistula.evidence.rates.clustered import clustered_rate
from fistula.report.external.cohorts import External
from fistula.report.places.marks import STACK, Marks, marks_inside, marks_outside
from fistula.report.study import Configuration, Study

NEAR, FAR = 5.0, 10.0  # mm; per cent of the side where slices state no distance
MOST = 3  # slices named for a patient
WORST = 10
RATES = (0.5, 1.0, 2.0)  # false marks a patient
TITLES = {
    "near": "slices within {near}",
    "far": "slices within {far}",
    "first": "patients, first slice within {near}",
    "three": "patients, best of three within {near}",
    "three_far": "patients, best of three within {far}",
    "slice": "patients, correct slice ±1",
    "median": "median distance, {unit}",
    "mean": "mean distance, {unit}",
    "lroc": "area under LROC",
    "fixed": "mean location in other patients within {near}",
}


@dataclass(frozen=True)
class Where:
    """The places that one configuration names on its test slices."""

    configuration: Configuration
    unit: str  # of distances: ``mm``, or ``% of the side`` where slices state no distance of pixels
    # Test slices with a known place: ``run patient_key slice_key image_number score distance hours``; the distance is
    # infinite where no place was named, hours are the clock error, null where there is none.
    slices: pl.DataFrame
    estimates: dict[str, Estimate]  # by the names of `TITLES`; each with patients as the units
    froc: Froc  # of the runs of the first seed: a mark a slice, at the peak of its map
    # Errors of the clock position on axial slices whose canal is known too; None where there are none.
    clock: ClockErrors | None

    @property
    def worst(self) -> list[dict[str, Any]]:
        """The slices whose place is farthest off; first those without one, whose distance is None."""
        worst = self.slices.sort("distance", "slice_key", descending=[True, False]).head(WORST)
        return worst.with_columns(pl.col("distance").replace(np.inf, None)).to_dicts()

    def title(self, name: str) -> str:
        """What a number is called on the page."""
        unit = "mm" if self.unit == "mm" else "%"
        return TITLES[name].format(near=f"{NEAR:g} {unit}", far=f"{FAR:g} {unit}", unit=self.unit)


@dataclass(frozen=True)
class PlacePair:
    """Two configurations on the same slices: the difference of their shares within the nearer limit."""

    first: str  # name of one
    second: str  # of the other
    test: Comparison  # first less second
    corrected: float  # its p-value after Holm's correction over all pairs


def where(study: Study, *, resamples: int) -> tuple[list[Where], list[PlacePair]]:
    """Judge every configuration that names places and learned from true labels; the nearest first, leaky ones last."""
    locating = [one for one in study.configurations if not one.is_canary and one.runs[0].places is not None]
    found = [_where(study, one, marks_inside(study, one), resamples=resamples) for one in locating]
    found.sort(key=lambda one: one.configuration.rank(one.estimates["near"].value))
    return found, _pairs([one for one in found if not one.configuration.leaky_by_design])


def where_outside(study: Study, externals: list[External], *, resamples: int) -> dict[str, Where]:
    """The same of each external cohort whose runs name places, by its name: of the runs as one."""
    found = {}
    for external in externals:
        if (marks := marks_outside(study, external)) is not None:
            found[external.name] = _where(study, study.configuration_of(external.runs[0]), marks, resamples=resamples)
    return found


def _where(study: Study, configuration: Configuration, marks: Marks, *, resamples: int) -> Where:
    table, canals = marks
    # A point on a slice of the first class is none: cohorts of earlier versions may have some.
    known = table.filter(pl.col("row_true").is_not_null() & (pl.col("label") != 0).fill_null(value=True))
    spacing = known["mm_per_pixel"]
    has_mm = bool(len(spacing)) and spacing.null_count() == 0
    scale = spacing.to_numpy() if has_mm else np.full(len(known), 100 / study.cohort.pixels.shape[1])
    truth = known.select("row_true", "col_true").to_numpy()
    known = known.with_columns(distance=distances_mm(_pair(known, "row", "col"), truth, pixel_mm=scale))
    known, clock = _with_hours(known, canals)
    patients, distances = known["patient_key"].to_numpy(), known["distance"].to_numpy()
    fixed = distances_mm(_pair(known, "row_fixed", "col_fixed"), truth, pixel_mm=scale)
    as_near = share_within(fixed, patients, limit=NEAR)
    if known["row_fixed"].has_nulls():
        as_near = undefined(as_near.method, "no other patient has a marked finding")
    estimates = {
        "near": share_within(distances, patients, limit=NEAR),
        "far": share_within(distances, patients, limit=FAR),
        **_by_patient(table, known),
        "median": median_distance(distances, patients),
        "mean": mean_distance(distances, patients),
        "lroc": _lroc(table, known),
        "fixed": as_near,
    }
    shown = known.select("run", "patient_key", "slice_key", "image_number", "score", "distance", "hours")
    unit = "mm" if has_mm else "% of the side"
    return Where(configuration, unit, shown, estimates, _froc(table, known, resamples=resamples), clock)


def _with_hours(known: pl.DataFrame, canals: pl.DataFrame) -> tuple[pl.DataFrame, ClockErrors | None]:
    """The clock error of each slice that has one; and all of them summed up."""
    beside = canals.select(
        "run", "slice_key", canal_row="row", canal_col="col", row_canal="row_true", col_canal="col_true"
    )
    both = known.join(beside, on=("run", "slice_key"), how="left", maintain_order="left")
    truth = clock_hours(both.select("row_true", "col_true").to_numpy(), _pair(both, "row_canal", "col_canal"))
    said = clock_hours(_pair(both, "row", "col"), _pair(both, "canal_row", "canal_col"))
    has_truth = np.isfinite(truth) & (both["orientation"] == "axial").fill_null(value=False).to_numpy()
    errors = np.where(has_truth, hours_off(said, truth), np.nan)
    known = known.with_columns(hours=pl.Series(errors).fill_nan(None))
    if not has_truth.any():
        return known, None
    return known, clock_errors(said[has_truth], truth[has_truth], both["patient_key"].to_numpy()[has_truth])


def _pair(table: pl.DataFrame, *columns: str) -> NDArray[np.float64]:
    return table.select(pl.col(*columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()


def _by_patient(table: pl.DataFrame, known: pl.DataFrame) -> dict[str, Estimate]:
    """Of the slices that a patient's scores name first: is the finding there, or on a slice beside it?"""
    own = table.join(known.select("run", "patient_key").unique(), on=("run", "patient_key"), how="semi")
    own = own.join(known.select("run", "slice_key", "distance"), on=("run", "slice_key"), how="left")
    # On a slice without the finding no place is the right one.
    own = own.with_columns(pl.col("distance").fill_null(np.inf), who=pl.format("{}/{}", "run", "patient_key"))
    own = own.sort("who", "score", "slice_key", descending=[False, True, False])
    far, ranks, who = own["distance"].to_numpy(), np.arange(len(own)), own["who"].to_numpy()
    found = {}
    for name, most, limit in (("first", 1, NEAR), ("three", MOST, NEAR), ("three_far", MOST, FAR)):
        keys, best = best_of(far, ranks, who, most=most)
        found[name] = share_within(best, [str(key).partition("/")[2] for key in keys], limit=limit)
    firsts = own.group_by("who", maintain_order=True).first()
    if own["turn"].has_nulls():
        return found | {"slice": undefined(found["first"].method, "slices without a position")}
    stack = ("run", *STACK)
    near = firsts.join(known.select(*stack, true="turn"), on=stack, how="left")
    near = near.group_by("who", "patient_key", maintain_order=True).agg(
        hit=((pl.col("turn").cast(pl.Int64) - pl.col("true").cast(pl.Int64)).abs() <= 1).any()
    )
    found["slice"] = clustered_rate(near["hit"].fill_null(value=False).cast(pl.Int64), near["patient_key"].to_numpy())
    return found


def _lroc(table: pl.DataFrame, known: pl.DataFrame) -> Estimate:
    """Slices within runs; a positive slice whose place is not known is left out."""
    judged = table.join(known.select("run", "slice_key", "distance"), on=("run", "slice_key"), how="left")
    judged = judged.filter((pl.col("label") == 0) | pl.col("distance").is_not_null())
    located = (judged["distance"].fill_null(np.inf) <= NEAR).cast(pl.Int64)
    return lroc_area(judged["label"], judged["score"], located, judged["patient_key"].to_numpy(), judged["run"])


def _froc(table: pl.DataFrame, known: pl.DataFrame, *, resamples: int) -> Froc:
    first = table.filter(pl.col("seed") == table["seed"].min())
    first = first.join(known.select("run", "slice_key", "distance"), on=("run", "slice_key"), how="left")
    found = first.filter(pl.col("distance").is_not_null())
    marks = found.select(pl.when(pl.col("distance") <= NEAR).then(pl.col("peak")).fill_null(-np.inf)).to_series()
    wrong = first.filter((pl.col("label") == 0) | (pl.col("distance") > NEAR)).filter(pl.col("peak").is_not_null())
    return froc(
        marks, found["patient_key"].to_numpy(), wrong["peak"], wrong["patient_key"].to_numpy(),
        first["patient_key"].unique().sort().to_numpy(), rates=RATES, resamples=resamples,
    )  # fmt: skip


def _pairs(found: list[Where]) -> list[PlacePair]:
    """All pairs that were tested on the same slices, with Holm's correction over them."""
    tests = []
    for first, second in combinations(found, 2):
        keys = ["run", "slice_key"]
        both = first.slices.join(second.slices.select(*keys, other="distance"), on=keys)
        same_rows = len(both) == len(first.slices) == len(second.slices)
        if same_rows and first.configuration.split == second.configuration.split:
            one, two = ((both[name] <= NEAR).cast(pl.Int64) for name in ("distance", "other"))
            test = clustered_mcnemar(one, two, both["patient_key"].to_numpy())
            tests.append((first.configuration.name, second.configuration.name, test))
    corrected = holm([test.p_value for _, _, test in tests])
    return [PlacePair(first, second, test, float(p)) for (first, second, test), p in zip(tests, corrected, strict=True)]
