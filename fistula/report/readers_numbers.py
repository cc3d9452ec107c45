"""The numbers of readers and of another program as a record keeps them."""

from collections.abc import Iterator
from typing import Any

from fistula.report.outside_numbers import as_json, plain
from fistula.report.program import Program
from fistula.report.readers import Readers


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
    for pair in [*found.against, *found.modalities]:
        for kind, test in pair.tests.items():
            place = f"readers / {pair.first} less {pair.second} / {pair.figure} / {kind} readers"
            yield place, as_json(test.estimate, source)
            yield f"{place} / p", plain(test.p_value, source)
            yield f"{place} / p of noninferiority", plain(test.p_inferior, source)


def program_numbers(found: Program) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number of another program by its name."""
    for name in ("auroc", "sensitivity", "specificity"):
        yield f"program / {found.name} / {name}", as_json(getattr(found, name), [])
    for configuration, tests, corrected in found.against:
        for measure, test in tests.items():
            place = f"program / {configuration} less {found.name} / {measure}"
            yield place, as_json(test.difference, [configuration])
            yield f"{place} / p by Holm", plain(corrected[measure], [configuration])
