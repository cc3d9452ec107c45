"""The synthetic cohort on disk: who is in it, one folder of DICOM files a patient, and labels.csv."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import cos
from pathlib import Path

import numpy as np
import polars as pl

from fistula.dicom.out.write import LARGEST_STORED, Series, write_mr_slice
from fistula.errors import DataError, refuse_outside
from fistula.folder import whole_folder
from fistula.phantom.design import Design
from fistula.phantom.patient import Patient, Person, draw_patient
from fistula.phantom.render import Acquisition, Image, draw_acquisition, render_series
from fistula.phantom.second import APART, as_t2, levels_of_t2, site_of_t2, with_lookalike
from fistula.source.workers import Workers, in_parallel

# Of 58 and 45 patients in the study that this cohort imitates, 39 and 32 were men.
MALE_SHARE = {True: 39 / 58, False: 32 / 45}
CLASSES = ("normal", "fistula")  # what labels.csv says for 0 and 1
# Columns of labels.csv, in order.
LABELS = {
    "sop_instance_uid": pl.String(),
    "label": pl.Int64(),
    "site": pl.String(),
    **{f"{point}_{axis}": pl.Float64() for point in ("opening", "canal") for axis in ("row", "col")},
}


@dataclass(frozen=True)
class Size:
    """How large a cohort is."""

    patients: int  # with a fistula
    controls: int
    positive: float  # positive slices of a fistula patient; a mean, so it need not be whole
    negative: float  # negative slices of a fistula patient; a mean
    # Slices of a control, side by side; a mean. None: as many as a fistula patient has, at the same levels.
    control: float | None
    # Between slices. An opening is visible over about a centimetre of height, and as many slices lie in it.
    step_mm: float
    supersampling: int  # points along each side of a pixel at which the anatomy is looked up

    def __post_init__(self) -> None:
        for name in ("patients", "controls"):  # a cohort needs both groups
            refuse_outside(name, getattr(self, name), 1, 100_000)
        for name, least in (("positive", 1), ("negative", 0), ("control", 1)):
            if getattr(self, name) is not None or name != "control":
                refuse_outside(f"slices.{name}", getattr(self, name), least, 200)
        refuse_outside("supersampling", self.supersampling, 1, 8)
        refuse_outside("slices.step_mm", self.step_mm, 0.1, 6)


def write_cohort(out: Path, size: Size, design: Design, *, seed: int, workers: int) -> pl.DataFrame:
    """Write a synthetic cohort, whole or not at all.

    `out` gets a folder a patient, and labels.csv. The same seed gives the same bytes for any number of workers; 0 is
    one a core. Gives the table of labels, columns as in `LABELS`; labels.csv has `CLASSES` in place of 0 and 1.

    Raises:
        ConfigError: If `out` exists or a value cannot work.
    """
    refuse_outside("seed", seed, 0, 2**32 - 1)
    refuse_outside("workers", workers, 0, 1024)
    people = draw_people(size, design, seed=seed)
    with whole_folder(out) as folder:
        write = partial(_write_patients, folder=folder, size=size, design=design, seed=seed)
        single = [[person] for person in people]
        done = in_parallel(write, single, Workers(workers), title="patients", lost=_refuse_lost)
        rows_of = {number: table for part in done for number, table in part.items()}
        tables = [rows_of[person.number] for person in people]
        labels = pl.DataFrame([row for table in tables for row in table], schema=LABELS, orient="row")
        if design.labels == "random":
            labels = _label_by_lot(labels, [len(table) for table in tables], people, seed=seed)
        words = dict(enumerate(CLASSES))
        table = labels.with_columns(pl.col("label").replace_strict(words))
        (folder / "labels.csv").write_text(table.write_csv(), encoding="utf-8")
    return labels


def draw_people(size: Size, design: Design, *, seed: int) -> list[Person]:
    """Everybody in the cohort, in random order, sex and site in the same proportions in both groups."""
    rng = np.random.default_rng([seed, 1])
    people: list[tuple] = []
    for has_fistula, count in ((True, size.patients), (False, size.controls)):
        male = MALE_SHARE[has_fistula]
        is_male = rng.permutation(_apportion(count, [male, 1 - male])) == 0
        site = rng.permutation(_apportion(count, [site.share for site in design.sites]))
        fewer = None if has_fistula else size.control
        core = _spread(count, size.positive if fewer is None else fewer)
        beyond = _spread(count, size.negative if fewer is None else 0)
        people += zip([has_fistula] * count, is_male, site, core, beyond, strict=True)
    order = rng.permutation(len(people))
    return [
        Person(number, has, bool(male), int(site), int(core), int(beyond))
        for number, (has, male, site, core, beyond) in enumerate((people[k] for k in order), start=1)
    ]


def _apportion(count: int, shares: list[float]) -> np.ndarray:
    """``(count,)`` group numbers in proportion to `shares`, by largest remainder."""
    exact = np.array(shares) / sum(shares) * count
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return np.repeat(np.arange(len(shares)), whole)


def _spread(count: int, mean: float) -> np.ndarray:
    """``(count,)`` whole numbers that differ by at most 1 and have the sum nearest to ``count * mean``."""
    return np.diff(np.round(np.arange(count + 1) * mean + 1e-9)).astype(int)


def _label_by_lot(labels: pl.DataFrame, lengths: list[int], people: list[Person], *, seed: int) -> pl.DataFrame:
    """Give each patient's slices one label drawn by lot, as many positive in either group: nothing is to be learned."""
    rng = np.random.default_rng([seed, 2])
    share = sum(person.has_fistula for person in people) / len(people)
    lot = np.zeros(len(people), dtype=int)
    for has_fistula in (True, False):
        group = [k for k, person in enumerate(people) if person.has_fistula is has_fistula]
        lot[group] = rng.permutation(1 - _apportion(len(group), [share, 1 - share]))
    nothing = pl.lit(None, dtype=pl.Float64)
    return labels.with_columns(label=pl.Series(np.repeat(lot, lengths)), opening_row=nothing, opening_col=nothing)


def _write_patients(
    people: Sequence[Person], *, folder: Path, size: Size, design: Design, seed: int
) -> dict[int, list[tuple]]:
    return {person.number: _write_patient(folder, person, size, design, seed) for person in people}


def _refuse_lost(person: Person) -> dict[int, list[tuple]]:
    rule = "could not be written: whatever process tried was killed"
    raise DataError(f"patient {person.number}", rule, remedy="Take workers=1, or a machine with more memory")


def _write_patient(folder: Path, person: Person, size: Size, design: Design, seed: int) -> list[tuple]:
    """Draw, render and write one patient; rows of labels.csv, which are of the first series."""
    rng = np.random.default_rng([seed, 3, person.number])
    site = design.sites[person.site]
    patient = draw_patient(rng, person, design, step=size.step_mm)
    second = np.random.default_rng([seed, 4, person.number])  # of its own: without a T2 all is as it was before
    if design.t2:
        patient = with_lookalike(second, patient, design, step=size.step_mm)
    scan = draw_acquisition(rng, design, site)
    # Philips: the slope differs between series, and contrast is mostly an empty attribute.
    series = Series(
        patient_id=f"SYN{seed}-{person.number:04d}",
        sex="M" if person.is_male else "F",
        age=patient.age,
        study_day=int(rng.integers(0, 730)),
        manufacturer=site.manufacturer,
        model=site.model,
        tesla=site.tesla,
        pixel_mm=scan.pixel_mm,
        thickness_mm=site.thickness_mm,
        spacing_mm=size.step_mm * cos(scan.tilt_radians),
        slope=float(rng.uniform(0.7, 2.4)),
        scale_slope=float(rng.uniform(0.004, 0.012)),
        tilt_degrees=site.tilt_degrees,
        contrast_agent=str(rng.choice(["", "Gadolinium"])),
    )
    gain, table = rng.uniform(1500, 2400), rng.uniform(-110, -60)
    home = folder / series.patient_id
    home.mkdir(exist_ok=True)  # of a process that was killed at it
    levels = sorted(itertools.chain(*patient.levels(size.step_mm)))
    written = partial(_write_series, home, gain=gain, table=table, supersampling=size.supersampling, seed=seed)
    rows = [
        (uid, int(image.opening is not None), site.name, *_rounded(image.opening), *_rounded(image.canal))
        for uid, image in written(rng, patient, scan, levels, series, step=size.step_mm)
    ]
    if design.t2:
        scan = replace(scan, site=site_of_t2(site))
        series = replace(
            series, pixel_mm=scan.pixel_mm, thickness_mm=scan.site.thickness_mm,
            spacing_mm=APART * series.spacing_mm, contrast_agent="", weighting="T2",
        )  # fmt: skip
        levels = levels_of_t2(levels, step=size.step_mm)
        for _ in written(second, as_t2(patient), scan, levels, series, step=APART * size.step_mm):
            pass
    return rows


def _write_series(
    home: Path, rng: np.random.Generator, patient: Patient, scan: Acquisition, levels: list[float], series: Series,
    *, step: float, gain: float, table: float, supersampling: int, seed: int,
) -> Iterator[tuple[str, Image]]:  # fmt: skip
    """Render and write the slices of one series; the SOP instance UID of each, and its image."""
    numbers = rng.permutation(len(levels)) + 1
    images = render_series(rng, patient, scan, levels, step=step, supersampling=supersampling)
    for number, level, image in zip(numbers, levels, images, strict=True):
        stored = np.clip(np.rint(image.pixels * gain), 0, LARGEST_STORED).astype(np.uint16)
        top = float(np.percentile(stored, 99.5)) * series.slope
        uid = write_mr_slice(
            home / f"{series.file_prefix}_{number:04d}.dcm",
            stored,
            series,
            origin=scan.origin(level, table),
            instance_number=int(number),
            window=(top * 0.45, top * 0.9),
            seed=seed,
        )
        yield uid, image


def _rounded(point: tuple[float, float] | None) -> list[float | None]:
    return [round(value, 2) for value in point] if point else [None, None]
