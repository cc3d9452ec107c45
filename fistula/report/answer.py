"""The question of a study and its answer, in the words of a clinician, and no more than the tests carry."""

from math import isnan

from fistula.errors import say_class
from fistula.evidence.estimate import Estimate
from fistula.report.external.cohorts import Outside
from fistula.report.external.numbers import say_outside
from fistula.report.external.together import OutsideTogether
from fistula.report.names import listed, say_factor, varying_keys
from fistula.report.results import Row, counts
from fistula.report.sections.all_classes import ALL, AllClasses
from fistula.report.sections.comparisons import Comparisons, Pair
from fistula.report.sections.headline import say_best, say_together
from fistula.report.sections.inflation import YAGIS_POINTS, Canary, Inflation
from fistula.report.sections.limitations import NAMED, say_limitations
from fistula.report.sections.methods import is_fixed
from fistula.report.study import Study
from fistula.report.wording import say_p, say_times

SIGNIFICANT = 0.05  # of a Holm-adjusted P value
UNSTABLE = 0.25  # range of a configuration's thresholds over its runs


def say_question(study: Study) -> str:
    """One sentence: what is told apart, and which factors vary."""
    classes = [say_class(name) for name in study.cohort.classes]
    task = f"distinguish {classes[1]} from {classes[0]}" if len(classes) == 2 else f"distinguish {listed(classes)}"
    varying = varying_keys([one.factors for one in study.configurations])
    if varying and set(varying) <= {"split", "labelling"}:
        return f"By how much is a network's ability to {task} overestimated under a split by image?"
    # Negative controls take no part in what performs best.
    judged = [one for one in study.configurations if not one.is_canary]
    if not judged:
        return f"How well can a network appear to {task} where labels are permuted among patients?"
    if len(judged) == 1:
        return f"How well can a network {task}{'' if judged[0].mark else ' in patients it was not trained on'}?"
    rows = [one.factors for one in judged]
    varying = [say_factor(factor, rows) for factor in varying_keys(rows)]
    means = f" (differing in {listed(varying)})" if varying else ""
    return f"How well can a network {task}, and which of {len(judged)} configurations{means} performs best?"


def say_answer(
    study: Study,
    ranked: dict[str, list[Row]],
    together: list[AllClasses],
    comparisons: list[Comparisons],
    inflations: list[Inflation],
    canaries: list[Canary],
    outside: tuple[list[Outside], list[OutsideTogether]],
    selected: Estimate | None,
) -> list[str]:
    """For each class: how good the best configuration is, what it differs from, what leaks add; and the limitations.

    `ranked` and `together` have the highest AUROC first, and `together` nothing of two classes; `selected` is the
    headline's AUROC with the interval of `headline.selected_auroc`.
    """
    honest_together = [one for one in together if not one.configuration.is_canary]
    compared = {found.positive: found for found in comparisons}
    sentences = say_together(honest_together, ranked, selected)
    if sentences and honest_together[0].auroc.is_defined:
        found = _say_others(honest_together[0].configuration.name, compared.get(ALL), "macro AUROC")
        sentences[1:1] = filter(None, [found])
    for positive, rows in ranked.items():
        results = [row for row in rows if not row.configuration.is_canary]
        if results and len(ranked) == 1:
            sentences += filter(None, _say_results(study, results, compared.get(positive), selected))
        added = [one for one in inflations if one.positive == positive]
        leaks = _say_leaks(added, [one for one in canaries if one.positive == positive])
        if leaks:
            sentences.append(f"{say_class(positive)} against the rest: {leaks}" if len(ranked) > 1 else leaks)
    honest = [row for rows in ranked.values() for row in rows if not row.configuration.is_canary]
    if not honest:
        return sentences
    area = honest_together[0].auroc if honest_together else honest[0].estimates["auroc"]
    best = (honest_together or honest)[0].configuration
    of_class = [row for row in honest if row.positive == honest[0].positive]
    own = [row for row in honest if row.configuration is best]
    limitations = say_limitations(study, of_class, own, is_ranked=area.is_defined, tested=bool(outside[0]))
    return [*sentences, *say_outside(*outside, ranked, best, selected), limitations]


def say_thresholds(thresholds: list[float]) -> str:
    """One threshold, or their range over the runs."""
    ends = list(dict.fromkeys(f"{end:.3f}" for end in (min(thresholds), max(thresholds))))
    if len(ends) == 1:
        return ends[0]
    unstable = ", unstable" if max(thresholds) - min(thresholds) > UNSTABLE else ""
    return f"{' to '.join(ends)} over {len(thresholds)} runs{unstable}"


def _say_results(study: Study, rows: list[Row], found: Comparisons | None, selected: Estimate | None) -> list[str]:
    defined = [row for row in rows if row.estimates["auroc"].is_defined]
    if not defined:
        return [f"No configuration has a defined per-{rows[0].level} AUROC: {rows[0].estimates['auroc'].reason}."]
    best, rest = defined[0], study.rest(defined[0].positive)
    return [
        say_best(best, rest, among=rows, selected=selected),
        _say_operating(study, best),
        _say_others(best.configuration.name, found),
    ]


def _say_operating(study: Study, best: Row) -> str:
    hits, sick, right, well = counts(best.rows)
    if not sick or not well:
        return ""
    threshold = "a threshold of 0.5" if is_fixed(study) else "the threshold chosen on validation data"
    seeds, (total, positives) = best.configuration.num_seeds, best.num
    others = total - positives
    shares = {"sensitivity": hits / sick, "specificity": right / well}
    ends = {name: best.estimates[name] for name in shares}
    rates = [
        f"{name}, {share:.0%}" + (f"; 95% CI {ends[name].low:.0%} to {ends[name].high:.0%}" * ends[name].has_interval)
        for name, share in shares.items()
    ]
    return (
        f"At {threshold}, it correctly classified {hits} of {say_times(sick, best.level, positives, seeds)} as"
        f" {say_class(best.positive)} ({rates[0]}) and {right} of"
        f" {well if well == others else say_times(well, best.level, others, seeds)} as"
        f" {say_class(study.rest(best.positive))} ({rates[1]})."
    )


def _say_others(name: str, found: Comparisons | None, what: str = "AUROC") -> str:
    pairs = [pair for pair in found.pairs if name in (pair.first, pair.second)] if found else []
    tested = [pair for pair in pairs if not isnan(pair.holm["auroc"])]
    beaten = [_other(pair, name) for pair in tested if pair.holm["auroc"] < SIGNIFICANT and _lead(pair, name) > 0]
    # An equal AUROC that no patient moves has no test, and differs from nothing.
    equal = [pair for pair in pairs if pair not in tested and pair.tests["auroc"].standard_error == 0]
    rest = [_other(pair, name) for pair in [*tested, *equal] if _other(pair, name) not in beaten]
    untested = {_other(pair, name): pair.tests["auroc"].difference.reason for pair in pairs if pair not in tested}
    untested = {other: reason for other, reason in untested.items() if other not in rest}
    for names in found.uncompared if found else []:
        if name in names:
            untested[names[1] if names[0] == name else names[0]] = "tested under different splits"
    total, test = len(beaten) + len(rest) + len(untested), "paired tests, Holm-adjusted"
    if len(tested) == 1:
        told = say_p(tested[0].holm["auroc"])
        test = f"paired test, P {told}" if told[0] in "<>" else f"paired test, P = {told}"
    like = f"does not differ significantly from {_some(rest, total)}" if rest else ""
    said = []
    if beaten:
        tail = f", but {like}" if rest else ""
        said.append(f"Its {what} is significantly higher than {_some(beaten, total)}{tail} ({test}).")
    elif tested:
        said.append(f"Its {what} {like} ({test}).")
    if untested:
        why = {reason: [one for one in untested if untested[one] == reason] for reason in untested.values()}
        parts = [f"{_some(names, total)} ({reason})" for reason, names in why.items()]
        said.append(f"Its {what} could not be tested against {listed(parts)}.")
    return " ".join(said)


def _some(names: list[str], total: int) -> str:
    """What some of so many other configurations have: by name where they are few.

    Example:
        >>> _some(["A"], 3), _some(["A", "B"], 3)
        ('that of A', 'those of A and B')
        >>> _some(["A", "B", "C"], 3), _some(["A", "B", "C"], 4)
        ('that of any of the 3 other configurations', 'those of 3 of the 4 others')
    """
    if len(names) > NAMED and len(names) == total:
        return f"that of any of the {total} other configurations"
    those = "that of" if len(names) == 1 else "those of"
    return f"{those} {listed(names) if len(names) <= NAMED else f'{len(names)} of the {total} others'}"


def _say_leaks(inflations: list[Inflation], canaries: list[Canary]) -> str:
    parts = []
    points = [one.points for one in inflations if one.labels == "given" and not isnan(one.points)]
    if points:
        ends = " to ".join(dict.fromkeys((f"{min(points):+.1f}", f"{max(points):+.1f}")))
        parts.append(
            f"a split by image adds {ends} percentage points of per-slice balanced accuracy to a split by patient"
            f" (Yagis et al. 2021: {YAGIS_POINTS[0]} to {YAGIS_POINTS[1]} points of accuracy)"
        )
    sung = [one for one in canaries if one.auroc.is_defined]
    for verdict in dict.fromkeys(one.verdict for one in sung):
        those = [one for one in sung if one.verdict == verdict]
        if len({one.name for one in those}) <= NAMED:
            for name in dict.fromkeys(one.name for one in those):
                each = [f"a per-{one.level} AUROC of {one.auroc}" for one in those if one.name == name]
                parts.append(f"the negative control {name} has {listed(each)}, {verdict}")
        else:
            least, most = (end(one.auroc.value for one in those) for end in (min, max))
            parts.append(f"{len(those)} AUROCs of negative controls, {least:.2f} to {most:.2f}, {verdict}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _other(pair: Pair, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _lead(pair: Pair, name: str) -> float:
    value = pair.tests["auroc"].difference.value
    return value if pair.first == name else -value
