"""The exclusion flow: how many were found, what was left out at each step and why, and how many are kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from fistula.errors import say_class

NO_CLASS = "no label"
# What steps are called on the terminal, as in the report; the others as they are stored.
SHOWN = {"image": "images", "right sequence": "selected sequence", "labelled": "labeled patients"}
WIDTH = 220  # of a table where the output is no terminal


def wide_console() -> Console:
    """Where tables are printed; a file or a pipe has no width."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


@dataclass
class Flow:
    """Steps in order: name, unit (files or slices), how many remain, what was left out by reason, and whose they are.

    Within a unit each step's count is the one before it less what was left out.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    remaining: list[pl.DataFrame] = field(default_factory=list)

    def add(self, stage: str, rows: pl.DataFrame, *, unit: str, excluded: Mapping[str, int] | None = None) -> None:
        """Append a step: `rows` remain after `excluded` (reason to number) were left out."""
        counts = {why: count for why, count in (excluded or {}).items() if count}
        ordered = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        self.steps.append({"stage": stage, "unit": unit, "count": len(rows), "excluded": ordered})
        self.remaining.append(pl.DataFrame([rows.get_column(name) for name in ("file", "member", "patient_key")]))

    def count_patients(self, labelled: pl.DataFrame, classes: Sequence[str]) -> None:
        """Say for each step how many patients of each class remain; a patient's is the highest of the slices.

        `labelled` are the slices with a label or of a patient who has one: columns ``file member patient_key label``.
        """
        of = labelled.group_by("patient_key").agg(pl.col("label").max())
        # A step knows patients as the headers do, which is not always as the labels do.
        known = labelled.select("file", "member", whose="patient_key").unique(["file", "member"])
        for step, rows in zip(self.steps, self.remaining, strict=True):
            whose = (
                rows.unique()
                .join(known, on=["file", "member"], how="left")
                .select(patient_key=pl.coalesce("whose", "patient_key"))
            )
            labels = whose.drop_nulls().unique().join(of, on="patient_key", how="left")["label"]
            counts = Counter(NO_CLASS if label is None else classes[label] for label in labels)
            step["patients"] = {name: counts[name] for name in (*classes, NO_CLASS) if counts[name]}

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title="exclusion flow", title_justify="left", show_edge=False)
        has_patients = any("patients" in step for step in self.steps)
        for column in ("step", "remaining", *(["patients"] if has_patients else []), "excluded", "why"):
            table.add_column(column, justify="right" if column in ("remaining", "excluded") else "left")
        before = None
        for step in self.steps:
            stage = SHOWN.get(step["stage"], step["stage"])
            lines = list(step["excluded"].items()) or [("", "")]
            patients = step.get("patients", {})
            whose = ", ".join(
                f"{number} {'without a label' if name == NO_CLASS else say_class(name)}"
                for name, number in patients.items()
            )
            whose, before = "unchanged" if patients and patients == before else whose, patients
            for index, (reason, count) in enumerate(lines):
                head = [stage, f"{step['count']} {step['unit']}"] if index == 0 else ["", ""]
                if has_patients:
                    head.append(whose if index == 0 else "")
                table.add_row(*head, str(count), reason)
        return table
