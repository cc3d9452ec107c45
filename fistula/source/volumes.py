"""Form volumes from geometry and acquisition, whatever the series' identifiers say; and note what is odd about each."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple

import polars as pl

from fistula.dicom.header.acquisition import MOMENT_NAMES, steadied
from fistula.dicom.pixels.geometry import SAME_PLACE_MM, TURNS, spacing_notes
from fistula.source.several.lattice import aligned, fields_of_view, located

# Frames that differ in one of these are of two volumes, and how that is said.
APART = {
    "component": "component", "image_type": "image type", "acquisition": "b-value, echo, phase or stack",
    "matrix": "matrix", "mm": "pixel spacing", "photometric": "polarity or color", "depth": "number of bits",
    "whose": "patient or study",
}  # fmt: skip
JOINED = "volume assembled from single-slice series"
JITTER_MM, FAR = 0.1, 10  # places nearer than this are one where no two others are nearer than so many times this
STACKED = ("MR", "CT", "PT")  # modalities whose slices hardly stand alone, even if they do not say where they lie


class _Place(NamedTuple):
    """What tells where a slice lies, and when it was taken."""

    position_mm: float | None
    second: int | None
    instance_number: int | None
    frame: int
    moments: list[float | None] | None
    corner: list[float] | None
    turned: str | None


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
    places = [_Place(*row) for row in facts[list(_Place._fields)].rows()]
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


def _parted(volume: _Volume, places: Sequence[_Place]) -> list[_Volume]:
    """The volume, or those of several fields of view, or in the same places that a moment or an order tells apart."""
    if not volume.parted_by and (views := _by_view(volume, places)):
        return [part for view in _parts(volume, views, "field of view") for part in _parted(view, places)]
    is_double = _has_duplicates(volume.rows, places)
    if not is_double and not _is_uneven(volume.rows, places):
        return [volume]
    for index, name in enumerate(MOMENT_NAMES):
        stated = {row: (places[row].moments or [])[index : index + 1] for row in volume.rows}
        parts = _by(stated, places)
        if parts and (is_double or _are_stacks(list(parts.values()), places)):
            return _parts(volume, parts, name)
    if is_double:
        for name, parted in (("times", _by_time), ("image numbers", _by_number)):
            if parts := parted(volume.rows, places):
                return _parts(volume, parts, name)
    return [volume]


def _parts(volume: _Volume, parts: Mapping[float, list[int]], by: str) -> list[_Volume]:
    said = f"{volume.parted_by}, {by}" if volume.parted_by else by
    return [_Volume(volume.kind, volume.cosines, value, rows, said) for value, rows in parts.items()]


def _by_view(volume: _Volume, places: Sequence[_Place]) -> dict[float, list[int]]:
    """Rows by their field of view; nothing where there is one, or where the slices do not say."""
    corners = [corner for row in volume.rows if (corner := places[row].corner)]
    is_said = len(corners) == len(volume.rows) > 1 and len({places[row].turned for row in volume.rows}) == 1
    views: dict[float, list[int]] = defaultdict(list)
    for row, view in zip(volume.rows, fields_of_view(volume.cosines, corners) if is_said else (), strict=False):
        views[view].append(row)
    return views if len(views) > 1 else {}


def _by_time(rows: Sequence[int], places: Sequence[_Place]) -> dict[float, list[int]]:
    """Rows by how often their place had been imaged before; nothing where times do not tell."""
    taken = [(place, places[row].second, row) for row, place in _same_places(rows, places).items()]
    if len({item[:2] for item in taken}) < len(rows) or any(second is None for _, second, _ in taken):
        return {}
    return _ranked(taken)


def _by_number(rows: Sequence[int], places: Sequence[_Place]) -> dict[float, list[int]]:
    """Rows by the order of their image numbers and frames in each place, where all places have as many."""
    own = {row: (places[row].instance_number or 0, places[row].frame) for row in rows}
    where = _same_places(rows, places)
    times = Counter(where.values())
    if len(set(own.values())) < len(rows) or len(where) < len(rows) or len(set(times.values())) > 1:
        return {}
    return _ranked([(where[row], own[row], row) for row in rows])


def _ranked(taken: Sequence[tuple[int, Any, int]]) -> dict[float, list[int]]:
    """Rows by their rank in their place; each is its place, what it is ranked by, and its number."""
    parts: dict[float, list[int]] = defaultdict(list)
    for _, group in groupby(sorted(taken), key=lambda item: item[0]):
        for rank, (_, _, row) in enumerate(group):
            parts[float(rank)].append(row)
    return parts


def _by(stated: Mapping[int, Sequence[Any]], places: Sequence[_Place]) -> dict[float, list[int]]:
    """Rows by what they state, if every one does and no two that state the same lie in one place; else nothing."""
    parts: dict[float, list[int]] = defaultdict(list)
    for row, values in stated.items():
        if not values or values[0] is None:
            return {}
        parts[float(values[0])].append(row)
    return {} if any(_has_duplicates(rows, places) for rows in parts.values()) else dict(parts)


def _are_stacks(parts: Sequence[Sequence[int]], places: Sequence[_Place]) -> bool:
    """Whether each of several parts is an even stack, and all lie among each other: repeated, a little displaced."""
    positions = [sorted(places[row].position_mm or 0.0 for row in rows) for rows in parts]
    last_first, first_last = max(one[0] for one in positions), min(one[-1] for one in positions)
    is_even = all(len(one) > 2 and not spacing_notes(one) for one in positions)
    return len(parts) > 1 and is_even and last_first < first_last


def _is_uneven(rows: Sequence[int], places: Sequence[_Place]) -> bool:
    positions = [places[row].position_mm for row in rows]
    return None not in positions and bool(spacing_notes(positions))


def _has_duplicates(rows: Sequence[int], places: Sequence[_Place]) -> bool:
    where = _same_places(rows, places)
    return len(set(where.values())) < len(where)


def _same_places(rows: Sequence[int], places: Sequence[_Place]) -> dict[int, int]:
    """Of each row with a position the number of its place; what trembles about one place is in it."""
    order = sorted((position, row) for row in rows if (position := places[row].position_mm) is not None)
    gaps = [second[0] - first[0] for first, second in pairwise(order)]
    is_clear = min((gap for gap in gaps if gap >= JITTER_MM), default=0) >= FAR * JITTER_MM
    least = JITTER_MM if is_clear else 2 * SAME_PLACE_MM
    numbers = accumulate((int(gap >= least) for gap in gaps), initial=0)
    return dict(zip((row for _, row in order), numbers, strict=False))


def _first(rows: Sequence[int], places: Sequence[_Place]) -> tuple[float, float]:
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
