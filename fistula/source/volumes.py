"""Form volumes from geometry and acquisition, whatever the series' identifiers say; and note what is odd about each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from fistula.dicom.header.acquisition import steadied
from fistula.dicom.pixels.geometry import TURNS
from fistula.source.several.lattice import aligned, fields_of_view, located
from fistula.source.several.parting import Place, by_moment

# Frames that differ in one of these are of two volumes, and how that is said.
APART = {
    "component": "component", "image_type": "image type", "acquisition": "b-value, echo, phase or stack",
    "matrix": "matrix", "mm": "pixel spacing", "photometric": "polarity or color", "depth": "number of bits",
    "whose": "patient or study",
}  # fmt: skip
JOINED = "volume assembled from single-slice series"
STACKED = ("MR", "CT", "PT")  # modalities whose slices hardly stand alone, even if they do not say where they lie


class _Volume(NamedTuple):
    """A volume in the making: its kind, its direction, which one it is of those in the same places, and its rows."""

    kind: tuple[str, ...]
    cosines: tuple[float, ...]
    moment: float
    rows: list[int]
    parted_by: str


def with_volumes(facts: pl.DataFrame) -> pl.DataFrame:
    """Add the column `volume`: number of the volume inside its series, from 0; and say in `notes` what was done.

    Frames of one volume agree in patient, study, component, image type, b-value, echo, phase, stack, matrix, spacing,
    polarity and depth (8 bits, or more), and in the stored orientation to within 2 degrees. Where several lie in one
    place, or unevenly, trigger times and the like part them (`fistula.dicom.header.acquisition.MOMENTS`); in one place
    their times do as well, or the order of their image numbers. Series of one slice each that agree in all else are
    one, with the `series_key` of the first slice. Numbers follow what the volumes are, never names.
    """
    facts = aligned(located(_joined(facts) if facts["series_key"].n_unique() > 1 else facts))
    places = [Place(*row) for row in facts[list(Place._fields)].rows()]
    numbers, notes = [0] * len(facts), facts["notes"].fill_null("").to_list()
    groups: dict[str, dict[tuple, _Volume]] = defaultdict(dict)
    steady = steadied(facts[["series_key", "acquisition"]].unique().rows())
    for row, (series, cosines, *kind) in enumerate(facts.select_seq(KINDS).rows()):
        kind[2] = steady[series, kind[2]]
        key = tuple(map(_word, kind)), tuple(cosines or ())
        groups[series].setdefault(key, _Volume(*key, 0.0, [], "")).rows.append(row)
    for volumes in groups.values():
        parts = [part for volume in volumes.values() for part in _parted(volume, places)]
        parts.sort(key=lambda part: (part.kind[:-1], part.cosines, part.moment, _first(part.rows, places), part.kind))
        why = _differences(parts)
        for number, part in enumerate(parts):
            for row in part.rows:
                numbers[row], notes[row] = number, "|".join(filter(None, (notes[row], why)))
    return facts.with_columns_seq(
        volume=pl.Series(numbers, dtype=pl.Int64()), notes=pl.Series(notes, dtype=pl.String())
    )


def _joined(facts: pl.DataFrame) -> pl.DataFrame:
    """Give series of one place each that are alike the key of the one whose slice comes first."""
    is_single = pl.col("position_mm").n_unique().over("series_key") == 1
    is_named = pl.col("series_alike").fill_null("") != ""
    single = facts.select("series_key", "series_alike", "position_mm", "instance_number").filter(
        is_single & is_named & pl.col("position_mm").is_not_null()
    )
    first = single.sort("position_mm", "instance_number", "series_key").group_by("series_alike", maintain_order=True)
    leaders = first.agg(pl.col("series_key").first().alias("leader"), pl.col("series_key").n_unique().alias("series"))
    leaders = leaders.filter(pl.col("series") > 1)
    if leaders.is_empty():
        return facts
    moved = single.join(leaders, on="series_alike").select("series_key", "leader").unique("series_key")
    facts = facts.join(moved, on="series_key", how="left", maintain_order="left")
    is_moved = pl.col("leader").is_not_null()
    said = pl.concat_str(pl.col("notes").fill_null(""), pl.lit(f"|{JOINED}")).str.strip_chars("|")
    return facts.with_columns(
        series_key=pl.coalesce("leader", "series_key"), notes=pl.when(is_moved).then(said).otherwise("notes")
    ).drop("leader")


def _laid(first: str, second: str) -> pl.Expr:
    """Two numbers of a picture as they are once it is stored."""
    one, two = (pl.col(name).cast(pl.Float64).round(2).cast(pl.String).fill_null("") for name in (first, second))
    is_transposed = pl.col("turned").is_in([name for name, steps in TURNS.items() if steps[0]]).fill_null(value=False)
    return pl.when(is_transposed).then(two + "x" + one).otherwise(one + "x" + two)


# Series, stored directions, and the columns of `APART`, in its order. One SeriesInstanceUID of several studies or
# people, as some de-identification leaves it, is as many series.
WHOSE = pl.concat_str(pl.col("patient_key", "study_key").fill_null(""))
KINDS = [*map(pl.col, ("series_key", "cosines", "component", "image_type", "acquisition"))]
KINDS += [_laid("rows", "columns").alias("matrix"), _laid("spacing_row", "spacing_col").alias("mm")]
# Values of 8 bits and of more are of two scales, unless a slope brings them to one.
KINDS += [pl.col("photometric"), (pl.col("bits") > 8) | pl.col("is_rescaled").fill_null(value=False), WHOSE]


def _parted(volume: _Volume, places: Sequence[Place]) -> list[_Volume]:
    """The volume, or those of several fields of view, or in the same places that a moment or an order tells apart."""
    if not volume.parted_by and (views := _by_view(volume, places)):
        return [part for view in _parts(volume, views, "field of view") for part in _parted(view, places)]
    name, parts = by_moment(volume.rows, places)
    return _parts(volume, parts, name) if parts else [volume]


def _parts(volume: _Volume, parts: Mapping[float, list[int]], by: str) -> list[_Volume]:
    said = f"{volume.parted_by}, {by}" if volume.parted_by else by
    return [_Volume(volume.kind, volume.cosines, value, rows, said) for value, rows in parts.items()]


def _by_view(volume: _Volume, places: Sequence[Place]) -> dict[float, list[int]]:
    """Rows by their field of view; nothing where there is one, or where the slices do not say."""
    corners = [corner for row in volume.rows if (corner := places[row].corner)]
    is_said = len(corners) == len(volume.rows) > 1 and len({places[row].turned for row in volume.rows}) == 1
    views: dict[float, list[int]] = defaultdict(list)
    for row, view in zip(volume.rows, fields_of_view(volume.cosines, corners) if is_said else (), strict=False):
        views[view].append(row)
    return views if len(views) > 1 else {}


def _first(rows: Sequence[int], places: Sequence[Place]) -> tuple[float, float]:
    """The smallest image number and position, which order volumes that agree in all else."""
    return min(places[row].instance_number or 0 for row in rows), min(places[row].position_mm or 0.0 for row in rows)


def _differences(parts: Sequence[_Volume]) -> str:
    """By what the volumes of a series differ, in words; empty for one volume."""
    if len(parts) == 1:
        return ""
    words = [word for at, word in enumerate(APART.values()) if len({part.kind[at] for part in parts}) > 1]
    words += sorted({part.parted_by for part in parts} - {""})
    kinds = {part.kind for part in parts}
    words += ["orientation"] if len({(part.kind, part.cosines) for part in parts}) > len(kinds) else []
    return f"series divided into volumes by {', '.join(words)}"


def _word(value: Any) -> str:
    return "" if value is None else str(value)
