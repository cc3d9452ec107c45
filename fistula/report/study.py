"""Collect the runs of a study, and pool those that differ in nothing but fold and seed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.cohort.manifest import Cohort, read_cohort
from fistula.errors import DataError
from fistula.evidence.aggregate import pool_ranks
from fistula.sweep.run_folder import RECORD, read_record

# What tells the runs of one configuration apart, among the keys of a run's identity.
WITHIN = ("seed", "augmentation.seed", "split.fold", "logger.name")


@dataclass(frozen=True)
class Run:
    """One run as it lies on disk; `predictions` and `history` are there once it is done."""

    folder: Path
    record: dict[str, Any]

    @property
    def is_done(self) -> bool:
        return self.record["state"] == "done"

    @property
    def predictions(self) -> pl.DataFrame:
        return pl.read_parquet(self.folder / "predictions.parquet")

    @property
    def history(self) -> pl.DataFrame:
        return pl.read_csv(self.folder / "history.csv")


@dataclass(frozen=True)
class Pooled:
    """Test slices of every run of a configuration, for one class held against the rest.

    Attributes:
        labels: 1 where a slice is of the class, ``(N,)``.
        scores: For curves and AUROC, ``(N,)``: as the network gave them where there is one fold and seed; else ranks
            within each fold and seed, since the scores of different networks have no common scale.
        called: 1 where the run's own operating point calls the slice positive, ``(N,)``.
        patients: Of each slice, ``(N,)``.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    called: NDArray[np.int64]
    patients: NDArray[np.str_]


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in nothing but fold and seed: one row of the results."""

    name: str
    factors: dict[str, Any]
    runs: list[Run]

    @property
    def leaky_by_design(self) -> bool:
        return any(run.record["leaky_by_design"] for run in self.runs)

    @property
    def warnings(self) -> list[str]:
        return sorted({text for run in self.runs for text in run.record.get("warnings", [])})

    def pooled(self, classes: list[str], positive: str) -> Pooled:
        """Pool the test slices of all runs, for the class `positive` against the rest."""
        column = "score" if len(classes) == 2 else f"score_{positive}"
        tables = []
        for number, run in enumerate(self.runs):
            point = run.record["operating_point"]
            threshold = point["threshold"] if len(classes) == 2 else point[positive]["threshold"]
            tables.append(
                run.predictions.filter(pl.col("part") == "test").select(
                    "patient_key",
                    label=(pl.col("label") == classes.index(positive)).cast(pl.Int64),
                    score=pl.col(column),
                    called=(pl.col(column) >= threshold).cast(pl.Int64),
                    run=pl.lit(number),
                )
            )
        table = pl.concat(tables)
        scores = table["score"].to_numpy()
        return Pooled(
            labels=table["label"].to_numpy(),
            scores=scores if len(tables) == 1 else pool_ranks(scores, table["run"].to_numpy()),
            called=table["called"].to_numpy(),
            patients=table["patient_key"].to_numpy(),
        )


@dataclass(frozen=True)
class Study:
    """The runs under one folder, and the cohort that they share.

    Attributes:
        folder: Of the study.
        cohort: That the runs learned from.
        configurations: With at least one finished run, in the order of their names.
        unfinished: Runs that are not done, with their state; never left out in silence.
    """

    folder: Path
    cohort: Cohort
    configurations: list[Configuration]
    unfinished: list[Run]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def positives(self) -> list[str]:
        """The classes to report on: the positive one of two, or each of more, against the rest."""
        return self.cohort.classes[1:] if len(self.cohort.classes) == 2 else self.cohort.classes


def read_study(folder: Path) -> Study:
    """Collect the runs in a study's folder, or the only run of a run's own folder.

    Raises:
        DataError: If there is no finished run, or the runs are not of one cohort.
    """
    if not folder.is_dir():
        remedy = "Give the folder of a study, for example study=multirun/quick"
        raise DataError(f"study={folder}", "is not a folder", remedy=remedy)
    folders = [folder] if (folder / RECORD).exists() else sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    runs = [Run(path, read_record(path)) for path in folders]
    done = [run for run in runs if run.is_done]
    if not done:
        found = f"{len(runs)} unfinished" if runs else "none"
        remedy = "Train it first: fistula train -m cohort=DIR study=NAME"
        raise DataError(f"study={folder}", "must hold a finished run", found=found, remedy=remedy)
    cohort = read_cohort(folder / "cohort")
    foreign = [run.folder.name for run in done if run.record["cohort_fingerprint"] != cohort.fingerprint]
    if foreign:
        raise DataError(folder, "holds runs of another cohort", found=", ".join(foreign), remedy="Remove those runs")
    groups: dict[str, list[Run]] = {}
    for run in done:
        identity = {key: value for key, value in run.record["identity"].items() if key not in WITHIN}
        groups.setdefault(json.dumps(identity, sort_keys=True), []).append(run)
    names = _distinct_names([group[0] for group in groups.values()])
    configurations = [
        Configuration(name, group[0].record["factors"], group)
        for name, group in zip(names, groups.values(), strict=True)
    ]
    unfinished = [run for run in runs if not run.is_done]
    return Study(folder, cohort, sorted(configurations, key=lambda c: c.name), unfinished)


def _distinct_names(firsts: list[Run]) -> list[str]:
    """Name configurations by the factors in which they differ; by the run's name where those do not tell them apart."""
    factors = [run.record["factors"] for run in firsts]
    varying = [key for key in factors[0] if len({str(row[key]) for row in factors}) > 1] or list(factors[0])[:1]
    names = [
        " · ".join(f"{row[key]} epochs" if key == "epochs" else str(row[key]) for key in varying) for row in factors
    ]
    return names if len(set(names)) == len(names) else [run.record["name"] for run in firsts]
