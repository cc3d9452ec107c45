"""What a study's own numbers say against taking its results at their face value."""

from math import inf
from operator import itemgetter

import polars as pl

from fistula.errors import count, say_class
from fistula.evidence.ranking.counting import even_auroc
from fistula.report.names import declared, listed, say_fact
from fistula.report.pooling import ranking
from fistula.report.results import Row
from fistula.report.sections.methods import is_fixed, validated
from fistula.report.study import Study

NAMED = 2  # configurations named in a sentence; more are counted
FEW = 30  # patients or slices of a class; with fewer, what one of them weighs is said
VALIDATED, FEW_VALIDATED = 20, 5  # patients of a validation set, and of its smallest class; with fewer, it is said
TELLING = 0.3  # distance from 0.5 of the AUROC of a fact that needs no image
HEAVY = 0.25  # share of a class's slices that one patient brings
# By how much an AUROC of slices rises once patients count the same: in simulated studies, seldom by chance, and mostly
# where hard patients have more slices, so that its interval is too narrow (`draw_unequal` of benchmarks/further.py).
UNEVEN = 0.1


def alike(rows: list[Row]) -> list[Row]:
    """Those among which the first is the highest: of splits that leak and others, those of its own kind."""
    return [row for row in rows if row.configuration.leaks == rows[0].configuration.leaks]


def say_limitations(study: Study, rows: list[Row], own: list[Row], *, is_ranked: bool, tested: bool) -> str:
    """One sentence; empty where there is nothing to say.

    The rows are of one class, those of the headline's configuration first, and no negative control's; `own` are those
    of the headline's configuration for every class.
    """
    parts, best = [], rows[0]
    by_design = [row.configuration.name for row in rows if row.configuration.leaky_by_design]
    if by_design:
        parts.append(f"{_those(by_design, len(rows))} tested under a split that leaks by design, not in new patients")
    for verdict in sorted({row.configuration.verdict for row in rows} - {""}):
        found = [row.configuration.name for row in rows if row.configuration.verdict == verdict]
        parts.append(f"{_those(found, len(rows))} tested under a split in which the audit found leaks ({verdict})")
    if len(alike(rows)) > 1 and is_ranked:
        parts.append(f"the highest of {len(alike(rows))} AUROCs is optimistically biased")
    sizes = [row.num[0] for row in alike(rows)]
    if min(sizes) < max(sizes):
        those = f"{best.level}s ({min(sizes)} to {max(sizes)} of them)"
        parts.append(f"not all configurations were tested in the same {those}")
    fewest, rarest = min(
        ((least, row) for row in own if (least := _fewest(row))), default=(FEW, best), key=itemgetter(0)
    )
    if fewest < FEW:
        rate = "sensitivity" if rarest.num[1] == fewest else "specificity"
        of = f" for {say_class(rarest.positive)}" if len(own) > 1 else ""
        parts.append(f"a single {best.level} accounts for {100 / fewest:.0f} percentage points of {rate}{of}")
    parts += dict.fromkeys(
        text for row in own for text in (*_heavy(study, row), *_uneven(row, len(own) > 1), *_alone(row))
    )
    sets = validated(study)
    if sets and not is_fixed(study) and (min(sets)[0] < VALIDATED or min(rare for _, rare in sets) < FEW_VALIDATED):
        rare = min(rare for _, rare in sets)
        few = f"{count(min(sets)[0], 'patient')}, {rare} of the smallest class"
        is_one = len(sets) == 1
        those = (
            "the threshold was chosen on a validation set of"
            if is_one
            else "thresholds were chosen on validation sets of as few as"
        )
        parts.append(f"{those} {few}")
    alone = {fact: value for one in study.certificates for fact, value in (one.get("alone") or {}).items()}
    given = declared(row.configuration.factors for row in rows)  # no confounders
    known = [fact for fact, value in alone.items() if value is not None and fact != "labelled slices"]
    above = _above_chance(best) if len(own) == 1 else inf
    far = min(TELLING, above)
    telling = [f for f in known if abs(alone[f] - 0.5) >= far and f not in given]
    for fact in telling:
        as_good = f", no lower than that of {best.configuration.name}" if abs(alone[fact] - 0.5) >= above else ""
        parts.append(
            f"{say_fact(fact)} alone has a per-patient AUROC of {alone[fact]:.2f}{_reversed(alone[fact])}{as_good}"
        )
    levels = [one.get("position") for one in study.certificates if best.level == "slice"]
    if levels := [value for value in levels if value is not None and abs(value - 0.5) >= TELLING]:
        place = max(levels, key=lambda value: abs(value - 0.5))
        told = f"{place:.2f}{_reversed(place)}"
        parts.append(f"the position of a slice in its stack alone has a per-slice AUROC of {told}")
    parts += _confounded(study, 2 * far)
    constant = [row for row in rows if any("constant" in text for text in row.configuration.warnings)]
    for row in constant[:NAMED]:
        said = next(text for text in row.configuration.warnings if "constant" in text)
        parts.append(f"{row.configuration.name}: {said}")
    if len(constant) > NAMED:
        more = len(constant) - NAMED
        parts.append(f"{more} more configuration{'s' if more > 1 else ''} made constant predictions")
    if not tested:
        sites = any(row.configuration.factors.get("split") == "site_holdout" for row in rows)
        untested = "no external cohort was tested"
        parts.append(f"one site was held out, but {untested}" if sites else untested)
    return f"Limitations: {'; '.join(parts)}." if parts else ""


def _fewest(row: Row) -> int:
    """Slices or patients of the class or of the rest, of which there are fewer."""
    total, positives = row.num
    return min(positives, total - positives)


def _above_chance(best: Row) -> float:
    """How far the per-patient AUROC lies above 0.5; infinite where it is not shown to do so."""
    area = best.estimates["auroc"]
    return area.value - 0.5 if best.level == "patient" and area.has_interval and area.low > 0.5 else inf


def _confounded(study: Study, least: float) -> list[str]:
    """How closely the class goes with what the audit warned of, such as the scanner, or with a V of `least` or more.

    Of two values that are as common, a V of 0.6 is an AUROC of 0.8.
    """
    pairs = [pair for one in study.certificates for pair in one.get("confounding") or []]
    pairs = [pair for pair in pairs if pair.get("is_warning") or (pair.get("cramers_v") or 0) >= least]
    found = {pair["between"][1]: pair["cramers_v"] for pair in pairs if pair["between"][0] == "label"}
    if not found:
        return []
    names = listed([say_fact(name).replace("_", " ") for name in found])
    return [
        f"the class is associated with {names} (Cramér's V{' of up to' * (len(found) > 1)} {max(found.values()):.2f})"
    ]


def _those(names: list[str], of: int) -> str:
    """Which configurations, with the verb.

    Example:
        >>> _those(["A"], 3), _those(["A", "B", "C"], 3), _those(["A", "B", "C"], 4)
        ('A was', 'every configuration was', '3 of 4 configurations were')
    """
    if len(names) == of:
        return "every configuration was"
    return (
        f"{len(names)} of {of} configurations were"
        if len(names) > NAMED
        else (f"{listed(names)} {'were' if len(names) > 1 else 'was'}")
    )


def _heavy(study: Study, row: Row) -> list[str]:
    """A patient who brings many of the slices of a class, where slices are judged."""
    found = []
    for label, name in ((1, row.positive), (0, study.rest(row.positive))) if row.level == "slice" else ():
        slices = row.rows.filter(pl.col("label") == label).unique("unit")
        most = slices.group_by("patient_key").len()["len"].max()
        if isinstance(most, int) and most > HEAVY * len(slices):
            found.append(f"a single patient contributes {most} of the {count(len(slices), f'{say_class(name)} slice')}")
    return found


def _uneven(row: Row, is_one_of_several: bool) -> list[str]:
    """That patients with more slices are harder to classify, for which the interval of an AUROC is too narrow."""
    area = row.estimates["auroc"]
    if row.level != "slice" or not area.is_defined or (even := even_auroc(*ranking(row.rows))) - area.value < UNEVEN:
        return []
    of = f" for {say_class(row.positive)}" if is_one_of_several else ""
    told = f"with every patient given the same weight, the per-slice AUROC{of} would be {even:.2f}"
    return [f"patients with more slices were harder to classify ({told}); per-slice 95% CIs are then too narrow"]


def _reversed(area: float) -> str:
    return f" ({1 - area:.2f} in reverse order)" if area < 0.5 else ""


def _alone(row: Row) -> list[str]:
    """How many rows meet none of the other class under their network, and so take no part in the AUROC."""
    both = pl.col("label").n_unique().over("run") > 1
    left_out = row.num[0] - row.rows.filter(both)["unit"].n_unique()
    if not left_out or not row.estimates["auroc"].is_defined:
        return []
    of, is_one = count(row.num[0], row.level), left_out == 1
    told = f"{left_out} of {of} {'is' if is_one else 'are'} not counted in the AUROC for {say_class(row.positive)}"
    return [f"{told}, since the networks that scored {'it' if is_one else 'them'} tested no other class"]
