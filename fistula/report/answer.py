"""The question of a study and its answer, in the words of a clinician, and no more than the tests carry."""

from math import isnan

import polars as pl

from fistula.report.external.cohorts import Outside
from fistula.report.external.numbers import say_outside
from fistula.report.external.together import OutsideTogether
from fistula.report.names import count, declared, listed, say_fact
from fistula.report.results import Row, counts
from fistula.report.sections.all_classes import EQUAL, AllClasses, say_tied, say_together
from fistula.report.sections.comparisons import Comparisons, Pair
from fistula.report.sections.every_class import ALL
from fistula.report.sections.inflation import YAGIS_POINTS, Canary, Inflation
from fistula.report.sections.methods import is_fixed
from fistula.report.study import Study

NAMED = 2  # configurations named in a sentence; more are counted
SIGNIFICANT = 0.05  # of a Holm-adjusted P value
FEW = 30  # patients or slices of a class; with fewer, what one of them weighs is said
TELLING = 0.3  # distance from 0.5 of the AUROC of a fact that needs no image
HEAVY = 0.25  # share of a class's slices that one patient brings
UNSTABLE = 0.25  # range of a configuration's thresholds over its runs


def say_question(study: Study) -> str:
    """One sentence: what is told apart, and which factors vary."""
    classes = study.cohort.classes
    task = f"distinguish {classes[1]} from {classes[0]}" if len(classes) == 2 else f"distinguish {listed(classes)}"
    varying = [
        factor
        for factor in study.configurations[0].factors
        if len({str(configuration.factors.get(factor)) for configuration in study.configurations}) > 1
    ]
    if varying and set(varying) <= {"split", "labelling"}:
        return f"By how much is a network's ability to {task} overestimated under a split by image?"
    if len(study.configurations) == 1:
        leaky = study.configurations[0].mark
        return f"How well can a network {task}{'' if leaky else ' in patients it was not trained on'}?"
    means = f" (differing in {listed([factor.replace('_', ' ') for factor in varying])})" if varying else ""
    return (
        f"How well can a network {task}, and which of {len(study.configurations)} configurations{means} performs best?"
    )


def say_answer(
    study: Study,
    ranked: dict[str, list[Row]],
    together: list[AllClasses],
    comparisons: list[Comparisons],
    inflations: list[Inflation],
    canaries: list[Canary],
    outside: tuple[list[Outside], list[OutsideTogether]],
) -> list[str]:
    """For each class: how good the best configuration is, what it differs from, what leaks add; and the limitations.

    Args:
        study: Whose classes are spoken of.
        ranked: The results of each class at the level of the primary endpoint, the highest AUROC first.
        together: The configurations over all classes, the highest macro AUROC first; empty of two classes.
        comparisons: Of the same classes; none of a class of which there is no honest result.
        inflations: Leaky against honest splits.
        canaries: Negative controls.
        outside: External cohorts, and those of three classes or more over all of them.
    """
    honest_together = [one for one in together if not one.configuration.is_canary]
    compared = {found.positive: found for found in comparisons}
    sentences = say_together(honest_together, ranked)
    if sentences and (others := _say_others(honest_together[0].configuration.name, compared.get(ALL), "macro AUROC")):
        sentences.insert(1, others)
    for positive, rows in ranked.items():
        results = [row for row in rows if not row.configuration.is_canary]
        if results and len(ranked) == 1:
            sentences += filter(None, _say_results(study, results, compared.get(positive)))
        added = [one for one in inflations if one.positive == positive]
        leaks = _say_leaks(added, [one for one in canaries if one.positive == positive])
        if leaks:
            sentences.append(f"{positive} against the rest: {leaks}" if len(ranked) > 1 else leaks)
    honest = [row for rows in ranked.values() for row in rows if not row.configuration.is_canary]
    return (
        [
            *sentences,
            *say_outside(*outside, ranked),
            _say_worth(
                study,
                [row for row in honest if row.positive == honest[0].positive],
                is_ranked=(honest_together[0].auroc if honest_together else honest[0].estimates["auroc"]).is_defined,
                tested=bool(outside[0]),
            ),
        ]
        if honest
        else sentences
    )


def say_thresholds(thresholds: list[float]) -> str:
    """One threshold, or their range over the runs."""
    least, most = min(thresholds), max(thresholds)
    if len(thresholds) == 1 or least == most:
        return f"{least:.3f}"
    unstable = ", unstable" if most - least > UNSTABLE else ""
    return f"{least:.3f} to {most:.3f} over {len(thresholds)} runs{unstable}"


def _say_results(study: Study, rows: list[Row], found: Comparisons | None) -> list[str]:
    defined = [row for row in rows if row.estimates["auroc"].is_defined]
    if not defined:
        return [f"No configuration has a defined per-{rows[0].level} AUROC: {rows[0].estimates['auroc'].reason}."]
    best, rest = defined[0], study.rest(defined[0].positive)
    return [_say_best(best, rest, among=rows), _say_operating(study, best), _say_others(best.configuration.name, found)]


def _say_best(best: Row, rest: str, *, among: list[Row]) -> str:
    area, (total, positives) = best.estimates["auroc"], best.num
    interval = f"95% CI {area.low:.2f} to {area.high:.2f}" if area.has_interval else f"no CI: {area.reason}"
    owners = best.rows["patient_key"].n_unique()
    within = f" of {count(owners, 'patient')}" if best.level == "slice" else ""
    head = (
        f"In {count(total, 'test ' + best.level)}{within} ({positives} {best.positive}, {total - positives} {rest}), "
    )
    name, of = best.configuration.name, f" of {best.configuration.name}" if len(among) > 1 else ""
    what = f"{name} had the highest per-{best.level} AUROC,"
    if len(_alike(among)) == 1:
        what = f"the per-{best.level} AUROC{of} was"
    text = f"{head}{what} {area.value:.2f} ({interval}){say_tied(_tied(best, among))}"
    if area.has_interval and area.low <= 0.5 <= area.high:
        return f"{text}; chance (0.5) is not excluded."
    return f"{text}, worse than chance (0.5)." if area.has_interval and area.high < 0.5 else f"{text}."


def _tied(best: Row, among: list[Row]) -> list[str]:
    """The other configurations whose AUROC is as high, by name."""
    value = best.estimates["auroc"].value
    tied = [row for row in _alike(among)[1:] if abs(row.estimates["auroc"].value - value) < EQUAL]
    return [row.configuration.name for row in tied]


def _alike(rows: list[Row]) -> list[Row]:
    """Those among which the first is the highest: of splits that leak and others, those of its own kind."""
    return [row for row in rows if row.configuration.leaky_by_design == rows[0].configuration.leaky_by_design]


def _say_operating(study: Study, best: Row) -> str:
    hits, sick, right, well = counts(best.rows)
    if not sick or not well:
        return ""
    threshold = "a threshold of 0.5" if is_fixed(study) else "the threshold chosen on validation data"
    seeds = best.configuration.num_seeds
    over = f", over {seeds} seeds" if seeds > 1 else ""
    return (
        f"At {threshold}, it correctly classified {hits} of {count(sick, best.level)} as {best.positive}"
        f" (sensitivity, {hits / sick:.0%}) and {right} of {well} as {study.rest(best.positive)}"
        f" (specificity, {right / well:.0%}){over}."
    )


def _say_others(name: str, found: Comparisons | None, what: str = "AUROC") -> str:
    pairs = [pair for pair in found.pairs if name in (pair.first, pair.second)] if found else []
    tested = [pair for pair in pairs if not isnan(pair.holm["auroc"])]
    if not tested:
        return ""
    beaten = [_other(pair, name) for pair in tested if pair.holm["auroc"] < SIGNIFICANT and _lead(pair, name) > 0]
    # An equal AUROC that no patient moves has no test, and differs from nothing.
    equal = [pair for pair in pairs if pair not in tested and _lead(pair, name) == 0]
    rest = [_other(pair, name) for pair in [*tested, *equal] if _other(pair, name) not in beaten]
    test = "paired tests, Holm-adjusted" if len(tested) > 1 else "paired test"
    those = listed(rest) if 0 < len(rest) <= NAMED else f"any of the {len(rest)} other configurations"
    if not beaten:
        return f"Its {what} does not differ significantly from that of {those} ({test})."
    better = listed(beaten) if len(beaten) <= NAMED else f"{len(beaten)} of the {len(tested) + len(equal)} others"
    tail = f", but does not differ significantly from that of {those}" if rest else ""
    return f"Its {what} is significantly higher than that of {better}{tail} ({test})."


def _say_leaks(inflations: list[Inflation], canaries: list[Canary]) -> str:
    parts = []
    points = [one.points for one in inflations if one.labels == "given" and not isnan(one.points)]
    if points:
        ends = f"{min(points):+.1f}" if len(points) == 1 else f"{min(points):+.1f} to {max(points):+.1f}"
        parts.append(
            f"a split by image adds {ends} percentage points of per-slice balanced accuracy to a split by patient"
            f" (Yagis et al. 2021: {YAGIS_POINTS[0]} to {YAGIS_POINTS[1]} points of accuracy)"
        )
    parts += [
        f"the negative control {one.name} has a per-{one.level} AUROC of {one.auroc}: {one.verdict}"
        for one in canaries
        if one.auroc.is_defined
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _say_worth(study: Study, rows: list[Row], *, is_ranked: bool, tested: bool) -> str:
    """What the numbers themselves say against taking them at their face value."""
    parts, best = [], rows[0]
    leaky = [row.configuration.name for row in rows if row.configuration.leaky_by_design]
    if leaky:
        which = "every configuration was" if len(leaky) == len(rows) else listed(leaky)
        which += "" if len(leaky) == len(rows) else " were" if len(leaky) > 1 else " was"
        parts.append(f"{which} tested under a split that leaks by design, not in new patients")
    if len(_alike(rows)) > 1 and is_ranked:
        parts.append(f"the highest of {len(_alike(rows))} AUROCs is optimistically biased")
    sizes = [row.num[0] for row in _alike(rows)]
    if min(sizes) < max(sizes):
        those = f"{best.level}s ({min(sizes)} to {max(sizes)} of them)"
        parts.append(f"not all configurations were tested in the same {those}")
    total, positives = best.num
    fewest = min(positives, total - positives)
    if 0 < fewest < FEW:
        rate = "sensitivity" if positives == fewest else "specificity"
        parts.append(f"a single {best.level} accounts for {100 / fewest:.0f} percentage points of {rate}")
    parts += _heavy(study, best)
    alone = {fact: value for one in study.certificates for fact, value in (one.get("alone") or {}).items()}
    given = declared(row.configuration.factors for row in rows)  # no confounders
    known = [fact for fact, value in alone.items() if value is not None and fact != "labelled slices"]
    telling = [f for f in known if abs(alone[f] - 0.5) >= TELLING and f not in given]
    parts += [f"{say_fact(fact)} alone has a per-patient AUROC of {alone[fact]:.2f}" for fact in telling]
    constant = [row for row in rows if any("constant" in text for text in row.configuration.warnings)]
    for row in constant[:NAMED]:
        said = next(text for text in row.configuration.warnings if "constant" in text)
        parts.append(f"{row.configuration.name}: {said}")
    if len(constant) > NAMED:
        more = len(constant) - NAMED
        parts.append(f"{more} more configuration{'s' if more > 1 else ''} made constant predictions")
    sites = any(row.configuration.factors.get("split") == "site_holdout" for row in rows)
    if not tested:
        untested = "no external cohort was tested"
        parts.append(f"one site was held out, but {untested}" if sites else untested)
    return f"Limitations: {'; '.join(parts)}." if parts else ""


def _heavy(study: Study, row: Row) -> list[str]:
    """A patient who brings many of the slices of a class, where slices are judged."""
    found = []
    for label, name in ((1, row.positive), (0, study.rest(row.positive))) if row.level == "slice" else ():
        slices = row.rows.filter(pl.col("label") == label).unique("unit")
        most = slices.group_by("patient_key").len()["len"].max()
        if isinstance(most, int) and most > HEAVY * len(slices):
            found.append(f"a single patient contributes {most} of the {len(slices)} {name} slices")
    return found


def _other(pair: Pair, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _lead(pair: Pair, name: str) -> float:
    value = pair.tests["auroc"].difference.value
    return value if pair.first == name else -value
