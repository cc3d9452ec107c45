"""The numbers of readers, of another program and of shifts as a record keeps them."""

from collections.abc import Iterator
from typing import Any

from fistula.report.external.numbers import as_json, plain
from fistula.report.external.shifts import Robustness
from fistula.report.readers.analysis import Readers
from fistula.report.readers.program import Program


def readers_numbers(found: Readers) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number of a reader study by its name."""
    source = [found.model]
    for one in found.single:
        place = f"reader / {one.name} / {one.modality or 'alone'}"
        for name in ("auroc", "sensitivity", "specificity"):
            yield f"{place} / {name}", as_json(getattr(one, name), source)
        yield f"{place} / minutes", plain(one.minutes, source)
    for modality, mean in found.means.items():
        yield f"readers / {modality or 'alone'} / mean auroc", as_json(mean.estimate, source)
    for modality, (fleiss, gwet) in found.kappas.items():
        yield f"readers / {modality or 'alone'} / kappa", as_json(fleiss, source)
        yield f"readers / {modality or 'alone'} / AC1", as_json(gwet, source)
    for names, (least, median) in found.days.items():
        yield f"readers / {names} / least days between", plain(least, source)
        yield f"readers / {names} / median days between", plain(median, source)
    for pair in [*found.against, *found.modalities]:
        for kind, test in pair.tests.items():
            place = f"readers / {pair.first} less {pair.second} / {pair.figure} / {kind} readers"
            yield place, as_json(test.estimate, source)
            yield f"{place} / p", plain(test.p_value, source)
            yield f"{place} / p of noninferiority", plain(test.p_inferior, source)


def program_numbers(found: Program) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number of another program by its name."""
    for name, estimate in found.estimates.items():
        yield f"program / {found.name} / {name}", as_json(estimate, [])
    for configuration, tests, corrected in found.against:
        for measure, test in tests.items():
            place = f"program / {configuration} less {found.name} / {measure}"
            yield place, as_json(test.difference, [configuration])
            yield f"{place} / p by Holm", plain(corrected[measure], [configuration])


def shifts_numbers(found: Robustness) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number of the shifts by its name."""
    for step in found.steps:
        place = f"shift / {step.shift or 'none'} / {step.strength}"
        yield f"{place} / auroc", as_json(step.auroc, [found.configuration])
        yield f"{place} / abstained", plain(step.abstained, [found.configuration])
        for name, area in step.by_scanner.items():
            yield f"{place} / scanner {name} / auroc", as_json(area, [found.configuration])
