"""Tables given to a report beside the study: readings, and another program's scores; kept with it, to verify it by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

FILES = {"readings": "readings.parquet", "program": "program.parquet"}


@dataclass(frozen=True)
class Given:
    """What was given; patients stand under their pseudonyms."""

    # Columns ``patient_key reader modality score minutes experience located date``; None where none were given.
    readings: pl.DataFrame | None = None
    # Columns ``patient_key reader score call``, where ``reader`` is the program; None likewise.
    program: pl.DataFrame | None = None
    readings_of: str = ""  # external cohort whose patients were read; empty for the study's own
    program_of: str = ""  # likewise of the program

    def write(self, folder: Path) -> None:
        """Keep what is there."""
        for name, file in FILES.items():
            table = getattr(self, name)
            if table is not None:
                table.with_columns(of=pl.lit(getattr(self, f"{name}_of"))).write_parquet(folder / file)

    @classmethod
    def read(cls, folder: Path) -> "Given":
        """What a report was given."""
        found: dict[str, Any] = {}
        for name, file in FILES.items():
            if (folder / file).is_file():
                table = pl.read_parquet(folder / file, glob=False)
                lacking = {"date"} - set(table.columns) if name == "readings" else set()
                table = table.with_columns(pl.lit(None, pl.String).alias(column) for column in lacking)
                found[name], found[f"{name}_of"] = table.drop("of"), table["of"][0]
        return cls(**found)
