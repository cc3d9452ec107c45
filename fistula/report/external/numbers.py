"""The numbers of external cohorts as a table has them, and as a sentence."""

from collections.abc import Iterable
from typing import Any

from fistula.errors import count, say_class
from fistula.evidence.estimate import Estimate, json_number, undefined
from fistula.evidence.independent import independent_difference
from fistula.report.external.cohorts import Outside
from fistula.report.external.together import OutsideTogether
from fistula.report.names import listed
from fistula.report.results import Row
from fistula.report.study import Configuration


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


def say_outside(
    outside: list[Outside],
    together: list[OutsideTogether],
    ranked: dict[str, list[Row]],
    best: Configuration,
    selected: Estimate | None,
) -> list[str]:
    """A sentence for each external cohort, at the level of the primary endpoint; of several classes the macro AUROC.

    Of the headline's configuration, `best`, whose internal AUROC is the highest of several, the difference is judged
    with that AUROC's interval adjusted for selection, `selected`: with its own, 100 equal configurations are called
    worse outside in 17% to 25% of studies, in which nothing differs.
    """
    level = next(iter(ranked.values()))[0].level
    kind, what = ("macro_auroc", "macro AUROC") if together else ("auroc", "AUROC")
    tested = [found for found in outside if found.level == level]
    said = []
    for one in together or outside:
        area, less = one.estimates[kind], one.differences[kind]
        if one.level != level or not area.is_defined:
            continue
        cohort, configuration, adjusted = one.external.name, one.inside.configuration, ""
        if configuration is best and selected is not None and selected.has_interval:
            less, adjusted = independent_difference(selected, one.single[kind]), ", adjusted for its selection"
        own = [found for found in tested if found.external.name == cohort]
        classes = listed([f"{found.num[1]} {say_class(found.positive)}" for found in own])
        mark = f" ({configuration.mark})" if configuration.mark else ""
        interval = f"95% CI {area.low:.2f} to {area.high:.2f}" if area.has_interval else f"no CI: {area.reason}"
        text = (
            f"In {count(own[0].num[0], level)} of the external cohort {cohort} ({classes}), the {what} of "
            f"{'the ensemble of ' * (len(one.external.runs) > 1)}{configuration.name}{mark} was {area.value:.2f}"
            f" ({interval})"
        )
        if less.has_interval:
            differs = "does not differ significantly from" if less.low <= 0 <= less.high else "is significantly"
            way = "" if less.low <= 0 <= less.high else " lower than" if less.value > 0 else " higher than"
            text += f"; that of single networks {differs}{way} the internal one{adjusted}"
        said.append(f"{text}.")
    return said
