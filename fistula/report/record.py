"""The record of every number that a report shows, with where it came from; and its verification."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import isclose
from pathlib import Path
from typing import Any

from fistula import __version__
from fistula.errors import DataError
from fistula.folder import digest_of, digests_of
from fistula.report.contents import Contents, Settings, compute
from fistula.report.external.numbers import as_json, outside_numbers, plain
from fistula.report.places.record import where_numbers
from fistula.report.readers.given import Given
from fistula.report.readers.numbers import program_numbers, readers_numbers, shifts_numbers
from fistula.report.results import seed_rows
from fistula.report.study import read_study

NUMBERS = "report.json"
SHOWN = 5  # differing numbers named in the one line of an error


def to_json(contents: Contents, *, made: str, files: dict[str, str]) -> str:
    """Write the record: `made` says when, as on the page, and `files` is the SHA-256 of each file beside it."""
    study = contents.study
    record = {
        "study": study.name,
        "made": made,
        "version": __version__,
        "settings": asdict(contents.settings),
        "cohort_fingerprint": study.cohort.fingerprint,
        "best": contents.best.name,
        "sources": {
            configuration.name: {
                run.folder.name: digest_of(run.folder / "predictions.parquet") for run in configuration.runs
            }
            for configuration in study.configurations
        },
        "external": {one.name: one.record["files"] for one in contents.externals},
        "unfinished": {run.folder.name: run.record.get("state") for run in study.unfinished},
        "numbers": dict(_numbers(contents)),
        "files": files,
    }
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def verify(study_folder: Path) -> int:
    """Recompute every number of a study's report from the stored predictions.

    Returns:
        How many agree.

    Raises:
        DataError: If there is no report, or if a number, or a file beside it, differs.
    """
    folder = study_folder / "report"
    path = folder / NUMBERS
    remedy = f"Make the report again: fistula report study={study_folder}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stored, settings, files = record["numbers"], Settings(**record["settings"]), record["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"cannot be read as the record of a report ({error})", remedy=remedy) from error
    found = digests_of(folder)
    changed = sorted(name for name, digest in files.items() if found.get(name) != digest)
    if changed:
        rule = "every file of the report must be as it was written"
        raise DataError(folder, rule, found=f"{', '.join(changed)} changed", remedy=remedy)
    fresh = dict(_numbers(compute(read_study(study_folder), settings, Given.read(folder))))
    differing = [name for name in dict.fromkeys([*stored, *fresh]) if not _agree(stored.get(name), fresh.get(name))]
    if differing:
        named = "; ".join(
            f"{name}: {_say(stored.get(name))} stored, {_say(fresh.get(name))} recomputed" for name in differing[:SHOWN]
        )
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        rule = "every number must follow from the stored predictions"
        raise DataError(
            path, rule, found=f"{len(differing)} of {len(stored)} that do not: {named}{more}", remedy=remedy
        )
    return len(fresh)


def _numbers(contents: Contents) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number by its name, with the interval, the method, and the configurations whose runs it rests on."""
    study = contents.study
    for row in contents.rows:
        name = row.configuration.name
        place = f"results / {name} / {row.positive} / {row.level}"
        for kind, number in zip(("count", "positives"), row.num, strict=True):
            yield f"{place} / {kind}", plain(number, [name])
        for metric, estimate in (row.estimates | row.more | row.checks).items():
            yield f"{place} / {metric}", as_json(estimate, [name])
        for scores, values in row.calibration.items():
            for metric, value in values.items():
                yield f"{place} / {metric} of {scores} scores", plain(value, [name])
        if row.configuration.num_seeds > 1:
            for seed, estimate in seed_rows(row):
                yield f"{place} / auroc of seed {seed}", as_json(estimate, [name])
    for together in contents.all_classes:
        name = together.configuration.name
        for measure, estimate in together.estimates.items():
            yield f"all classes / {name} / {contents.primary} / {measure}", as_json(estimate, [name])
    if contents.selected:
        names = [configuration.name for configuration in study.configurations]
        yield "headline / auroc adjusted for selection", as_json(contents.selected, names)
    if contents.abstention:
        for measure, estimate in contents.abstention.estimates.items():
            name = contents.abstention.configuration.name
            yield f"abstention / {name} / {measure}", as_json(estimate, [name])
    for positive, found in contents.further.items():
        name = found.row.configuration.name
        for kind, estimate in zip(("intercept", "slope"), found.line or (), strict=False):
            yield f"calibration {kind} / {name} / {positive} / {contents.primary}", as_json(estimate, [name])
        for one in found.groups:
            yield f"interaction / {name} / {positive} / {one.factor}", plain(one.p_value, [name])
            for group in one.groups:
                place = f"subgroup / {name} / {positive} / {one.factor} / {group.name}"
                yield f"{place} / patients", plain(group.patients, [name])
                yield f"{place} / auroc", as_json(group.auroc, [name])
    yield from _compared(contents)
    for grown in contents.growths:
        names = [row.configuration.name for row in grown.rows]
        if grown.last:
            yield f"more patients / {' / '.join(names[-2:])} / {grown.positive}", as_json(grown.last, names)
    yield from where_numbers(contents.where, contents.where_pairs, contents.where_outside)
    yield from outside_numbers(contents.outside, contents.outside_together)
    yield from shifts_numbers(contents.robustness) if contents.robustness else ()
    yield from readers_numbers(contents.readers) if contents.readers else ()
    yield from program_numbers(contents.program) if contents.program else ()
    for added in contents.inflations:
        yield f"inflation / {added.name} / {added.labels} labels / {added.positive}", plain(added.points, [])
    for canary in contents.canaries:
        yield f"canary / {canary.name} / {canary.positive} / {canary.level}", as_json(canary.auroc, [canary.name])
    for name, cells in contents.participants.rows:
        for column, cell in zip(contents.participants.columns, cells, strict=True):
            yield f"table 1 / {column} / {name}", {"value": cell, "from": "manifest.parquet"}
    for step in contents.flow:
        yield f"flow / {step.name} / {step.unit}", {"value": step.count, "from": "ingest.json"}
    if contents.beside_the_paper:
        for line in contents.paper:
            for rate in ("sensitivity", "specificity"):
                yield f"paper / row {line.row} / {rate}", as_json(getattr(line, rate), [])


def _compared(contents: Contents) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [configuration.name for configuration in contents.study.configurations]
    for found in contents.comparisons:
        for pair in found.pairs:
            place, both = f"comparison / {pair.first} - {pair.second} / {found.positive}", [pair.first, pair.second]
            for measure, test in pair.tests.items():
                yield f"{place} / {measure}", as_json(test.difference, both)
                yield f"{place} / {measure} p", plain(test.p_value, both)
                yield f"{place} / {measure} p by Holm", plain(pair.holm[measure], both)
            for name, check in pair.checks.items():
                yield f"{place} / {name}", as_json(check.difference, both)
                yield f"{place} / {name} p", plain(check.p_value, both)
        yield f"detectable difference / {found.positive}", plain(found.detectable, names)
        yield f"correlation of two configurations' scores / {found.positive}", plain(found.correlation, names)
        for effect in found.effects:
            place = f"main effect / {effect.factor} / {effect.level} - {effect.reference} / {found.positive}"
            yield place, as_json(effect.difference, names)
        for name, spread in found.spreads.items():
            yield f"spread / {name} / {found.positive} / seeds", as_json(spread.seed, [name])
            yield f"spread / {name} / {found.positive} / patients", as_json(spread.patients, [name])


def _agree(stored: Any, fresh: Any) -> bool:
    if stored is None or fresh is None or stored.keys() != fresh.keys():
        return False
    for key, value in fresh.items():
        if isinstance(value, float) and isinstance(stored[key], int | float):
            # Another processor may round the last digits another way.
            if not isclose(stored[key], value, rel_tol=1e-9, abs_tol=1e-12):
                return False
        elif stored[key] != value:
            return False
    return True


def _say(number: dict[str, Any] | None) -> str:
    if number is None:
        return "nothing"
    if number.get("low") is None:
        return str(number["value"])
    return f"{number['value']} ({number['low']} to {number['high']})"
