"""The numbers of external cohorts as a record keeps them, and as a sentence."""

from collections.abc import Iterable, Iterator
from typing import Any

from fistula.evidence.estimate import Estimate, json_number, undefined
from fistula.report.external.cohorts import Outside
from fistula.report.external.together import OutsideTogether
from fistula.report.results import Row


def outside_numbers(
    found: Iterable[Outside], together: Iterable[OutsideTogether]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number by its name, with what it rests on."""
    for whole in together:
        source, place = [whole.inside.configuration.name], f"outside / {whole.external.name} / all classes"
        for metric, estimate in whole.estimates.items():
            yield f"{place} / {whole.level} / {metric}", as_json(estimate, source)
            yield f"{place} / {whole.level} / {metric} of single networks", as_json(whole.single[metric], source)
            less = whole.differences[metric]
            yield f"{place} / {whole.level} / {metric} internal minus external", as_json(less, source)
    for one in found:
        source, place = [one.configuration.name], f"outside / {one.external.name} / {one.positive} / {one.level}"
        for kind, number in zip(("count", "positives"), one.num, strict=True):
            yield f"{place} / {kind}", plain(number, source)
        for metric in one.estimates:
            yield f"{place} / {metric}", as_json(one.estimates[metric], source)
            yield f"{place} / {metric} of single networks", as_json(one.single[metric], source)
            yield f"{place} / {metric} internal minus external", as_json(one.differences[metric], source)
        for side, judged in (("", one.calibration), (" internal", one.inside_calibration)):
            if judged:
                yield f"{place} / calibration intercept{side}", as_json(judged.intercept, source)
                yield f"{place} / calibration slope{side}", as_json(judged.slope, source)
                yield f"{place} / mean probability{side}", plain(judged.mean, source)
                yield f"{place} / observed share{side}", plain(judged.share, source)
                yield f"{place} / brier{side}", plain(judged.brier, source)
        for kind, estimate in one.predictive.items():
            yield f"{place} / {kind}", as_json(estimate, source)
        for factor in one.groups:
            yield f"{place} / interaction with {factor.factor}", plain(factor.p_value, source)
            for group in factor.groups:
                yield f"{place} / {factor.factor} {group.name} / auroc", as_json(group.auroc, source)
        for step in one.recalibrated:
            for kind, value in vars(step).items():
                told = as_json(value, source) if isinstance(value, Estimate) else plain(value, source)
                if kind not in ("patients", "repeats"):
                    yield f"{place} / recalibrated on {step.patients} / {kind}", told
        for kind, value in vars(one.answers).items():
            yield f"{place} / answers, {kind}", plain(value, source)


def outside_lines(found: Iterable[Outside], together: Iterable[OutsideTogether]) -> list[dict[str, Any]]:
    """A line for each external cohort over all classes, and for each of its classes and levels, for a table."""
    lines = [_line(one, one.inside.configuration.name, "all classes", one.count, None) for one in together]
    for one in found:
        line = _line(one, one.configuration.name, one.positive, *one.num)
        told = one.calibration
        for kind in ("intercept", "slope"):
            line |= _cells(f"calibration_{kind}", getattr(told, kind) if told else undefined("", "of another level"))
        line |= {"mean_probability": told and told.mean, "observed_share": told and told.share}
        lines.append(line | {"brier": told and told.brier})
    return lines


def _line(
    one: Outside | OutsideTogether, configuration: str, positive: str, count: int, positives: int | None
) -> dict[str, Any]:
    line: dict[str, Any] = {"cohort": one.external.name, "configuration": configuration, "class": positive}
    line |= {"level": one.level, "count": count, "positives": positives}
    kinds = {"": one.estimates, "_single": one.single, "_internal_minus_external": one.differences}
    for kind, estimates in kinds.items():
        for metric, estimate in estimates.items():
            line |= _cells(f"{metric}{kind}", estimate)
    return line


def _cells(name: str, estimate: Estimate) -> dict[str, Any]:
    """A number and the ends of its interval, each in a column."""
    values = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: json_number(value) for key, value in values.items()}


def as_json(estimate: Estimate, configurations: list[str]) -> dict[str, Any]:
    """A number with its interval, and whose it is."""
    return estimate.as_json() | {"from": configurations}


def plain(value: float | None, configurations: list[str]) -> dict[str, Any]:
    """A number without an interval."""
    return {"value": json_number(value), "from": configurations}


def say_outside(outside: list[Outside], together: list[OutsideTogether], ranked: dict[str, list[Row]]) -> list[str]:
    """A sentence for each external cohort, at the level of the primary endpoint; of several classes the macro AUROC."""
    level = next(iter(ranked.values()))[0].level
    told = [
        (one.external.name, one.inside.configuration, "macro AUROC", one.level, one.estimates, one.differences)
        for one in together
    ] or [(one.external.name, one.configuration, "AUROC", one.level, one.estimates, one.differences) for one in outside]
    units = {(one.external.name, one.level): one.num[0] for one in outside}
    said = []
    for cohort, configuration, what, of_level, estimates, differences in told:
        kind = what.lower().replace(" ", "_")
        area, less = estimates[kind], differences[kind]
        if of_level != level or not area.is_defined:
            continue
        mark = f" ({configuration.mark})" if configuration.mark else ""
        interval = f"95% CI {area.low:.2f} to {area.high:.2f}" if area.has_interval else f"no CI: {area.reason}"
        text = (
            f"In {units[cohort, level]} {level}s of the external cohort {cohort} the {what} of "
            f"{configuration.name}{mark} was {area.value:.2f} ({interval})"
        )
        if less.has_interval:
            differs = "does not differ significantly from" if less.low <= 0 <= less.high else "is significantly"
            way = "" if less.low <= 0 <= less.high else " lower than" if less.value > 0 else " higher than"
            text += f"; that of single networks {differs}{way} the internal one"
        said.append(f"{text}.")
    return said
