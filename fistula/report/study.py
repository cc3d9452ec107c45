"""Collect the runs of a study, and group those that differ in nothing but fold and seed."""

import json
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import polars as pl

from fistula.cohort.manifest import Cohort, read_cohort
from fistula.errors import DataError
from fistula.report.names import NAMES, distinct_names
from fistula.report.run import Run
from fistula.sweep.folder.run import RECORD, configuration_of, read_record

ALLOWED = "leaks allowed by audit=warn"  # the audit's word for leaks that nobody looked at one by one


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in nothing but fold and seed: one row of the results."""

    name: str
    factors: dict[str, Any]
    runs: list[Run]

    @property
    def leaky_by_design(self) -> bool:
        return any(run.record.get("leaky_by_design") for run in self.runs)

    @property
    def is_canary(self) -> bool:
        """Whether it learned permuted labels: then it is no result, whatever its numbers."""
        return self.factors.get("labelling", "given") != "given"

    @property
    def mark(self) -> str:
        """What its labels, split or audit have to be marked with wherever it is shown; empty if nothing."""
        marks = [NAMES["permuted_by_patient"]] if self.is_canary else []
        return ", ".join(filter(None, [*marks, "leaky by design" if self.leaky_by_design else self.verdict]))

    @property
    def verdict(self) -> str:
        """What the audit of its split says of leaks that are not by design; empty if there are none."""
        certificates = [run.record.get("audit") or {} for run in self.runs if not self.leaky_by_design]
        return next((str(c["verdict"]) for c in certificates if c.get("is_marked")), "")

    @property
    def leaks(self) -> bool:
        """Whether its test patients may be among those it learned from: it never stands above one without a leak."""
        return self.leaky_by_design or self.verdict == ALLOWED

    def rank(self, value: float) -> tuple[bool, bool, bool, float]:
        """What sorts configurations: the highest value first, then undefined ones, then what leaks, then canaries."""
        return self.is_canary, self.leaks, isnan(value), -value

    @property
    def warnings(self) -> list[str]:
        """What its runs warned of, each with how many of them did."""
        texts = [text for run in self.runs for text in run.record.get("warnings", [])]
        of = f"of {len(self.runs)} runs" if len(self.runs) > 1 else ""
        return [f"{text} ({texts.count(text)} {of})" if of else text for text in sorted(set(texts))]

    @property
    def badges(self) -> dict[str, str]:
        """Each kind of warning once, with how many runs gave it; and what they said."""
        kinds: dict[str, set[int]] = {}
        said: dict[str, set[str]] = {}
        for number, run in enumerate(self.runs):
            for text in run.record.get("warnings", []):
                # Of several classes, a warning begins with the name of one.
                kind = "constant prediction" if "constant prediction" in text else str(text).partition(":")[0]
                kinds.setdefault(kind, set()).add(number)
                said.setdefault(kind, set()).add(text)
        of = len(self.runs)
        return {
            kind + (f" ({len(runs)} of {of} runs)" if of > 1 else ""): "; ".join(sorted(said[kind]))
            for kind, runs in kinds.items()
        }

    @property
    def num_seeds(self) -> int:
        return len({run.record["seed"] for run in self.runs})

    @property
    def levels(self) -> tuple[str, ...]:
        """At which its runs can be judged: patients alone where no slice has a score that a run stands for."""
        return ("patient",) if self.runs[0].scores_patients else ("slice", "patient")

    @property
    def split(self) -> str:
        """Fingerprint of the split; only runs of one split can be compared row by row."""
        return str(self.runs[0].record["split_fingerprint"])


@dataclass(frozen=True)
class Study:
    """The runs under one folder, and the cohort that they share."""

    folder: Path
    cohort: Cohort  # that the runs learned from
    configurations: list[Configuration]  # with at least one finished run, in the order of their names
    unfinished: list[Run]  # runs that are not done, with their state; never left out in silence

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def runs(self) -> list[Run]:
        """The finished ones."""
        return [run for configuration in self.configurations for run in configuration.runs]

    def configuration_of(self, run: Run) -> Configuration:
        """Whose run it is."""
        return next(configuration for configuration in self.configurations if run in configuration.runs)

    @property
    def positives(self) -> list[str]:
        """The classes to report on: the positive one of two, or each of more, against the rest."""
        return self.cohort.classes[1:] if len(self.cohort.classes) == 2 else self.cohort.classes

    def rest(self, positive: str) -> str:
        """What those are called that are not of the class."""
        return self.cohort.classes[0] if len(self.cohort.classes) == 2 else f"not {positive}"

    @property
    def is_ordered(self) -> bool:
        """Whether the classes are grades, from the first to the last: where runs were trained for that."""
        losses = (str(run.record["identity"].get("loss._target_")).rpartition(".")[2] for run in self.runs)
        return len(self.cohort.classes) > 2 and "Ordinal" in losses

    @property
    def certificates(self) -> list[dict[str, Any]]:
        """What the audits of its splits found, one a split, as the runs recorded them."""
        found = {
            json.dumps(run.record["audit"], sort_keys=True): run.record["audit"]
            for run in self.runs
            if run.record.get("audit")
        }
        return list(found.values())

    @property
    def splits(self) -> dict[str, pl.DataFrame]:
        """Tables of the splits kept with the study, by name: columns ``slice_key fold part``."""
        paths = sorted(self.folder.glob("split*.parquet"))
        return {
            path.stem.removeprefix("split").removeprefix("-") or "split": pl.read_parquet(path, glob=False)
            for path in paths
        }

    def threshold(self, run: Run, positive: str, *, level: str) -> float:
        """The operating point that a run chose on its validation part, for a class, by ``slice`` or by ``patient``."""
        key = "operating_point" if level == "slice" else "patient_operating_point"
        return float(self._of_class(run, key, positive)["threshold"])

    def aggregation(self, run: Run, positive: str) -> str:
        """The rule by which a run makes a patient's score of its slices', for a class."""
        return str(self._of_class(run, "aggregation", positive))

    def _of_class(self, run: Run, key: str, positive: str) -> Any:
        return run.record[key] if len(self.cohort.classes) == 2 else run.record[key][positive]


def read_study(folder: Path) -> Study:
    """Collect the runs in a study's folder, or the only run of a run's own folder.

    Raises:
        DataError: If there is no finished run, a record is incomplete, or the runs are not of one cohort.
    """
    if not folder.is_dir():
        remedy = "Give the folder of a study, below multirun unless hydra.sweep.dir said otherwise"
        raise DataError(f"study={folder}", "is not a folder", remedy=remedy)
    if (folder / RECORD).exists() and not (folder / "cohort").is_dir() and (folder.parent / "cohort").is_dir():
        raise DataError(f"study={folder}", "is a run of a study", remedy=f"Name the study: study={folder.parent}")
    folders = [folder] if (folder / RECORD).exists() else sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    runs = [Run(path, read_record(path)) for path in folders]
    done = [run for run in runs if run.is_done]
    if not done:
        states = ", ".join(f"{run.folder.name} ({run.record.get('state')})" for run in runs[:3])
        remedy = "Train one: fistula train -m cohort=DIR study=NAME"
        remedy = "Running its training command again resumes it" if runs else remedy
        raise DataError(f"study={folder}", "must hold a finished run", found=states or "no run", remedy=remedy)
    if not (folder / "cohort").is_dir() and (done[0].folder / "cohort").is_dir():
        remedy = f"Name one of them: {done[0].folder}; `fistula train -m` trains several as one study"
        found = ", ".join(run.folder.name for run in done[:3])
        raise DataError(f"study={folder}", "must be one study, not a folder of single runs", found=found, remedy=remedy)
    cohort = read_cohort(folder / "cohort")
    _check_records(folder, done, cohort)
    groups: dict[str, list[Run]] = {}
    for run in done:
        groups.setdefault(configuration_of(run.record), []).append(run)
    names = distinct_names([group[0].record for group in groups.values()])
    configurations = [
        Configuration(
            name, group[0].record["factors"], sorted(group, key=lambda r: (r.record["seed"], r.record["fold"]))
        )
        for name, group in zip(names, groups.values(), strict=True)
    ]
    return Study(folder, cohort, sorted(configurations, key=_natural), [run for run in runs if not run.is_done])


def _check_records(folder: Path, done: list[Run], cohort: Cohort) -> None:
    needed = {
        "name", "identity", "factors", "fold", "seed", "cohort_fingerprint", "split_fingerprint",
        "operating_point", "aggregation", "patient_operating_point",
    }  # fmt: skip
    for run in done:
        missing = needed - run.record.keys()
        if missing:
            rule = f"lacks {', '.join(sorted(missing))}"
            raise DataError(run.folder / RECORD, rule, remedy="Remove this run's folder and train it again")
    foreign = [run.folder.name for run in done if run.record["cohort_fingerprint"] != cohort.fingerprint]
    if foreign:
        raise DataError(folder, "holds runs of another cohort", found=", ".join(foreign), remedy="Remove those runs")


def _natural(configuration: Configuration) -> list[tuple[bool, float, str]]:
    """Sort by the factors in turn, numbers as numbers; then by name."""
    levels = [*configuration.factors.values(), configuration.name]
    return [
        (True, float(level), "") if isinstance(level, int | float) else (False, 0.0, str(level)) for level in levels
    ]
