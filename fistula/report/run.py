"""One run of a study as it lies on disk."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from fistula.errors import DataError

PLACES = {
    "slice_key", "copy", "patient_key", "fold", "part", "kind", "row", "col", "peak", "row_true", "col_true",
    "mm_per_pixel",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One run as it lies on disk; its tables are there once it is done."""

    folder: Path
    record: dict[str, Any]

    @property
    def is_done(self) -> bool:
        return self.record.get("state") == "done"

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """Columns as in `predictions.parquet`.

        Raises:
            DataError: If the file is missing, unreadable, or lacks a column.
        """
        return self._table("predictions.parquet", {"slice_key", "patient_key", "fold", "part", "label"})

    @property
    def scores_patients(self) -> bool:
        """Whether each of its scores is of a patient, by a network that looks at all slices together."""
        return self.predictions["slice_key"].null_count() == len(self.predictions)

    @cached_property
    def slices(self) -> pl.DataFrame:
        """Scores of single slices: those of `predictions`, or those beside the scores of patients.

        A slice without a label stands with its patient's.

        Raises:
            DataError: As `predictions`.
        """
        if not self.scores_patients:
            return self.predictions
        table = self._table("slices.parquet", {"slice_key", "patient_key", "part", "label"})
        of_patient = self.predictions.select("patient_key", "part", patient="label")
        joined = table.join(of_patient, on=("patient_key", "part"), maintain_order="left")
        return joined.with_columns(label=pl.coalesce("label", "patient")).drop("patient")

    @cached_property
    def places(self) -> pl.DataFrame | None:
        """Columns as in `places.parquet`; None for a run that names no places.

        Raises:
            DataError: If the file cannot be read or lacks a column.
        """
        return self._table("places.parquet", PLACES) if (self.folder / "places.parquet").is_file() else None

    @property
    def tested(self) -> pl.DataFrame:
        """The test rows of `slices`, without jittered copies."""
        test = self.slices.filter(pl.col("part") == "test")
        return test.filter(pl.col("copy") == 0) if "copy" in test.columns else test

    def placed(self, kind: str) -> pl.DataFrame:
        """The places of a kind, ``opening`` or ``canal``, on test slices, without jittered copies.

        Raises:
            DataError: If the run lacks its places.
        """
        if self.places is None:
            raise DataError(self.folder / "places.parquet", "is missing", remedy="Remove this run and train it again")
        return self.places.filter((pl.col("part") == "test") & (pl.col("copy") == 0) & (pl.col("kind") == kind))

    @property
    def history(self) -> pl.DataFrame | None:
        """Columns as in `history.csv`; None where there is none."""
        path = self.folder / "history.csv"
        return pl.read_csv(path, glob=False) if path.is_file() else None

    def _table(self, name: str, needed: set[str]) -> pl.DataFrame:
        path, remedy = self.folder / name, "Remove this run's folder and train it again"
        try:
            table = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(path, f"cannot be read ({error})", remedy=remedy) from error
        if missing := needed - set(table.columns):
            raise DataError(path, f"lacks the columns {', '.join(sorted(missing))}", remedy=remedy)
        return table
