"""Tell apart the volumes inside a series: orientation, component and matrix; and note what is odd about each."""

from collections import Counter

import polars as pl

from fistula.dicom.geometry import same_direction, spacing_notes

APART = ("component", "rows", "columns")  # frames that differ in one of these are of two volumes


def with_volumes(facts: pl.DataFrame) -> pl.DataFrame:
    """Add the column `volume`: number of the volume inside its series, from 0.

    Frames of one volume agree in component and matrix, and in orientation to within 2 degrees. Numbers follow
    component, matrix and direction, never names.
    """
    numbers: dict[str, int] = {}
    for (_,), series in facts.group_by("series_key", maintain_order=True):
        leaders: dict[tuple, list[tuple]] = {}
        volumes: dict[str, tuple] = {}
        for slice_key, *parts, cosines in series.select("slice_key", *APART, "cosines").iter_rows():
            kind = tuple("" if part is None else str(part) for part in parts)
            known = leaders.setdefault(kind, [])
            leader = next((one for one in known if _agree(one, cosines)), None)
            if leader is None:
                known.append(leader := tuple(cosines or ()))
            volumes[slice_key] = kind, leader
        order = {volume: number for number, volume in enumerate(sorted(set(volumes.values())))}
        numbers |= {slice_key: order[volume] for slice_key, volume in volumes.items()}
    return facts.with_columns(volume=pl.col("slice_key").replace_strict(numbers, return_dtype=pl.Int64()))


def volume_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many volumes of more than one slice have each oddity of position."""
    counts: Counter[str] = Counter()
    for _, volume in facts.group_by("series_key", "volume"):
        if len(volume) > 1:
            counts.update(spacing_notes(volume["position_mm"].to_list()))
    return dict(sorted(counts.items()))


def _agree(leader: tuple, cosines: list[float] | None) -> bool:
    own = tuple(cosines or ())
    if not leader or not own or leader == own:  # most often the same numbers
        return leader == own
    return same_direction(leader, own)
