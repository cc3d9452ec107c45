"""The table of a split: one row a slice (or copy of one) and fold, checked, fingerprinted, and written once a study."""

import hashlib
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl

from fistula.errors import ConfigError, DataError, count, say_class
from fistula.folder import name_once, partial_beside

PARTS = ("train", "val", "test")
SETS = {"train": "training", "val": "validation", "test": "test"}  # as they are called in sentences
COLUMNS: dict[str, pl.DataType] = {
    "slice_key": pl.String(),
    "copy": pl.Int64(),  # 0 is the slice itself; 1 and up are jittered copies of it, made before the split
    "fold": pl.Int64(),
    "part": pl.String(),  # one of PARTS
}


def split_table(name: str, images: pl.DataFrame, folds: Iterable[np.ndarray]) -> pl.DataFrame:
    """Write out the part of every image in every fold.

    Images have columns ``slice_key label``, ``copy`` where slices have copies, and ``class`` where labels have names;
    `folds` say for each fold the part of every image, ``(N,)``; the name is for messages. Gives columns as in
    `COLUMNS`, in the order of the folds and, within each, of the images.

    Raises:
        DataError: If a fold's training set lacks a class, or its val or test part has no two.
    """
    keys = images.select("slice_key", copy=pl.col("copy") if "copy" in images.columns else pl.lit(0))
    tables = []
    for fold, parts in enumerate(folds):
        _check_classes(f"split={name}, fold {fold}", images, parts)
        tables.append(keys.with_columns(fold=pl.lit(fold), part=pl.Series(parts.tolist(), dtype=pl.String)))
    return pl.concat(tables).select(list(COLUMNS)).cast(pl.Schema(COLUMNS))


def split_fingerprint(table: pl.DataFrame) -> str:
    """SHA-256 of the table's rows, whatever their order."""
    rows = table.select(list(COLUMNS)).sort(list(COLUMNS))
    return hashlib.sha256(rows.write_csv().encode()).hexdigest()


def write_split(path: Path, table: pl.DataFrame) -> None:
    """Write a study's split, once; with the same table there already, do nothing.

    Several runs may do this at the same moment: the first to finish sets the split, and the others must agree.

    Raises:
        ConfigError: If `path` holds another split.
        DataError: If `path` holds no readable split.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        table.write_parquet(content, metadata={"fingerprint": split_fingerprint(table)})
        with partial_beside(path) as partial, suppress(FileExistsError):
            partial.write_bytes(content.getvalue())
            name_once(partial, path)
    if split_fingerprint(read_split(path)) != split_fingerprint(table):
        remedy = "Use the study's split.* settings, seed and cohort, or start another study"
        raise ConfigError(path, "a study has one split, and this run's is another", remedy=remedy)


def read_split(path: Path) -> pl.DataFrame:
    """Read a table that `write_split` wrote.

    Raises:
        DataError: If there is none, or its content is not the one it was written with.
    """
    try:
        table = pl.read_parquet(path, glob=False)
        written = pl.read_parquet_metadata(path).get("fingerprint")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(path, f"cannot be read as a split ({error})") from error
    if not set(COLUMNS) <= set(table.columns) or written != split_fingerprint(table):
        raise DataError(path, "is not the split that was written here: its content changed", remedy="Restore the file")
    return table


def class_of(images: pl.DataFrame, label: int) -> str:
    """A class as messages and the report call it; by its number where the images have no column ``class``."""
    names = images.filter(pl.col("label") == label)["class"] if "class" in images.columns else [label]
    return say_class(str(names[0]))


def _check_classes(where: str, images: pl.DataFrame, parts: np.ndarray) -> None:
    labels = images["label"].to_numpy()
    for part in PARTS:
        held = np.unique(labels[parts == part])
        # The network has to see every class; a score of one class alone has no rates to report.
        needed = len(np.unique(labels)) if part == "train" else 2
        if len(held) < needed:
            rule = "must hold every class" if part == "train" else "must hold slices of at least two classes"
            several = f"{len(held)} classes in {(parts == part).sum()} slices"
            found = f"{class_of(images, held[0])} only" if len(held) == 1 else several
            remedy = "Change split.*, or add patients of the missing class"
            raise DataError(where, f"the {SETS[part]} set {rule}", found=found, remedy=remedy)


def sites_of(manifest: pl.DataFrame) -> list[str]:
    """Names of the sites in order; a DataError unless each patient is at one, and there are two."""
    if manifest["site"].null_count():
        remedy = "Fill the column site in the table of labels and ingest again"
        found = f"{manifest['site'].null_count()} of {len(manifest)} slices without one"
        raise DataError("split=site_holdout", "needs the site of every slice", found=found, remedy=remedy)
    travellers = manifest.group_by("patient_key").agg(pl.col("site").n_unique()).filter(pl.col("site") > 1)
    if len(travellers):
        found = f"{count(len(travellers), 'patient')} at several"
        raise DataError("split=site_holdout", "needs each patient at one site", found=found)
    sites = sorted(manifest["site"].unique())
    if len(sites) < 2:
        raise DataError("split=site_holdout", "needs two sites or more", found=f"{len(sites)} ({', '.join(sites)})")
    return sites
