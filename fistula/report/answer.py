"""The question of a study and its answer, said from the numbers, and no more than the tests carry."""

from math import isnan

from fistula.report.comparisons import Comparisons, Pair
from fistula.report.inflation import YAGIS_POINTS, Canary, Inflation
from fistula.report.results import Row
from fistula.report.study import Study

NAMED = 2  # configurations named in a sentence; more are counted
SIGNIFICANT = 0.05  # of a p-value corrected by Holm


def say_question(study: Study) -> str:
    """One sentence: what is told apart, and which factors vary."""
    classes = study.cohort.classes
    task = f"tell {classes[1]} from {classes[0]}" if len(classes) == 2 else f"tell {', '.join(classes)} apart"
    varying = [
        factor
        for factor in study.configurations[0].factors
        if len({str(configuration.factors.get(factor)) for configuration in study.configurations}) > 1
    ]
    if varying and set(varying) <= {"split", "labelling"}:
        return f"What does a split by image add to how well a network can {task}, over a split by patient?"
    if len(study.configurations) == 1:
        return f"How well does a network {task}, on slices of patients it was not trained on?"
    means = f" that differ in {_listed(varying)}" if varying else ""
    return f"Which of {len(study.configurations)} configurations{means} can best {task}?"


def say_answer(
    rows: list[Row], comparisons: list[Comparisons], inflations: list[Inflation], canaries: list[Canary]
) -> list[str]:
    """Three sentences for each class: the best AUROC by patient, what it beats, and what limits the claim.

    Where the study has the same configurations under a leaky split, or canaries, one more says what those show.
    """
    sentences = [] if comparisons else [_say_leaks(inflations, canaries)]
    for found in comparisons:
        ours = [row for row in rows if row.positive == found.positive and row.level == "patient"]
        results = [row for row in ours if not row.configuration.is_canary]
        honest = [row for row in results if not row.configuration.leaky_by_design]
        defined = [row for row in honest or results if row.estimates["auroc"].is_defined]
        prefix = f"{found.positive}: " if len(comparisons) > 1 else ""
        if not defined:
            sentences.append(f"{prefix}No configuration has an AUROC by patient that is defined; the table says why.")
            continue
        best = max(defined, key=lambda row: row.estimates["auroc"].value)
        leaks = _say_leaks(
            [one for one in inflations if one.positive == found.positive],
            [one for one in canaries if one.positive == found.positive],
        )
        first = _say_best(best, len(defined), is_named=len(ours) > 1)
        said = (first, _say_beaten(best, found), leaks, _say_limits(ours, found))
        sentences += [prefix + sentence for sentence in said if sentence]
    return sentences


def _say_best(best: Row, count: int, *, is_named: bool) -> str:
    area = best.estimates["auroc"]
    patients, positives = best.num
    interval = (
        f"95 % interval {area.low:.3f} to {area.high:.3f}" if area.has_interval else f"no interval: {area.reason}"
    )
    level = f"AUROC by patient (of its slices: {best.aggregation})"
    head = f"The {level} is" if count == 1 else f"The highest {level} is"
    of = f", of {best.configuration.name}" if is_named else ""
    text = f"{head} {area.value:.3f} ({interval}){of}, on {patients} test patients of whom {positives} are positive"
    if not area.has_interval:
        return f"{text}."
    side = "above" if area.low > 0.5 else "below" if area.high < 0.5 else ""
    chance = f"the interval lies {side} chance" if side else "the interval does not exclude chance"
    picked = ", but the value was picked among several and is for that alone too good" if count > 1 and side else ""
    return f"{text}; {chance}{picked}."


def _say_beaten(best: Row, found: Comparisons) -> str:
    name = best.configuration.name
    pairs = [pair for pair in found.pairs if name in (pair.first, pair.second)]
    tested = [pair for pair in pairs if not isnan(pair.holm["auroc"])]
    if not tested:
        return ""
    beaten = [_other(pair, name) for pair in tested if pair.holm["auroc"] < SIGNIFICANT and _lead(pair, name) > 0]
    count = sum(not isnan(pair.holm["auroc"]) for pair in found.pairs)
    family = f"After Holm's correction over {count} paired tests" if count > 1 else "By the paired test"
    if not beaten:
        every = "the other configuration" if len(tested) == 1 else f"any of the {len(tested)} others"
        return f"{family}, it cannot be told from {every}."
    rest = len(tested) - len(beaten)
    tail = f", and cannot be told from the remaining {rest}" if rest else ""
    if len(beaten) <= NAMED:
        return f"{family}, it is better than {_listed(beaten)}{tail}."
    others = [_other(pair, name) for pair in tested if _other(pair, name) not in beaten]
    if rest and rest <= NAMED:
        tail = f", and cannot be told from {_listed(others)}"
    return f"{family}, it is better than {len(beaten)} of the {len(tested)} others{tail}."


def _say_leaks(inflations: list[Inflation], canaries: list[Canary]) -> str:
    parts = []
    points = [one.points for one in inflations if one.labels == "given" and not isnan(one.points)]
    if points:
        ends = f"{min(points):+.1f}" if len(points) == 1 else f"{min(points):+.1f} to {max(points):+.1f}"
        parts.append(
            f"a split by image adds {ends} points of balanced accuracy by slice to what a split by patient shows"
            f" (Yagis et al. 2021: {YAGIS_POINTS[0]} to {YAGIS_POINTS[1]} points of accuracy)"
        )
    for canary in canaries:
        parts.append(f"the canary {canary.name} has an AUROC of {canary.auroc}: {canary.verdict}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _say_limits(rows: list[Row], found: Comparisons) -> str:
    parts = []
    leaky = [row.configuration.name for row in rows if row.configuration.leaky_by_design]
    if leaky:
        verb = "is" if len(leaky) == 1 else "are"
        which = "every configuration is" if len(leaky) == len(rows) else f"{_listed(leaky)} {verb}"
        parts.append(f"{which} leaky by design and no evidence for new patients")
    constant = [
        row.configuration.name for row in rows if any("constant" in text for text in row.configuration.warnings)
    ]
    if constant:
        parts.append(f"{_listed(constant)} gave a constant prediction in at least one run")
    if not isnan(found.detectable):
        parts.append(
            f"this design can detect a difference in AUROC of {found.detectable:.2f} or more with 80 % power, "
            "before correction"
            + (
                ", as planned by Hanley and McNeil for two models whose AUROCs correlate by 0.5"
                if found.is_planned
                else ""
            )
        )
    parts.append("no external cohort was tested")
    return f"Limits: {'; '.join(parts)}."


def _other(pair: Pair, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _lead(pair: Pair, name: str) -> float:
    value = pair.tests["auroc"].difference.value
    return value if pair.first == name else -value


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
