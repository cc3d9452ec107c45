"""Who was studied: the flow of patients and of files, and Table 1, as counts and plain summaries."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import ELDEST, named_scanner
from fistula.cohort.split_table import PARTS, SETS
from fistula.errors import count, say_class
from fistula.report.results import Row
from fistula.report.study import Study
from fistula.report.wording import say_times

MANY = 4  # classes, above which those are left out of a box that none is of
FACTS = ("sex", "site", "scanner", "field_strength")
SPAN, AGE = "slices per patient, median (range)", "age, years, mean ± SD (range)"
SEXES = {"F": "female", "M": "male", "O": "other"}


@dataclass(frozen=True)
class Step:
    """A step of the flow: what remains, and what was left out before it, by reason."""

    name: str
    count: int
    unit: str
    excluded: dict[str, int]


@dataclass(frozen=True)
class Table:
    """A table of text: a heading for each column, and for each row its name and a cell a column."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Box:
    """A box of the flow of participants: how many of what, more about them, and whether it stands alone in its line."""

    count: int
    says: str
    lines: list[str]
    is_wide: bool = False


def patient_flow(study: Study, row: Row, counts: NDArray[np.int64] | None = None) -> list[Box]:
    """From the patients of the cohort over those tested to the results of the test, by class, as STARD draws it.

    `row` is of the configuration whose results are shown, where seeds add up; `counts` are, of three classes or more,
    reference standard (rows) against calls, ``(K, K)``.
    """
    manifest, classes = study.cohort.manifest, [say_class(name) for name in study.cohort.classes]
    label = pl.col("label").max()
    patients = manifest.group_by("patient_key").agg(label)
    tested = patients.filter(pl.col("patient_key").is_in(row.rows["patient_key"].unique().implode()))
    away = len(patients) - len(tested)
    elsewhere = [f"{away} in the training and validation sets alone"] if away else []
    says = f"{_noun(len(patients))} with images and a reference standard"
    boxes = [
        Box(len(patients), says, [_by_class(patients, classes)], True),
        Box(len(tested), f"{_noun(len(tested))} in the test set", [_by_class(tested, classes), *elsewhere], True),
    ]
    times = say_times(len(row.rows), row.level, row.num[0], row.configuration.num_seeds)
    names = classes if counts is not None else [say_class(row.positive), say_class(study.rest(row.positive))]
    if counts is None:
        labels, called = (row.rows[name].to_numpy() == 1 for name in ("label", "called"))
        counts = np.array([[(one & other).sum() for other in (called, ~called)] for one in (labels, ~labels)])
    for name, column in zip(names, counts.T, strict=True):
        # Of many classes, those that are none of these are not listed.
        told = [(number, truth) for number, truth in zip(column, names, strict=True) if number or len(names) <= MANY]
        found = ", ".join(f"{number} {truth}" for number, truth in told)
        total = int(column.sum())
        says = f"{_noun(total, row.level)} called {name}"
        says = f"{_noun(total, 'classification')} as {name} {times[times.index('(') :]}" if "(" in times else says
        boxes.append(Box(total, says, [f"{found} by the reference standard"] if found else []))
    return boxes


def _noun(number: int, noun: str = "patient") -> str:
    return count(number, noun).partition(" ")[2]


def _by_class(patients: pl.DataFrame, classes: list[str]) -> str:
    return ", ".join(f"{(patients['label'] == index).sum()} {name}" for index, name in enumerate(classes))


def flow(study: Study) -> list[Step]:
    """The steps that `ingest.json` records; empty for a cohort without such a record."""
    steps = study.cohort.record.get("flow", [])
    return [Step(step["stage"], int(step["count"]), step["unit"], dict(step["excluded"])) for step in steps]


def table_one(study: Study) -> Table:
    """Patients, slices, age, sex, site and scanner: of all, by class of the patient, and by part of each split.

    A patient counts for the class of the highest label among the slices: positive if a slice is.
    """
    manifest = study.cohort.labelled.with_columns(pl.col("sex").replace(SEXES)).with_columns(named_scanner())
    if "field_strength" in manifest.columns:  # not in cohorts of version 0.2.0 and earlier
        manifest = manifest.with_columns(pl.col("field_strength").map_elements(_say_tesla, return_dtype=pl.String))
        if manifest["field_strength"].is_null().all() and "MR" not in manifest["modality"]:
            manifest = manifest.drop("field_strength")  # which no other modality has
    classes = [say_class(name) for name in study.cohort.classes]
    of_patient = pl.col("label").max().over("patient_key")
    groups: dict[str, pl.DataFrame] = {"all": manifest}
    groups |= {f"patients: {name}": manifest.filter(of_patient == index) for index, name in enumerate(classes)}
    for name, split in study.splits.items():
        prefix = f"{name.replace('_', ' ')}: " if len(study.splits) > 1 else ""
        several = split["fold"].n_unique() > 1
        wanted = split.filter(pl.col("part") == "test") if several else split
        parts = wanted.partition_by("fold", "part", as_dict=True)
        for fold, part in sorted(parts, key=lambda key: (key[0], PARTS.index(key[1]))):
            column = f"test fold {fold}" if several else SETS[part]
            held = manifest.filter(pl.col("slice_key").is_in(parts[fold, part]["slice_key"].unique().implode()))
            groups[f"{prefix}{column}"] = held
    unknown = [name for name in FACTS if name in manifest.columns and manifest[name].is_null().all()]
    summaries = {column: _summarize(part, classes, unknown) for column, part in groups.items()}
    names = list(dict.fromkeys(name for summary in summaries.values() for name in summary))
    return Table(list(groups), [(name, [one.get(name, "0 (0%)") for one in summaries.values()]) for name in names])


def _summarize(part: pl.DataFrame, classes: list[str], unknown: list[str]) -> dict[str, str]:
    patients = part.group_by("patient_key", maintain_order=True).agg(
        pl.col("age").drop_nulls().first(), *[_only(name) for name in FACTS if name in part.columns], pl.len()
    )
    summary = {"patients": str(len(patients)), "slices": str(len(part))}
    summary |= {f"slices: {name}": str((part["label"] == index).sum()) for index, name in enumerate(classes)}
    if not len(patients):
        return summary | dict.fromkeys((SPAN, AGE), "n/a")
    least, middle, most = (patients["len"].quantile(q, "nearest") for q in (0.0, 0.5, 1.0))
    summary[SPAN] = f"{middle:.0f} ({least:.0f} to {most:.0f})"
    ages = patients["age"].drop_nulls()
    summary[AGE] = _say_ages(ages, of=len(patients)) if len(ages) else "not known"
    summary |= {name.replace("_", " "): "not known" for name in unknown}
    for name in (one for one in patients.columns[2:-1] if one not in unknown):
        for value, number in patients[name].value_counts().sort(name, nulls_last=True).iter_rows():
            said = "not known" if value is None else value
            summary[f"{name.replace('_', ' ')}: {said}"] = f"{number} ({number / len(patients):.0%})"
    return summary


def _only(name: str) -> pl.Expr:
    """What all of a patient's slices that state it have in common."""
    stated = pl.col(name).drop_nulls()
    return pl.when(stated.n_unique() > 1).then(pl.lit("several")).otherwise(stated.first()).alias(name)


def _say_tesla(tesla: float) -> str:
    """A field strength by its nominal value, such as 3 T for 2.89."""
    nominal = round(2 * tesla) / 2
    return f"{nominal if abs(nominal - tesla) < 0.05 * tesla else tesla:g} T"


def _say_ages(ages: pl.Series, *, of: int) -> str:
    years = ages.to_numpy()
    spread = f" ± {years.std(ddof=1):.1f}" if len(years) > 1 else ""
    known = f", known in {len(years)}" if len(years) < of else ""
    least, most = (f"{ELDEST}+" if year >= ELDEST else f"{year:.0f}" for year in (years.min(), years.max()))
    return f"{years.mean():.1f}{spread} ({least} to {most}{known})"
