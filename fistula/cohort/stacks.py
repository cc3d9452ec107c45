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
    numbers: dict[tuple, int] = {}
    for (_,), series in facts.group_by("series_key", maintain_order=True):
        volumes: dict[tuple, list[tuple]] = {}
        keys = series.select("slice_key", *APART, "cosines").rows()
        for row in keys:
            kind, cosines = row[1:-1], row[-1]
            leaders = volumes.setdefault(kind, [])
            leader = next((one for one in leaders if _agree(one, cosines)), None)
            if leader is None:
                leaders.append(tuple(cosines or ()))
        order = sorted(
            (tuple("" if part is None else str(part) for part in kind), leader)
            for kind in volumes
            for leader in volumes[kind]
        )
        for row in keys:
            name = tuple("" if part is None else str(part) for part in row[1:-1])
            numbers[row[0]] = next(
                index for index, (kind, leader) in enumerate(order) if kind == name and _agree(leader, row[-1])
            )
    return facts.with_columns(volume=pl.col("slice_key").replace_strict(numbers, return_dtype=pl.Int64()))


def volume_notes(facts: pl.DataFrame) -> dict[str, int]:
    """How many volumes of more than one slice have each oddity of position."""
    counts: Counter[str] = Counter()
    for _, volume in facts.group_by("series_key", "volume"):
        if len(volume) > 1:
            counts.update(spacing_notes(volume["position_mm"].to_list()))
    return dict(sorted(counts.items()))


def _agree(leader: tuple, cosines: list[float] | None) -> bool:
    if not leader or not cosines:
        return not leader and not cosines
    return same_direction(leader, cosines)
