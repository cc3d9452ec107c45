"""Every number that a report shows, by its name, and the configurations whose runs it rests on, or its file."""

from collections.abc import Iterable, Iterator
from typing import Any

from fistula.evidence.estimate import Estimate, json_number
from fistula.report.contents import Contents
from fistula.report.external.cohorts import Outside
from fistula.report.external.shifts import Robustness
from fistula.report.external.together import OutsideTogether
from fistula.report.places.numbers import NEAR, PlacePair, Where
from fistula.report.readers.analysis import Readers
from fistula.report.readers.program import Program
from fistula.report.results import seed_rows

Numbers = Iterator[tuple[str, Any, list[str] | str]]


def numbers_of(contents: Contents) -> dict[str, dict[str, Any]]:
    """Each number with its interval, its method, and what it is from."""
    return _as_json(_numbers(contents))


def outside_numbers(found: Iterable[Outside], together: Iterable[OutsideTogether]) -> dict[str, dict[str, Any]]:
    """Those of external cohorts alone."""
    return _as_json(_outside(found, together))


def _as_json(numbers: Numbers) -> dict[str, dict[str, Any]]:
    return {
        name: (value.as_json() if isinstance(value, Estimate) else {"value": json_number(value)}) | {"from": source}
        for name, value, source in numbers
    }


def _numbers(contents: Contents) -> Numbers:
    for row in contents.rows:
        name = row.configuration.name
        place = f"results / {name} / {row.positive} / {row.level}"
        for kind, number in zip(("count", "positives"), row.num, strict=True):
            yield f"{place} / {kind}", number, [name]
        for metric, estimate in (row.estimates | row.more | row.checks).items():
            yield f"{place} / {metric}", estimate, [name]
        for scores, values in row.calibration.items():
            for metric, value in values.items():
                yield f"{place} / {metric} of {scores} scores", value, [name]
        if row.configuration.num_seeds > 1:
            for seed, estimate in seed_rows(row):
                yield f"{place} / auroc of seed {seed}", estimate, [name]
    for together in contents.all_classes:
        name = together.configuration.name
        for measure, estimate in together.estimates.items():
            yield f"all classes / {name} / {contents.primary} / {measure}", estimate, [name]
    if contents.selected:
        names = [configuration.name for configuration in contents.study.configurations]
        yield "headline / auroc adjusted for selection", contents.selected, names
    if contents.abstention:
        name = contents.abstention.configuration.name
        for measure, estimate in contents.abstention.estimates.items():
            yield f"abstention / {name} / {measure}", estimate, [name]
    for positive, found in contents.further.items():
        name = found.row.configuration.name
        for kind, estimate in zip(("intercept", "slope"), found.line or (), strict=False):
            yield f"calibration {kind} / {name} / {positive} / {contents.primary}", estimate, [name]
        for one in found.groups:
            yield f"interaction / {name} / {positive} / {one.factor}", one.p_value, [name]
            for group in one.groups:
                place = f"subgroup / {name} / {positive} / {one.factor} / {group.name}"
                yield f"{place} / patients", group.patients, [name]
                yield f"{place} / auroc", group.auroc, [name]
    yield from _compared(contents)
    for grown in contents.growths:
        names = [row.configuration.name for row in grown.rows]
        if grown.last:
            yield f"more patients / {' / '.join(names[-2:])} / {grown.positive}", grown.last, names
    yield from _where(contents.where, contents.where_pairs, contents.where_outside)
    yield from _outside(contents.outside, contents.outside_together)
    yield from _shifts(contents.robustness) if contents.robustness else ()
    yield from _readers(contents.readers) if contents.readers else ()
    yield from _program(contents.program) if contents.program else ()
    for added in contents.inflations:
        yield f"inflation / {added.name} / {added.labels} labels / {added.positive}", added.points, []
    for canary in contents.canaries:
        yield f"canary / {canary.name} / {canary.positive} / {canary.level}", canary.auroc, [canary.name]
    for name, cells in contents.participants.rows:
        for column, cell in zip(contents.participants.columns, cells, strict=True):
            yield f"table 1 / {column} / {name}", cell, "manifest.parquet"
    for step in contents.flow:
        yield f"flow / {step.name} / {step.unit}", step.count, "ingest.json"
    for line in contents.paper if contents.beside_the_paper else ():
        for rate in ("sensitivity", "specificity"):
            yield f"paper / row {line.row} / {rate}", getattr(line, rate), []


def _compared(contents: Contents) -> Numbers:
    names = [configuration.name for configuration in contents.study.configurations]
    for found in contents.comparisons:
        for pair in found.pairs:
            place, both = f"comparison / {pair.first} - {pair.second} / {found.positive}", [pair.first, pair.second]
            for measure, test in pair.tests.items():
                yield f"{place} / {measure}", test.difference, both
                yield f"{place} / {measure} p", test.p_value, both
                yield f"{place} / {measure} p by Holm", pair.holm[measure], both
            for name, check in pair.checks.items():
                yield f"{place} / {name}", check.difference, both
                yield f"{place} / {name} p", check.p_value, both
        yield f"detectable difference / {found.positive}", found.detectable, names
        yield f"correlation of two configurations' scores / {found.positive}", found.correlation, names
        for effect in found.effects:
            place = f"main effect / {effect.factor} / {effect.level} - {effect.reference} / {found.positive}"
            yield place, effect.difference, names
        for name, spread in found.spreads.items():
            yield f"spread / {name} / {found.positive} / seeds", spread.seed, [name]
            yield f"spread / {name} / {found.positive} / patients", spread.patients, [name]


def _where(found: list[Where], pairs: list[PlacePair], outside: dict[str, Where]) -> Numbers:
    named = [(one.configuration.name, one) for one in found]
    named += [(f"{cohort} / {one.configuration.name}", one) for cohort, one in outside.items()]
    for title, one in named:
        name, place = one.configuration.name, f"where / {title}"
        yield f"{place} / slices", len(one.slices), [name]
        for kind, estimate in one.estimates.items():
            yield f"{place} / {kind}", estimate, [name]
        for rate, estimate in one.froc.at.items():
            yield f"{place} / sensitivity at {rate:g} false marks a patient", estimate, [name]
        if one.clock:
            yield f"{place} / clock within one hour", one.clock.within_one, [name]
            yield f"{place} / clock mean absolute error", one.clock.mean_absolute, [name]
            yield f"{place} / clock mean", one.clock.mean, [name]
            yield f"{place} / clock deviation", one.clock.deviation, [name]
    for pair in pairs:
        place, both = f"where / {pair.first} - {pair.second} / within {NEAR:g}", [pair.first, pair.second]
        yield place, pair.test.difference, both
        yield f"{place} / p by Holm", pair.corrected, both


def _outside(found: Iterable[Outside], together: Iterable[OutsideTogether]) -> Numbers:
    for whole in together:
        source, place = [whole.inside.configuration.name], f"outside / {whole.external.name} / all classes"
        yield from _both_sides(whole, f"{place} / {whole.level}", source)
    for one in found:
        source, place = [one.configuration.name], f"outside / {one.external.name} / {one.positive} / {one.level}"
        for kind, number in zip(("count", "positives"), one.num, strict=True):
            yield f"{place} / {kind}", number, source
        yield from _both_sides(one, place, source)
        for side, judged in (("", one.calibration), (" internal", one.inside_calibration)):
            if judged:
                yield f"{place} / calibration intercept{side}", judged.intercept, source
                yield f"{place} / calibration slope{side}", judged.slope, source
                yield f"{place} / mean probability{side}", judged.mean, source
                yield f"{place} / observed share{side}", judged.share, source
                yield f"{place} / brier{side}", judged.brier, source
        for kind, estimate in one.predictive.items():
            yield f"{place} / {kind}", estimate, source
        for factor in one.groups:
            yield f"{place} / interaction with {factor.factor}", factor.p_value, source
            for group in factor.groups:
                yield f"{place} / {factor.factor} {group.name} / auroc", group.auroc, source
        for step in one.recalibrated:
            for kind, value in vars(step).items():
                if kind not in ("patients", "repeats"):
                    yield f"{place} / recalibrated on {step.patients} / {kind}", value, source
        for kind, value in vars(one.answers).items():
            yield f"{place} / answers, {kind}", value, source


def _both_sides(one: Outside | OutsideTogether, place: str, source: list[str]) -> Numbers:
    for metric in one.estimates:
        yield f"{place} / {metric}", one.estimates[metric], source
        yield f"{place} / {metric} of single networks", one.single[metric], source
        yield f"{place} / {metric} internal minus external", one.differences[metric], source


def _readers(found: Readers) -> Numbers:
    source = [found.model]
    for one in found.single:
        place = f"reader / {one.name} / {one.modality or 'alone'}"
        for name in ("auroc", "sensitivity", "specificity", "minutes"):
            yield f"{place} / {name}", getattr(one, name), source
    for modality, mean in found.means.items():
        yield f"readers / {modality or 'alone'} / mean auroc", mean.estimate, source
    for modality, (fleiss, gwet) in found.kappas.items():
        yield f"readers / {modality or 'alone'} / kappa", fleiss, source
        yield f"readers / {modality or 'alone'} / AC1", gwet, source
    for names, (least, median) in found.days.items():
        yield f"readers / {names} / least days between", least, source
        yield f"readers / {names} / median days between", median, source
    for pair in [*found.against, *found.modalities]:
        for kind, test in pair.tests.items():
            place = f"readers / {pair.first} less {pair.second} / {pair.figure} / {kind} readers"
            yield place, test.estimate, source
            yield f"{place} / p", test.p_value, source
            yield f"{place} / p of noninferiority", test.p_inferior, source


def _program(found: Program) -> Numbers:
    for name, estimate in found.estimates.items():
        yield f"program / {found.name} / {name}", estimate, []
    for configuration, tests, corrected in found.against:
        for measure, test in tests.items():
            place = f"program / {configuration} less {found.name} / {measure}"
            yield place, test.difference, [configuration]
            yield f"{place} / p by Holm", corrected[measure], [configuration]


def _shifts(found: Robustness) -> Numbers:
    for step in found.steps:
        place = f"shift / {step.shift or 'none'} / {step.strength}"
        yield f"{place} / auroc", step.auroc, [found.configuration]
        yield f"{place} / abstained", step.abstained, [found.configuration]
        for name, area in step.by_scanner.items():
            yield f"{place} / scanner {name} / auroc", area, [found.configuration]
