"""Which slices in the same places are of one volume: by what they state of their moment, by times, or by order."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations, groupby, pairwise
from typing import Any, NamedTuple

from fistula.dicom.header.acquisition import IN_ORDER, MOMENT_NAMES
from fistula.dicom.pixels.geometry import SAME_PLACE_MM, spacing_notes

JITTER_MM, FAR = 0.1, 10  # places nearer than this are one where no two others are nearer than so many times this
STACK = 3  # slices, from which on average parts of a series are stacks, and no volume torn up
CLEAR = 2.0  # how many times farther apart two moments lie than the slices of either


class Place(NamedTuple):
    """What tells where a slice lies, and when it was taken."""

    position_mm: float | None
    second: int | None
    instance_number: int | None
    frame: int
    moments: list[float | None] | None
    corner: list[float] | None
    turned: str | None


def by_moment(rows: Sequence[int], places: Sequence[Place]) -> tuple[str, dict[float, list[int]]]:
    """By what the rows of one kind are parted into volumes, in words, and the parts; nothing where they are one.

    Parted are those of which several lie in one place, or all unevenly.
    """
    where = _same_places(rows, places)
    depth = max(Counter(where.values()).values(), default=1)
    is_double = depth > 1
    if not is_double and not _is_uneven(rows, places):
        return "", {}
    stated = _stated(rows, places)
    torn: tuple[str, dict[float, list[int]]] = "", {}
    for name, values in stated:
        if not (parts := _by(values, places)):
            continue
        if not is_double:
            if _are_stacks(list(parts.values()), places):
                return name, parts
        elif len(parts) <= depth or len(rows) >= STACK * len(parts):
            return name, parts
        else:
            torn = torn if torn[0] else (name, parts)
    if not is_double:
        return "", {}
    found = _by_two(stated, places, depth) or _by_order(stated, where, depth)
    if found:
        return found
    for name, parted in (("times", _by_time), ("image numbers", _by_number)):
        if parts := parted(rows, where, places):
            return name, parts
    return torn


def _stated(rows: Sequence[int], places: Sequence[Place]) -> list[tuple[str, dict[int, float]]]:
    """The moments that every row states, and that are not the same for all."""
    found = []
    for index, name in enumerate(MOMENT_NAMES):
        values = {row: (places[row].moments or [])[index : index + 1] for row in rows}
        told = {row: value[0] for row, value in values.items() if value and value[0] is not None}
        if len(told) == len(rows) and len(set(told.values())) > 1:
            found.append((name, told))
    return found


def _by(stated: Mapping[int, Any], places: Sequence[Place]) -> dict[Any, list[int]]:
    """Rows by what they state, if no two that state the same lie in one place; else nothing."""
    parts: dict[Any, list[int]] = defaultdict(list)
    for row, value in stated.items():
        parts[value].append(row)
    return {} if any(_has_duplicates(rows, places) for rows in parts.values()) else dict(parts)


def _by_two(
    stated: Sequence[tuple[str, dict[int, float]]], places: Sequence[Place], depth: int
) -> tuple[str, dict[float, list[int]]] | None:
    """Rows by two moments at once, neither of which tells all of them apart."""
    few = [(name, values) for name, values in stated if len(set(values.values())) < depth]
    for (name, values), (other, others) in combinations(few, 2):
        parts = _by({row: (value, others[row]) for row, value in values.items()}, places)
        if 0 < len(parts) <= depth:
            return f"{name}, {other}", {float(rank): parts[pair] for rank, pair in enumerate(sorted(parts))}
    return None


def _by_order(
    stated: Sequence[tuple[str, dict[int, float]]], where: Mapping[int, int], depth: int
) -> tuple[str, dict[float, list[int]]] | None:
    """Rows by moments that differ from slice to slice, as trigger times do: near each other, or in order.

    By their order in each place only where all places have as many.
    """
    for name, values in stated:
        if name not in IN_ORDER or len(where) < len(values):
            continue
        order = sorted(values, key=lambda row: (values[row], row))
        gaps = sorted((values[last] - values[first] for first, last in pairwise(order)), reverse=True)
        if gaps[depth - 2] > CLEAR * max(gaps[depth - 1 :], default=0.0):
            numbers = accumulate(
                (int(values[last] - values[first] >= gaps[depth - 2]) for first, last in pairwise(order)), initial=0
            )
            parts: dict[float, list[int]] = defaultdict(list)
            for row, number in zip(order, numbers, strict=True):
                parts[float(number)].append(row)
            if all(len({where[row] for row in part}) == len(part) for part in parts.values()):
                return name, dict(parts)
        taken = [(where[row], value, row) for row, value in values.items()]
        if len(set(Counter(where.values()).values())) == 1 and len({item[:2] for item in taken}) == len(taken):
            return name, _ranked(taken)
    return None


def _by_time(rows: Sequence[int], where: Mapping[int, int], places: Sequence[Place]) -> dict[float, list[int]]:
    """Rows by how often their place had been imaged before; nothing where times do not tell."""
    taken = [(place, places[row].second, row) for row, place in where.items()]
    if len({item[:2] for item in taken}) < len(rows) or any(second is None for _, second, _ in taken):
        return {}
    return _ranked(taken)


def _by_number(rows: Sequence[int], where: Mapping[int, int], places: Sequence[Place]) -> dict[float, list[int]]:
    """Rows by the order of their image numbers and frames in each place, where all places have as many."""
    own = {row: (places[row].instance_number or 0, places[row].frame) for row in rows}
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


def _are_stacks(parts: Sequence[Sequence[int]], places: Sequence[Place]) -> bool:
    """Whether each of several parts is an even stack, and all lie among each other: repeated, a little displaced."""
    positions = [sorted(places[row].position_mm or 0.0 for row in rows) for rows in parts]
    last_first, first_last = max(one[0] for one in positions), min(one[-1] for one in positions)
    is_even = all(len(one) > 2 and not spacing_notes(one) for one in positions)
    return len(parts) > 1 and is_even and last_first < first_last


def _is_uneven(rows: Sequence[int], places: Sequence[Place]) -> bool:
    positions = [places[row].position_mm for row in rows]
    return None not in positions and bool(spacing_notes(positions))


def _has_duplicates(rows: Sequence[int], places: Sequence[Place]) -> bool:
    where = _same_places(rows, places)
    return len(set(where.values())) < len(where)


def _same_places(rows: Sequence[int], places: Sequence[Place]) -> dict[int, int]:
    """Of each row with a position the number of its place; what trembles about one place is in it."""
    order = sorted((position, row) for row in rows if (position := places[row].position_mm) is not None)
    gaps = [second[0] - first[0] for first, second in pairwise(order)]
    is_clear = min((gap for gap in gaps if gap >= JITTER_MM), default=0) >= FAR * JITTER_MM
    least = JITTER_MM if is_clear else 2 * SAME_PLACE_MM
    numbers = accumulate((int(gap >= least) for gap in gaps), initial=0)
    return dict(zip((row for _, row in order), numbers, strict=False))
