"""Form volumes from geometry and acquisition, whatever the series' identifiers say; and note what is odd about each."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl

from fistula.dicom.header.acquisition import MOMENT_NAMES
from fistula.dicom.pixels.geometry import SAME_PLACE_MM, TURNS, same_direction, spacing_notes

# Frames that differ in one of these are of two volumes, and how that is said.
APART = {
    "component": "component",
    "image_type": "image type",
    "acquisition": "b-value, echo, phase or stack",
    "matrix": "matrix",
    "mm": "pixel spacing",
}
JOINED = "volume joined from series of one slice each"
MIXED_DEGREES = 10.0  # tilts of one patient's slices that differ by more are noted


class _Volume(NamedTuple):
    """A volume in the making: its kind, its direction, which one it is of those in the same places, and its rows."""

    kind: tuple[str, ...]
    cosines: tuple[float, ...]
    moment: float
    rows: list[int]
    parted_by: str


def with_volumes(facts: pl.DataFrame) -> pl.DataFrame:
    """Add the column `volume`: number of the volume inside its series, from 0; and say in `notes` what was done.

    Frames of one volume agree in component, image type, b-value, echo, phase, stack, matrix and spacing, and in the
    stored orientation to within 2 degrees. Where several of them lie in one place, times and the like tell volumes
    apart (`fistula.dicom.header.acquisition.MOMENTS`), else the order of their image numbers. Series of one slice each
    that agree in all else are one, and then have the `series_key` of the first slice. Numbers follow what the volumes
    are, never names.
    """
    facts = _joined(facts)
    places = facts.select("position_mm", "instance_number", "frame", "moments").rows()
    numbers, notes = [0] * len(facts), facts["notes"].fill_null("").to_list()
    groups: dict[str, dict[tuple[str, ...], list[_Volume]]] = defaultdict(dict)
    for row, (series, cosines, *kind) in enumerate(_kinds(facts).iter_rows()):
        own = tuple(cosines or ())
        volumes = groups[series].setdefault(tuple(map(_word, kind)), [])
        found = next((volume for volume in volumes if _agree(volume.cosines, own)), None)
        if found is None:
            volumes.append(found := _Volume(tuple(map(_word, kind)), own, 0.0, [], ""))
        found.rows.append(row)
    for kinds in groups.values():
        parts = [part for volumes in kinds.values() for volume in volumes for part in _parted(volume, places)]
        parts.sort(key=lambda part: (part.kind, part.cosines, part.moment, _first(part.rows, places)))
        why = _differences(parts)
        for number, part in enumerate(parts):
            for row in part.rows:
                numbers[row] = number
                notes[row] = "|".join(filter(None, (notes[row], why)))
    return facts.with_columns(volume=pl.Series(numbers, dtype=pl.Int64()), notes=pl.Series(notes, dtype=pl.String()))


def volume_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many volumes of more than one slice have each oddity of position."""
    counts: Counter[str] = Counter()
    for _, volume in facts.group_by("series_key", "volume"):
        if len(volume) > 1:
            counts.update(spacing_notes(volume["position_mm"].to_list()))
    return dict(sorted(counts.items()))


def plane_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many patients have slices of several planes, or of one plane at several tilts."""
    stated = facts.filter(pl.col("orientation").fill_null("") != "")
    tilts = stated.group_by("patient_key", "orientation").agg(
        (pl.col("tilt_degrees").max() - pl.col("tilt_degrees").min()).alias("range")
    )
    planes = tilts.group_by("patient_key").agg(pl.len().alias("planes"), pl.col("range").max())
    counts = {
        "patients with slices of several planes": int((planes["planes"] > 1).sum()),
        f"patients whose slices tilt by more than {MIXED_DEGREES:g} degrees against each other": int(
            (planes["range"] > MIXED_DEGREES).sum()
        ),
    }
    return {name: count for name, count in counts.items() if count}


def _joined(facts: pl.DataFrame) -> pl.DataFrame:
    """Give series of one slice each that are alike the key of the one whose slice comes first."""
    is_single = pl.len().over("series_key") == 1
    is_named = pl.col("series_alike").fill_null("") != ""
    single = facts.select("series_key", "series_alike", "position_mm", "instance_number").filter(
        is_single & is_named & pl.col("position_mm").is_not_null()
    )
    first = single.sort("position_mm", "instance_number", "series_key").group_by("series_alike", maintain_order=True)
    leaders = first.agg(pl.col("series_key").first().alias("leader"), pl.len()).filter(pl.col("len") > 1)
    if leaders.is_empty():
        return facts
    moved = single.join(leaders, on="series_alike").select("series_key", "leader")
    facts = facts.join(moved, on="series_key", how="left", maintain_order="left")
    is_moved = pl.col("leader").is_not_null()
    said = pl.concat_str(pl.col("notes").fill_null(""), pl.lit(f"|{JOINED}")).str.strip_chars("|")
    return facts.with_columns(
        series_key=pl.coalesce("leader", "series_key"), notes=pl.when(is_moved).then(said).otherwise("notes")
    ).drop("leader")


def _kinds(facts: pl.DataFrame) -> pl.DataFrame:
    """Series, stored directions, and the columns of `APART` as the stored picture has them."""
    is_transposed = pl.col("turned").is_in([name for name, steps in TURNS.items() if steps[0]]).fill_null(value=False)

    def laid(first: str, second: str) -> pl.Expr:
        one, two = (pl.col(name).cast(pl.Float64).round(2).cast(pl.String).fill_null("") for name in (first, second))
        return pl.when(is_transposed).then(two + "x" + one).otherwise(one + "x" + two)

    return facts.with_columns(matrix=laid("rows", "columns"), mm=laid("spacing_row", "spacing_col")).select(
        "series_key", "cosines", *APART
    )


def _parted(volume: _Volume, places: Sequence[tuple]) -> list[_Volume]:
    """The volume, or those that lie in the same places and are told apart by a moment or by their image numbers."""
    if not _has_duplicates(volume.rows, places):
        return [volume]
    for index, name in enumerate(MOMENT_NAMES):
        stated = {row: (places[row][3] or [])[index : index + 1] for row in volume.rows}
        if parts := _by(stated, places):
            return [_Volume(volume.kind, volume.cosines, value, rows, name) for value, rows in parts.items()]
    ranks: dict[int, float] = {}
    order = sorted(volume.rows, key=lambda row: (places[row][0] or 0.0, places[row][1] or 0, places[row][2] or 0))
    for _, group in groupby(order, key=lambda row: _place(row, places)):
        ranks |= {row: float(rank) for rank, row in enumerate(group)}
    times = Counter(_place(row, places) for row in volume.rows)
    is_numbered = len({places[row][1:3] for row in volume.rows}) == len(volume.rows)
    if len(set(times.values())) == 1 and is_numbered and None not in times:
        parts = _by({row: [rank] for row, rank in ranks.items()}, places)
        return [_Volume(volume.kind, volume.cosines, value, rows, "image numbers") for value, rows in parts.items()]
    return [volume]


def _by(stated: Mapping[int, Sequence[Any]], places: Sequence[tuple]) -> dict[float, list[int]]:
    """Rows by what they state, if every one does and no two that state the same lie in one place; else nothing."""
    parts: dict[float, list[int]] = defaultdict(list)
    for row, values in stated.items():
        if not values or values[0] is None:
            return {}
        parts[float(values[0])].append(row)
    return {} if any(_has_duplicates(rows, places) for rows in parts.values()) else dict(parts)


def _has_duplicates(rows: Sequence[int], places: Sequence[tuple]) -> bool:
    known = [place for row in rows if (place := _place(row, places)) is not None]
    return len(set(known)) < len(known)


def _place(row: int, places: Sequence[tuple]) -> int | None:
    position = places[row][0]
    return None if position is None else round(position / (2 * SAME_PLACE_MM))


def _first(rows: Sequence[int], places: Sequence[tuple]) -> tuple[float, float]:
    """The smallest image number and position, which order volumes that agree in all else."""
    return min(places[row][1] or 0 for row in rows), min(places[row][0] or 0.0 for row in rows)


def _differences(parts: Sequence[_Volume]) -> str:
    """By what the volumes of a series differ, in words; empty for one volume."""
    if len(parts) == 1:
        return ""
    words = [word for at, word in enumerate(APART.values()) if len({part.kind[at] for part in parts}) > 1]
    words += sorted({part.parted_by for part in parts} - {""})
    kinds = {part.kind for part in parts}
    words += ["orientation"] if len({(part.kind, part.cosines) for part in parts}) > len(kinds) else []
    return f"series parted into volumes by {', '.join(words)}"


def _agree(leader: tuple[float, ...], own: tuple[float, ...]) -> bool:
    if not leader or not own or leader == own:  # most often the same numbers
        return leader == own
    return same_direction(leader, own)


def _word(value: Any) -> str:
    return "" if value is None else str(value)
