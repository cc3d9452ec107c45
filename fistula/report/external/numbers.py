"""The numbers of external cohorts as a record keeps them, and as a sentence."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from math import isfinite, isnan
from typing import Any

from fistula.evidence.estimate import Estimate
from fistula.report.external.cohorts import Outside
from fistula.report.results import Row


def outside_numbers(found: Iterable[Outside]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number by its name, with what it rests on."""
    for one in found:
        source, place = [one.configuration.name], f"outside / {one.external.name} / {one.positive} / {one.level}"
        for kind, number in zip(("count", "positives"), one.num, strict=True):
            yield f"{place} / {kind}", plain(number, source)
        for metric in one.estimates:
            yield f"{place} / {metric}", as_json(one.estimates[metric], source)
            yield f"{place} / {metric} of single networks", as_json(one.single[metric], source)
            yield f"{place} / {metric} internal minus external", as_json(one.differences[metric], source)
        for kind, estimate in zip(("intercept", "slope"), one.line or (), strict=False):
            yield f"{place} / calibration {kind}", as_json(estimate, source)
        for kind, value in zip(("mean probability", "observed share"), one.expected or (), strict=False):
            yield f"{place} / {kind}", plain(value, source)
        if one.brier is not None:
            yield f"{place} / brier", plain(one.brier, source)
        for factor in one.groups:
            yield f"{place} / interaction with {factor.factor}", plain(factor.p_value, source)
            for group in factor.groups:
                yield f"{place} / {factor.factor} {group.name} / auroc", as_json(group.auroc, source)
        for step in one.recalibrated:
            for kind, value in vars(step).items():
                told = as_json(value, source) if isinstance(value, Estimate) else plain(value, source)
                if kind not in ("patients", "repeats"):
                    yield f"{place} / recalibrated on {step.patients} / {kind}", told
        yield f"{place} / abstained", plain(one.abstained[0], source)


def outside_lines(found: Iterable[Outside]) -> list[dict[str, Any]]:
    """A line for each external cohort, class and level, for a table."""
    lines = []
    for one in found:
        line: dict[str, Any] = {"cohort": one.external.name, "configuration": one.configuration.name}
        line |= {"class": one.positive, "level": one.level, "count": one.num[0], "positives": one.num[1]}
        for kind, estimates in (
            ("", one.estimates),
            ("_single", one.single),
            ("_internal_minus_external", one.differences),
        ):
            for metric, estimate in estimates.items():
                name = f"{metric}{kind}"
                values = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
                line |= {key: number(value) for key, value in values.items()}
        lines.append(line)
    return lines


def as_json(estimate: Estimate, configurations: list[str]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity: such a number is null, beside its reason."""
    values = {key: number(value) if isinstance(value, float) else value for key, value in asdict(estimate).items()}
    return values | {"from": configurations}


def plain(value: float | None, configurations: list[str]) -> dict[str, Any]:
    """A number without an interval."""
    return {"value": number(value), "from": configurations}


def number(value: float | None) -> float | str | None:
    """As JSON takes it."""
    if value is None or isnan(value):
        return None
    return value if isfinite(value) else "infinite"


def say_outside(outside: list[Outside], ranked: dict[str, list[Row]]) -> list[str]:
    """One sentence for each external cohort and class, at the level of the primary endpoint."""
    said = []
    for one in outside:
        area, less = one.estimates["auroc"], one.differences["auroc"]
        if one.level != ranked[one.positive][0].level or not area.is_defined:
            continue
        interval = f"95% CI {area.low:.2f} to {area.high:.2f}" if area.has_interval else f"no CI: {area.reason}"
        text = (
            f"In {one.num[0]} {one.level}s of the external cohort {one.external.name} the AUROC of "
            f"{one.configuration.name} was {area.value:.2f} ({interval})"
        )
        if less.has_interval:
            differs = "does not differ significantly from" if less.low <= 0 <= less.high else "is significantly"
            way = "" if less.low <= 0 <= less.high else " lower than" if less.value > 0 else " higher than"
            text += f"; that of single networks {differs}{way} the internal one"
        said.append(f"{text}.")
    return said
