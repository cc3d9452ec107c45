"""The cohort folder: its table of slices, its pixels, and the record of how it was made."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fistula.errors import DataError
from fistula.labels.tables.covariates import COVARIATE as COVARIATE
from fistula.labels.tables.covariates import OF_HEADERS as OF_HEADERS
from fistula.labels.tables.lines import POINTS as POINTS

FORMAT = 2  # of the folder; another one is refused

LACKS = "lacks "  # before the name of a sequence
ELDEST = 90  # years; an age that is shown as 90+

# One row for every eligible slice of every patient who has a label, in the order of the first axis of pixels.npy.
SCHEMA: dict[str, pl.DataType] = {
    "slice_key": pl.String(),  # pseudonym of the SOP instance (or image file); unique
    "patient_key": pl.String(),  # pseudonym of the patient: the unit of independence
    "study_key": pl.String(),
    "series_key": pl.String(),
    "volume": pl.Int64(),  # number inside the series; neighbours and intensities stay within one
    "sequence": pl.String(),  # name of the keep rule that took the slice; empty where there is one rule
    "label": pl.Int64(),  # index into `classes`; null where none was given
    "patient_label": pl.Int64(),  # the class of the patient as a whole, where the table gave it; else null
    "site": pl.String(),
    "split": pl.String(),  # train, val or test where the table of labels says so; else null
    "position_mm": pl.Float64(),  # along the slice normal, patient coordinates
    "image_number": pl.Int64(),  # InstanceNumber
    "age": pl.Float64(),  # years; ELDEST stands for every higher age
    "sex": pl.String(),  # M, F or O
    "opening_row": pl.Float64(),  # in pixels of pixels.npy; the centre of the first pixel is 0
    "opening_col": pl.Float64(),
    "canal_row": pl.Float64(),  # centre of the anal canal, the same way
    "canal_col": pl.Float64(),
    "modality": pl.String(),
    "manufacturer": pl.String(),
    "scanner": pl.String(),  # manufacturer's model name
    "image_type": pl.String(),  # ImageType and ScanningSequence, as in the file
    "orientation": pl.String(),  # axial, coronal or sagittal: the nearest plane
    "tilt_degrees": pl.Float64(),  # of the slice from that plane
    "turned": pl.String(),  # what brought it into the stored orientation: flip, turn180, ...; empty for nothing
    "matrix": pl.String(),  # ROWSxCOLUMNS of the source
    "pixel_spacing_mm": pl.Float64(),  # of the source, between rows
    "pixel_hash": pl.String(),  # SHA-256 of this slice's pixels in pixels.npy
    "source_hash": pl.String(),  # keyed: whoever has the file but not the key cannot look it up
}
# Further numbers that are known of patients stand in columns `covariate_NAME`, null where one is not known.
# Of a cohort with several sequences as well: a slice of one that is not the first lies on the grid of one of the first.
BESIDE: dict[str, pl.DataType] = {
    "grid_key": pl.String(),  # the slice_key of that one; null for slices of the first sequence
    "covered": pl.Float64(),  # share of it that the other volume reaches, [0, 1]; blank where it does not
}
# Written by ingest as well, for a closer look; no later stop relies on them.
EXTRA: dict[str, pl.DataType] = {
    "frame": pl.Int64(),  # of a multi-frame object, from 0
    "file_patient": pl.String(),  # pseudonym of the PatientID as the file has it, whoever the rule says it is
    "study_day": pl.Int64(),  # days since the patient's first study
    "field_strength": pl.Float64(),  # tesla
    "component": pl.String(),  # water, fat, magnitude, ...
    "contrast": pl.String(),  # yes, unknown (attribute there but empty), no
    "syntax": pl.String(),
    "decoder": pl.String(),
    "scale_row": pl.Float64(),  # pixels of pixels.npy per source pixel
    "scale_col": pl.Float64(),
    "offset_row": pl.Int64(),  # where the grid begins in the scaled picture
    "offset_col": pl.Int64(),
    "notes": pl.String(),  # what is odd about the slice, separated by |
    "seen": pl.String(),  # those of them that concern the pixels
}


@dataclass(frozen=True)
class Cohort:
    """A folder written by `fistula ingest`."""

    folder: Path  # where it lies
    manifest: pl.DataFrame  # one row a slice, columns as in `SCHEMA`; neighbours and whole series are to be found in it
    pixels: np.ndarray  # unsigned 8-bit, ``(N, H, W)``, memory-mapped, read-only
    record: dict[str, Any]  # what `ingest.json` holds

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """The slices that have a label, with their `row` in `manifest` and `pixels`."""
        return self.manifest.with_row_index("row").cast({"row": pl.Int64}).filter(pl.col("label").is_not_null())

    @property
    def sequences(self) -> list[str]:
        """Names of the sequences, first the one on whose grid the others lie; empty for one without a name."""
        return list(self.record.get("keep", {}).get("sequences") or ())

    @cached_property
    def grid(self) -> pl.DataFrame:
        """The slices of the first sequence, or of the only one; with their `row`, in order."""
        return of_first(self.manifest.with_row_index("row").cast({"row": pl.Int64}))

    def beside(self, keys: pl.Series) -> pl.DataFrame:
        """The slices of the other sequences on the grids of these ones, with their `row`."""
        rows = self.manifest.with_row_index("row").cast({"row": pl.Int64})
        return rows.filter(pl.col("grid_key").is_in(keys.implode())) if self.sequences else rows.clear()

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their labels; with two, the last is the positive one."""
        return self.record["classes"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every cell of the manifest, and so, by their hashes, of every pixel."""
        return self.record["fingerprint"]


def manifest_fingerprint(manifest: pl.DataFrame) -> str:
    """SHA-256 over the manifest's rows, columns in the order of `SCHEMA`, then its covariates and those of `BESIDE`."""
    further = [*covariates_of(manifest), *(name for name in BESIDE if name in manifest.columns)]
    digest = hashlib.sha256()
    for number, rows in enumerate(manifest.select(*SCHEMA, *further).iter_slices(10_000)):
        digest.update(rows.write_csv(include_header=number == 0).encode())
    return digest.hexdigest()


def of_first(manifest: pl.DataFrame) -> pl.DataFrame:
    """Rows of the first sequence, or of the only one."""
    return manifest.filter(pl.col("grid_key").is_null()) if "grid_key" in manifest.columns else manifest


def lacking(manifest: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Slices of the first sequence, with ``lacks NAME`` for each other one: 1 where nothing of it is there, else 0.

    The first of the names is that of the first sequence.
    """
    slices = of_first(manifest)
    for name in names[1:]:
        there = manifest.filter((pl.col("sequence") == name) & (pl.col("covered") > 0))["grid_key"]
        is_blank = ~pl.col("slice_key").is_in(there.implode())
        slices = slices.with_columns(is_blank.cast(pl.Float64).alias(f"{LACKS}{name}"))
    return slices


def covariates_of(manifest: pl.DataFrame) -> list[str]:
    """Columns of further covariates, in order."""
    return sorted(name for name in manifest.columns if name.startswith(COVARIATE))


def read_cohort(folder: Path) -> Cohort:
    """Open a cohort folder and check that its parts belong together.

    Raises:
        DataError: If a part is missing, unreadable, or does not fit the others.
    """
    remedy = "Write one with: fistula ingest source=DIR labels=FILE.csv out=DIR"
    for name in ("manifest.parquet", "pixels.npy", "ingest.json"):
        if not (folder / name).is_file():
            raise DataError(f"cohort={folder}", f"is not a cohort folder: it has no {name}", remedy=remedy)
    try:
        manifest = pl.read_parquet(folder / "manifest.parquet", glob=False)
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        record = json.loads((folder / "ingest.json").read_text(encoding="utf-8"))
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        raise DataError(f"cohort={folder}", f"cannot be read ({error})", remedy=remedy) from error
    if record.get("format") != FORMAT:
        found = record.get("format", 1)
        raise DataError(f"cohort={folder}", f"must have format {FORMAT}", found=found, remedy="Ingest it again")
    missing = [column for column in SCHEMA if column not in manifest.columns]
    if missing:
        raise DataError(folder / "manifest.parquet", f"lacks the columns {', '.join(missing)}", remedy=remedy)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or len(pixels) != len(manifest):
        found = f"{pixels.dtype} {pixels.shape} for {len(manifest)} rows"
        raise DataError(folder / "pixels.npy", "must be uint8 (N, H, W), one slice per row", found=found, remedy=remedy)
    if record.get("fingerprint") != manifest_fingerprint(manifest):
        raise DataError(folder, "manifest.parquet is not the one that ingest.json describes", remedy=remedy)
    return Cohort(folder, manifest, pixels, record)


def named_scanner() -> pl.Expr:
    """Maker and model of a slice's scanner as one name; null where neither is stated."""
    maker = pl.col("manufacturer").str.to_titlecase().replace({"Ge": "GE", "Uih": "UIH"})
    name = pl.concat_str(maker.fill_null(""), pl.col("scanner").fill_null(""), separator=" ").str.strip_chars()
    return pl.when(name != "").then(name).alias("scanner")
