"""The headline: the highest AUROC, with an interval that allows for its having been selected among several."""

import numpy as np

from fistula.errors import count, say_class
from fistula.evidence.estimate import Estimate
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.macro import macro_auroc
from fistula.report.names import listed
from fistula.report.pooling import ranking
from fistula.report.results import Row, counts
from fistula.report.sections.all_classes import AllClasses, wide_rows
from fistula.report.sections.comparisons import ALPHA
from fistula.report.sections.limitations import NAMED, alike
from fistula.report.study import Study
from fistula.report.wording import say_times

MANY = 5  # classes, above which not each is told of
EQUAL = 1e-9  # two AUROCs that differ by less are one


def selected_auroc(study: Study, ranked: dict[str, list[Row]], together: list[AllClasses]) -> Estimate | None:
    """The headline's AUROC at the level that Bonferroni's correction leaves: it holds whichever is the highest.

    Both have the highest AUROC at the primary level first; `together` is empty of two classes. None where nothing was
    selected: of one configuration that is no negative control, or of no defined AUROC.
    """
    rows = [row for row in next(iter(ranked.values())) if not row.configuration.is_canary]
    if not rows or len(alike(rows)) < 2:
        return None
    level = 1 - ALPHA / len(alike(rows))
    if together:
        of_level = [row for rows in ranked.values() for row in rows]
        truth, scores, keys, runs = wide_rows(study, together[0].configuration, of_level)
        return macro_auroc(np.eye(scores.shape[1], dtype=int)[truth], scores, keys, runs, level=level)
    best = next((row.rows for row in rows if row.estimates["auroc"].is_defined), None)
    if best is None:
        return None
    return clustered_auroc(*ranking(best), level=level)


def say_best(best: Row, rest: str, *, among: list[Row], selected: Estimate | None) -> str:
    """In how many how good the best configuration is, `selected` being its AUROC as `selected_auroc` gives it."""
    area, (total, positives) = best.estimates["auroc"], best.num
    interval = say_interval(area, selected, len(alike(among)))
    owners = best.rows["patient_key"].n_unique()
    within = f" of {count(owners, 'patient')}" if best.level == "slice" else ""
    head = (
        f"In {count(total, 'test ' + best.level)}{within} ({positives} {say_class(best.positive)},"
        f" {total - positives} {say_class(rest)}), "
    )
    name, of = best.configuration.name, f" of {best.configuration.name}" if len(among) > 1 else ""
    what = f"{name} had the highest per-{best.level} AUROC,"
    if len(alike(among)) == 1:
        what = f"the per-{best.level} AUROC{of} was"
    tied = [
        row.configuration.name for row in alike(among)[1:] if abs(row.estimates["auroc"].value - area.value) < EQUAL
    ]
    return f"{head}{what} {area.value:.2f} ({interval}){say_tied(tied)}{say_chance(area, selected)}."


def say_together(found: list[AllClasses], ranked: dict[str, list[Row]], selected: Estimate | None) -> list[str]:
    """The macro AUROC, where there are three classes or more; `found` holds no negative control."""
    if not found:
        return []
    best, level = found[0], next(iter(ranked.values()))[0].level
    correct, total = int(best.counts.trace()), int(best.counts.sum())
    kappa, name = best.kappa, best.configuration.name
    agreed = f", with a quadratically weighted kappa of {kappa.value:.2f}" if kappa and kappa.is_defined else ""
    agreed += f" and a mean absolute error of {best.error.value:.2f} grades" if agreed and best.error else ""
    of_class = best.counts.sum(axis=1)
    largest = say_class(list(ranked)[int(of_class.argmax())])
    named = (
        f"correctly classified {correct} of {say_times(total, level, best.count, best.configuration.num_seeds)}{agreed}"
        f"; calling every {level} {largest} would be correct in {of_class.max()}."
    )
    each = _say_each(best, ranked)
    those = [f"Its AUROC for each class against the rest, with rates at its threshold, {each}."] if each else []
    if not best.auroc.is_defined:
        first = f"Of {len(found)} configurations, {name} was correct most often: it" if len(found) > 1 else name
        return [f"The per-{level} macro AUROC is undefined: {best.auroc.reason}.", f"{first} {named}", *those]
    among = [one for one in found if one.configuration.leaks == best.configuration.leaks]
    tied = [one.configuration.name for one in among[1:] if abs(one.auroc.value - best.auroc.value) < EQUAL]
    most = f", the highest of {len(among)} configurations{say_tied(tied)}" if len(among) > 1 else ""
    area = f"{best.auroc.value:.2f} ({say_interval(best.auroc, selected, len(among))}){most}"
    of = {
        row.positive: row.num[1] for rows in ranked.values() for row in rows if row.configuration is best.configuration
    }
    classes = listed([f"{number} {say_class(positive)}" for positive, number in of.items()])
    return [
        f"In {count(best.count, f'test {level}')} ({classes}), {name} had a per-{level} macro AUROC of {area}"
        f"{say_chance(best.auroc, selected)}; it {named}",
        *those,
    ]


def say_tied(names: list[str]) -> str:
    """Which configurations are as good as the one that a sentence names.

    Example:
        >>> say_tied([]), say_tied(["A"]), say_tied(["A", "B", "C"])
        ('', ', tied with A', ', tied with 3 others')
    """
    if not names:
        return ""
    return f", tied with {listed(names) if len(names) <= NAMED else f'{len(names)} others'}"


def _say_each(best: AllClasses, ranked: dict[str, list[Row]]) -> str:
    """What the headline's configuration makes of each class; where they are many, of the worst and the best."""
    said = {}
    for positive, rows in ranked.items():
        row = next(row for row in rows if row.configuration is best.configuration)
        area, (hits, sick, right, well) = row.estimates["auroc"], counts(row.rows)
        if not area.is_defined:
            continue
        interval = f"95% CI {area.low:.2f} to {area.high:.2f}; " if area.has_interval else ""
        told = f"({interval}sensitivity, {hits} of {sick}; specificity, {right} of {well})"
        said[f"{area.value:.2f} for {say_class(positive)} {told}"] = area.value
    if len(said) > MANY:
        return f"ranged from {min(said, key=lambda told: said[told])} to {max(said, key=lambda told: said[told])}"
    return f"was {listed(list(said))}" if said else ""


def say_interval(area: Estimate, selected: Estimate | None, among: int) -> str:
    """The interval of the headline's AUROC, and that adjusted for selection, or why there is none."""
    if not area.has_interval:
        return f"no CI: {area.reason}"
    told = f"95% CI {area.low:.2f} to {area.high:.2f}"
    if selected is None or not selected.has_interval:
        return told
    return f"{told}; adjusted for selection among {among} configurations, {selected.low:.2f} to {selected.high:.2f}"


def say_chance(area: Estimate, selected: Estimate | None) -> str:
    """What the intervals say of chance, where they do not show that the AUROC is above it."""
    if not area.has_interval:
        return "; this is chance (0.5)" if area.value == 0.5 else ""
    if area.low <= 0.5 <= area.high:
        return "; chance (0.5) is not excluded"
    if area.high < 0.5:
        return ", worse than chance (0.5)"
    hidden = selected is not None and selected.has_interval and selected.low <= 0.5
    return "; adjusted for selection, chance (0.5) is not excluded" if hidden else ""
