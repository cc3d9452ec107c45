"""Each thing that an audit can find in a split: what is shared between its parts, and which labels contradict."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.audit.likeness import BITS
from fistula.audit.near_duplicates import NearDuplicate
from fistula.cohort.split_table import PARTS, SETS

# Kind of finding, and the column of the manifest whose values may not stand in two parts.
IDENTITIES = {
    "patient": "patient_key",
    "study": "study_key",
    "series": "series_key",
    "slice": "slice_key",
    "pixels": "pixel_hash",
}


@dataclass(frozen=True)
class Finding:
    """One thing the audit found."""

    id: str  # of what was found, the same under every split; to accept it by
    kind: str  # what is shared, ``patient study series slice pixels near_duplicate``; or ``label_conflict``
    is_leak: bool  # whether it stands in two parts of one fold
    keys: list[str]  # the patient, study, series or pixel hash; or the slices
    parts: list[str]  # where it stands in the folds where it leaks; empty without a leak
    folds: list[int]  # in which it leaks; empty without a leak
    detail: str
    accepted: str | None = None  # the reason with which it was accepted; None if it was not


def with_seen_pixels(rows: pl.DataFrame, pixels: NDArray[np.uint8], *, known: Iterable[str] = ()) -> pl.DataFrame:
    """Slices without the ``pixel_hash`` of those on which there is nothing: being of one value makes none a copy.

    Args:
        rows: ``pixel_hash``, and ``row``, where each stands in `pixels`.
        pixels: ``(N, H, W)``.
        known: Hashes of other slices; what is neither among them nor repeated is not looked at.
    """
    is_met = pl.col("pixel_hash").is_duplicated() | pl.col("pixel_hash").is_in(list(known))
    repeated = rows.filter(is_met).unique("pixel_hash")
    images = ((name, pixels[row]) for name, row in repeated.select("pixel_hash", "row").iter_rows())
    blank = [name for name, image in images if image.min() == image.max()]
    return rows.with_columns(pl.when(~pl.col("pixel_hash").is_in(blank)).then("pixel_hash"))


def find_shared(manifest: pl.DataFrame, table: pl.DataFrame, kind: str) -> Iterator[Finding]:
    """Give each value of an identity that stands in two parts of a fold.

    Columns are those of `manifest.SCHEMA` and `split_table.COLUMNS`; a null value is no identity.
    """
    owners = manifest.select("slice_key", value=IDENTITIES[kind]).drop_nulls()
    if kind == "pixels":  # a slice equals its own copies; `slice` says so
        owners = owners.filter(pl.col("slice_key").n_unique().over("value") > 1)
    sides = table.join(owners, on="slice_key").group_by("value", "fold").agg(pl.col("part").unique())
    leaks = sides.filter(pl.col("part").list.len() > 1).sort("value", "fold")
    for (value,), rows in leaks.group_by("value", maintain_order=True):
        yield _finding(kind, [str(value)], rows, f"{kind} {str(value)[:12]}")


def find_look_alikes(manifest: pl.DataFrame, table: pl.DataFrame, near: Iterable[NearDuplicate]) -> Iterator[Finding]:
    """Give each near-duplicate of two patients, as a leak where it stands in two parts, and each contradiction in it.

    Slices without a label stand in no part. One of a further sequence stands for that of the first on whose grid it
    lies. Exact copies of those are left to `find_shared` and `find_contradictions`.
    """
    slices, hashes = manifest["slice_key"].to_list(), manifest["pixel_hash"].to_list()
    keys, known = slices, dict(zip(slices, manifest["label"], strict=True))
    if "grid_key" in manifest.columns:
        keys = manifest.select(pl.coalesce("grid_key", "slice_key")).to_series().to_list()
    labels = [known[key] for key in keys]
    stands = [slices[row] != key for row, key in enumerate(keys)]
    pairs = [p for p in near if hashes[p.first] != hashes[p.second] or stands[p.first] or stands[p.second]]
    pairs = [pair for pair in pairs if labels[pair.first] is not None and labels[pair.second] is not None]
    pairs = list({frozenset((keys[pair.first], keys[pair.second])): pair for pair in reversed(pairs)}.values())[::-1]
    shown = {keys[row] for pair in pairs for row in (pair.first, pair.second)}
    parts_of: dict[str, pl.DataFrame] = {
        str(key): rows
        for (key,), rows in table.filter(pl.col("slice_key").is_in(shown)).group_by("slice_key", maintain_order=True)
    }
    for pair in pairs:
        names = sorted((keys[pair.first], keys[pair.second]))
        sides = pl.concat([parts_of[name] for name in names]).group_by("fold").agg(pl.col("part").unique())
        leaks = sides.filter(pl.col("part").list.len() > 1).sort("fold")
        look = f"hash distance {pair.distance} of {BITS}, correlation {pair.correlation:.3f}"
        what = f"slices {_short(names)} of two patients look the same ({look})"
        yield _finding("near_duplicate", names, leaks, what)
        if labels[pair.first] != labels[pair.second]:
            yield _finding("label_conflict", names, None, f"{what} and have different labels")


def find_contradictions(manifest: pl.DataFrame) -> Iterator[Finding]:
    """Give each set of slices with equal pixels and different labels, of one patient or of several."""
    seen = manifest.drop_nulls("pixel_hash")
    groups = seen.group_by("pixel_hash", maintain_order=True).agg("slice_key", pl.col("label").n_unique())
    for names in groups.filter(pl.col("label") > 1)["slice_key"].to_list():
        yield _finding(
            "label_conflict", sorted(names), None, f"slices {_short(names)} are equal and labeled differently"
        )


def _finding(kind: str, keys: list[str], leaks: pl.DataFrame | None, what: str) -> Finding:
    """Word a finding; `leaks` has a row for each fold where it leaks: ``fold``, and ``part``, a list."""
    identity = f"{kind}-{hashlib.sha256(':'.join(keys).encode()).hexdigest()[:10]}"
    if leaks is None or leaks.is_empty():
        return Finding(identity, kind, False, keys, [], [], what)
    held = set(leaks["part"].explode())
    parts = [part for part in PARTS if part in held]
    *others, last = [SETS[part] for part in parts]
    folds = leaks["fold"].to_list()
    where = f"{', '.join(others)} and {last} sets of fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
    return Finding(identity, kind, True, keys, parts, folds, f"{what} in the {where}")


def _short(keys: list[str]) -> str:
    return " and ".join(key[:12] for key in keys)
