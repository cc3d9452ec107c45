"""An earlier cohort of the same tree: what did not change since need not be read again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.lib.format import open_memmap

from fistula.cohort.manifest import read_cohort
from fistula.dicom.identity import Pseudonyms
from fistula.errors import ConfigError, DataError
from fistula.source.slices import RESULTS
from fistula.source.store import PixelStore, read_rows
from fistula.source.survey import FACTS, UNSTORED


@dataclass(frozen=True)
class Earlier:
    """A cohort whose work can be taken over."""

    facts: pl.DataFrame  # its survey
    manifest: pl.DataFrame  # its slices
    pixels: np.memmap  # theirs, in the same order

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any], pseudonyms: Pseudonyms) -> "Earlier":
        """Open a cohort folder written with equal `settings` and the same key.

        Raises:
            DataError: If it is not a cohort, or its survey is missing.
            ConfigError: If it was made in another way.
        """
        cohort = read_cohort(folder)
        wanted = {**json.loads(json.dumps(settings)), "key_name": pseudonyms.key_name}
        for name, value in wanted.items():
            if cohort.record.get(name) != value:
                remedy = "Leave reuse out, or use the same settings and key"
                raise ConfigError(f"reuse={folder}", f"was made with another {name}", remedy=remedy)
        try:
            facts = pl.read_parquet(folder / "survey.parquet", glob=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"reuse={folder}", "has no readable survey.parquet", remedy="Leave reuse out") from error
        if not set(FACTS) - {*UNSTORED} <= set(facts.columns):
            raise DataError(f"reuse={folder}", "was made by an earlier version", remedy="Leave reuse out")
        empty = (pl.lit("").alias(name) for name in UNSTORED[1:])  # members of archives are looked at anew
        # The headers of patients who were left out are read anew: their age and sex are not kept.
        of_cohort = facts.filter(pl.col("slice_key").is_in(cohort.manifest["slice_key"].to_list()))[
            "patient_key"
        ].unique()
        is_told = (pl.col("outcome") != "image") | pl.col("patient_key").is_in(of_cohort.to_list())
        facts = facts.filter((pl.col("stamp") != "") & is_told).with_columns(*empty, file=pl.lit(None, pl.Int64()))
        is_single = pl.len().over("stamp") == pl.col("frames").fill_null(1)
        return cls(
            facts.select(list(FACTS)).filter(is_single), cohort.manifest, open_memmap(folder / "pixels.npy", mode="r")
        )

    def results(self, chosen: pl.DataFrame, store: PixelStore) -> pl.DataFrame:
        """Results for the volumes that consist of the same slices from unchanged files; their pixels go to `store`.

        A volume with one slice more or less is read whole: its intensities depend on all of it.
        """
        old = self.manifest.with_row_index("old")
        same = chosen.select("row", "series_key", "volume", "slice_key", "stamp", "frame").join(
            old.select("old", "slice_key", "stamp", "series_key", "volume"),
            on=["slice_key", "stamp", "series_key", "volume"],
            how="inner",
        )
        by = ["series_key", "volume"]
        sizes = (
            same.group_by(by)
            .len("same")
            .join(chosen.group_by(by).len("new"), on=by)
            .join(old.group_by(by).len("before"), on=by)
        )
        whole = sizes.filter((pl.col("same") == pl.col("new")) & (pl.col("same") == pl.col("before")))
        same = same.join(whole.select(by), on=by, how="semi").sort("old")
        if same.is_empty():
            return pl.DataFrame(schema=RESULTS)
        store.put(same["row"], read_rows(self.pixels, same["old"].to_list()))
        return (
            same.with_columns(at="row")
            .join(old.select("old", *(name for name in RESULTS if name in old.columns)), on="old")
            .with_columns(reason=pl.lit(None, pl.String()), remedy=pl.lit(None, pl.String()))
            .select(list(RESULTS))
            .cast(pl.Schema(RESULTS))
        )
