"""Tell apart the volumes inside a series: orientation, component and matrix; and note what is odd about each."""

from collections import Counter
from itertools import groupby
from operator import itemgetter

import polars as pl

from fistula.dicom.geometry import same_direction, spacing_notes

APART = ("component", "rows", "columns")  # frames that differ in one of these are of two volumes


def with_volumes(facts: pl.DataFrame) -> pl.DataFrame:
    """Add the column `volume`: number of the volume inside its series, from 0.

    Frames of one volume agree in component and matrix, and in orientation to within 2 degrees. Numbers follow
    component, matrix and direction, never names.
    """
    leaders: dict[tuple, list[tuple]] = {}
    volumes: list[tuple] = []
    for series, *parts, cosines in facts.select("series_key", *APART, "cosines").iter_rows():
        kind = tuple("" if part is None else str(part) for part in parts)
        known = leaders.setdefault((series, *kind), [])
        leader = next((one for one in known if _agree(one, cosines)), None)
        if leader is None:
            known.append(leader := tuple(cosines or ()))
        volumes.append((series, kind, leader))
    by_series = groupby(sorted(set(volumes)), key=itemgetter(0))
    numbers = {volume: number for _, found in by_series for number, volume in enumerate(found)}
    return facts.hstack([pl.Series("volume", [numbers[volume] for volume in volumes], dtype=pl.Int64())])


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
