"""The numbers of places, by name, for the record of a report."""

from collections.abc import Iterator
from typing import Any

from fistula.report.external.numbers import as_json, plain
from fistula.report.places.numbers import NEAR, Pair, Where


def where_numbers(
    found: list[Where], pairs: list[Pair], outside: dict[str, Where]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number by its name."""
    named = [(one.configuration.name, one) for one in found]
    named += [(f"{cohort} / {one.configuration.name}", one) for cohort, one in outside.items()]
    for title, one in named:
        name, place = one.configuration.name, f"where / {title}"
        yield f"{place} / slices", plain(len(one.slices), [name])
        for kind, estimate in one.estimates.items():
            yield f"{place} / {kind}", as_json(estimate, [name])
        for rate, estimate in one.froc.at.items():
            yield f"{place} / sensitivity at {rate:g} false marks a patient", as_json(estimate, [name])
        if one.clock:
            yield f"{place} / clock within one hour", as_json(one.clock.within_one, [name])
            yield f"{place} / clock mean absolute error", as_json(one.clock.mean_absolute, [name])
            for kind in ("mean", "deviation"):
                yield f"{place} / clock {kind}", plain(getattr(one.clock, kind), [name])
    for pair in pairs:
        place, both = f"where / {pair.first} - {pair.second} / within {NEAR:g}", [pair.first, pair.second]
        yield place, as_json(pair.test.difference, both)
        yield f"{place} / p by Holm", plain(pair.corrected, both)
