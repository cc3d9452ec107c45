"""Who was studied: the flow from files to slices, and Table 1, as counts and plain summaries."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from fistula.report.study import Study


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


def flow(study: Study) -> list[Step]:
    """The steps that `ingest.json` records; empty for a cohort without such a record."""
    steps = study.cohort.record.get("flow", [])
    return [Step(step["stage"], int(step["count"]), step["unit"], dict(step["excluded"])) for step in steps]


def table_one(study: Study) -> Table:
    """Patients, slices, age, sex and site: of all, by class of the patient, and by part of each split.

    A patient counts for the class of the highest label among the slices: positive if a slice is.
    """
    manifest = study.cohort.labelled
    classes = study.cohort.classes
    of_patient = pl.col("label").max().over("patient_key")
    groups: dict[str, pl.DataFrame] = {"all": manifest}
    groups |= {f"patients: {name}": manifest.filter(of_patient == index) for index, name in enumerate(classes)}
    for name, split in study.splits.items():
        prefix = f"{name.replace('_', ' ')}: " if len(study.splits) > 1 else ""
        several = split["fold"].n_unique() > 1
        wanted = split.filter(pl.col("part") == "test") if several else split
        for (fold, part), rows in sorted(wanted.group_by("fold", "part"), key=_by_part):
            column = f"test fold {fold}" if several else str(part)
            held = manifest.filter(pl.col("slice_key").is_in(rows["slice_key"].unique().implode()))
            groups[f"{prefix}{column}"] = held
    summaries = {column: _summarize(part, classes) for column, part in groups.items()}
    names = list(dict.fromkeys(name for summary in summaries.values() for name in summary))
    return Table(list(groups), [(name, [summary.get(name, "0") for summary in summaries.values()]) for name in names])


def _by_part(group: tuple[tuple[Any, ...], pl.DataFrame]) -> tuple[int, int]:
    (fold, part), _ = group
    return int(fold), ("train", "val", "test").index(part)


def _summarize(part: pl.DataFrame, classes: list[str]) -> dict[str, str]:
    patients = part.group_by("patient_key", maintain_order=True).agg(
        pl.col("age").drop_nulls().first(),
        pl.col("sex").drop_nulls().first(),
        pl.col("site").drop_nulls().first(),
        pl.len(),
    )
    summary = {"patients": str(len(patients)), "slices": str(len(part))}
    summary |= {f"slices: {name}": str((part["label"] == index).sum()) for index, name in enumerate(classes)}
    if len(patients):
        least, middle, most = (patients["len"].quantile(q, "nearest") for q in (0.0, 0.5, 1.0))
        summary["slices a patient, median (range)"] = f"{middle:.0f} ({least:.0f} to {most:.0f})"
    ages = patients["age"].drop_nulls()
    summary["age, mean ± SD (range)"] = _say_ages(ages, of=len(patients)) if len(ages) else "not known"
    sexes = patients["sex"].fill_null("not known").value_counts().sort("sex")
    summary["sex"] = ", ".join(f"{sex} {count}" for sex, count in sexes.iter_rows()) or "none"
    sites = patients["site"].fill_null("not known").value_counts().sort("site")
    return summary | {f"site: {site}": str(count) for site, count in sites.iter_rows()}


def _say_ages(ages: pl.Series, *, of: int) -> str:
    years = ages.to_numpy()
    spread = f" ± {years.std(ddof=1):.1f}" if len(years) > 1 else ""
    known = f", known of {len(years)}" if len(years) < of else ""
    return f"{years.mean():.1f}{spread} ({years.min():.0f} to {years.max():.0f}{known})"
