"""A study's plan: the paragraph for its protocol, and a page."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from fistula import __version__
from fistula.evidence.design.planning import LAST, Answer, Scenario
from fistula.folder import whole_folder
from fistula.report.figures.drawing import COLOURS, SOFT, blank, save, styled
from fistula.viewer.page import template

RATES = ("sensitivity", "specificity")
PAGE = "plan.html"


def of_width(settings: dict[str, Any]) -> bool:
    """Whether a width is planned for, and no power."""
    return settings["goal"] == "interval" or (settings["goal"] in RATES and settings["lower"] is None)


def paragraph(scenario: Scenario, answer: Answer, settings: dict[str, Any]) -> str:
    """The sample size as a protocol states it: aim, assumptions, method, number.

    `settings` are ``goal`` and its numbers, as in `conf/plan.yaml`.
    """
    negatives = (answer.patients or 0) - answer.positives
    needed = f"{answer.patients} patients ({answer.positives} positive, {negatives} negative)"
    method = _method(scenario, settings["goal"], is_exact=not answer.error)
    return f"{_aim(scenario, answer, settings, needed)} {_assumed(scenario)} {method}"


@styled
def write_plan(out: Path, scenario: Scenario, answer: Answer, settings: dict[str, Any]) -> Path:
    """Write the folder `out`: ``plan.html``, ``protocol.txt``, the figure, ``plan.json``; give the path of the page."""
    with whole_folder(out) as folder:
        figure = Markup(  # noqa: S704 (Matplotlib escapes what it writes)
            save(_curve(answer, settings), folder, "patients", says="Half-width or power by number of patients")
        )
        shown = {"answer": answer, "scenario": scenario, "width": of_width(settings), "figure": figure}
        record = {"scenario": asdict(scenario), "settings": settings, "answer": asdict(answer)}
        fill(folder, "plan.html", paragraph(scenario, answer, settings), shown, record)
    return out / PAGE


def fill(folder: Path, name: str, text: str, shown: dict[str, Any], record: dict[str, Any]) -> None:
    """Write `PAGE` by the template of this name, the protocol's paragraph beside it, and what both rest on."""
    page = template("report", name).render(**shown, text=text, version=__version__)
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / "protocol.txt").write_text(f"{text}\n", encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps(record | {"version": __version__}, indent=1) + "\n")


def _aim(scenario: Scenario, answer: Answer, settings: dict[str, Any], needed: str) -> str:
    what = f"an AUROC of {scenario.auroc:g}"
    if rate := settings["goal"] in RATES:
        what = f"a {settings['goal']} of {settings['expected']:g} at a threshold chosen beforehand"
    if of_width(settings):
        return (
            f"With {needed}, the 95% confidence interval of {what} is expected to have a "
            f"half-width of {answer.reached:.3f} (target: {settings['half_width']:g})."
        )
    error = f"; Monte Carlo standard error, {answer.error:.1%}" if answer.error else ""
    power = f"a power of {answer.reached:.1%} (target: {settings['power']:.0%}{error})"
    if rate:
        return (
            f"With {needed}, the lower limit of the 95% confidence interval of {what} exceeds {settings['lower']:g} "
            f"with {power}."
        )
    if settings["goal"] == "difference":
        return (
            f"With {needed}, a difference between AUROCs of {scenario.auroc:g} and {scenario.other:g} is detected with "
            f"{power} at a two-sided significance level of {settings['alpha']:g}."
        )
    return (
        f"With {needed}, noninferiority of a model with an AUROC of {scenario.auroc:g} to a comparator with an AUROC "
        f"of {scenario.other:g} is shown, at a margin of {settings['margin']:g}, with {power} at a one-sided "
        f"significance level of {settings['alpha'] / 2:g}."
    )


def _assumed(scenario: Scenario) -> str:
    said = [f"a prevalence of {scenario.prevalence:.0%}"]
    if scenario.slices > 1:
        said.append(f"{scenario.slices:g} scored slices per patient")
        if scenario.variation:
            said[-1] += f" (coefficient of variation, {scenario.variation:g})"
        said.append(f"a within-patient correlation of the scores of {scenario.correlation:g}")
    if scenario.other is not None:
        said.append(f"a correlation of {scenario.agreement:g} between the scores of the two models")
    if scenario.folds > 1:
        said.append(f"{scenario.folds}-fold cross-validation, in which patients are compared within a fold")
    return f"This assumes {', '.join(said[:-1])}{', and ' * (len(said) > 1)}{said[-1]}."


def _method(scenario: Scenario, goal: str, *, is_exact: bool) -> str:
    unit = "slices clustered by patient" if scenario.slices > 1 else "one score per patient"
    compared = "paired comparison" if scenario.other is not None else "interval"
    if is_exact:
        return (
            "The number was determined by the binomial distribution with Wilson's interval, which the analysis will "
            f"use, such that no larger number has less power than the target, as implemented in fistula {__version__}."
        )
    of, made = "AUROCs", "delete-one-patient jackknife"
    if goal in RATES:
        of, made = goal, f"Wilson at the effective sample size, and {made}" if scenario.slices > 1 else "Wilson"
    return (
        f"The number was determined by simulation of binormal scores ({LAST} replicates, {unit}) with the {compared} "
        f"of {of} that the analysis will use ({made}), as implemented in fistula {__version__}."
    )


def _curve(answer: Answer, settings: dict[str, Any]) -> Figure:
    """What each number of patients that was looked at gives, and where the target is met."""
    is_width = of_width(settings)
    target = settings["half_width"] if is_width else settings["power"]
    figure, axes = blank(3.1, width=6.2)
    axes.plot(list(answer.around), list(answer.around.values()), "o-", color=COLOURS[0], markersize=4)
    axes.axhline(target, color=SOFT, linewidth=0.8, linestyle="--")
    axes.annotate(f"target, {target:g}", (0, target), xytext=(4, 3), textcoords="offset points",
                  ha="left", fontsize=8, color=SOFT)  # fmt: skip
    axes.set_xlabel("patients")
    axes.set_ylabel("half-width of the 95% CI" if is_width else "power")
    axes.set_ylim(bottom=0, top=None if is_width else 1.02)
    axes.set_xlim(left=0)
    return figure
