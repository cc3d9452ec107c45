"""What more training patients bring: configurations that differ in nothing but how many they learned from."""

import json
from dataclasses import dataclass
from statistics import mean

from matplotlib.figure import Figure

from fistula.evidence.estimate import Estimate
from fistula.report.figures.drawing import SOFT, blank, look, share_axis
from fistula.report.names import TRAINED
from fistula.report.results import Row
from fistula.report.sections.comparisons import Comparisons
from fistula.report.wording import say_signed
from fistula.sweep.folder.run import WITHIN

KEY = "split.train_fraction"


@dataclass(frozen=True)
class Growth:
    """One configuration, trained on a rising number of patients."""

    name: str  # of the configuration, without the number; empty where the study has one alone
    positive: str
    patients: list[float]  # in training, mean over the runs, rising, ``(F,)``
    rows: list[Row]  # the results at each, ``(F,)``
    last: Estimate | None  # the largest number less the one before it; None where they cannot be compared

    @property
    def verdict(self) -> str:
        """In words, what the last step says of more patients."""
        few, many = (f"{number:.0f}" for number in self.patients[-2:])
        step = f"From {few} to {many} training patients, the AUROC"
        found = self.last
        if found is None or not found.has_interval:
            return f"{step} cannot be compared."
        interval = f"95% CI {say_signed(found.low)} to {say_signed(found.high)}"
        if found.low > 0:
            return (
                f"{step} rose by {found.value:.3f} ({interval}): the curve has not leveled off, and more patients "
                "like these can be expected to help."
            )
        if found.high < 0:
            return (
                f"{step} fell by {-found.value:.3f} ({interval}); more patients like these cannot be expected to help."
            )
        return (
            f"{step} does not differ significantly ({say_signed(found.value)}, {interval}): whether more patients like "
            f"these would help remains open; a gain of more than {found.high:.3f} by such a step is unlikely."
        )


def growths(rows: list[Row], comparisons: list[Comparisons], *, level: str) -> list[Growth]:
    """Find configurations that were trained on several fractions of the patients. The rows are those of no canary."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.level != level or any("train_patients" not in run.record for run in row.configuration.runs):
            continue
        identity = row.configuration.runs[0].record["identity"]
        alike = {key: value for key, value in identity.items() if key not in (*WITHIN, KEY)}
        key = json.dumps([row.positive, alike, row.configuration.factors], sort_keys=True, default=str)
        groups.setdefault(key, []).append(row)
    several = [sorted(group, key=_patients) for group in groups.values() if len({_patients(row) for row in group}) > 1]
    return [
        Growth(
            _common([row.configuration.name for row in group]) if len(several) > 1 else "",
            group[0].positive,
            [_patients(row) for row in group],
            group,
            _between(comparisons, group[-1], group[-2]),
        )
        for group in several
    ]


def _patients(row: Row) -> float:
    return mean(run.record["train_patients"] for run in row.configuration.runs)


def _common(names: list[str]) -> str:
    """What the names of configurations share."""
    return " · ".join(part for part in names[0].split(" · ") if not part.endswith(TRAINED))


def _between(comparisons: list[Comparisons], many: Row, few: Row) -> Estimate | None:
    """The difference in AUROC of two configurations, the first less the second, not corrected: it is one question."""
    for found in comparisons:
        for pair in found.pairs:
            names = (pair.first, pair.second)
            if found.positive == many.positive and set(names) == {many.configuration.name, few.configuration.name}:
                one = pair.tests["auroc"].at(0.05).difference
                if names[0] == many.configuration.name:
                    return one
                return Estimate(-one.value, -one.high, -one.low, one.method, one.reason)
    return None


def growth_figure(found: list[Growth]) -> Figure:
    """Draw the AUROC over the number of training patients, a line a configuration."""
    figure, axes = blank(2.9)
    for number, one in reversed(list(enumerate(found))):
        colour, line, width = look(number, len(found))
        areas = [row.estimates["auroc"] for row in one.rows]
        values = [area.value for area in areas]
        axes.plot(one.patients, values, "o", color=colour, linestyle=line, linewidth=width, label=one.name)
        for at, area in zip(one.patients, areas, strict=True):
            if area.has_interval:
                axes.plot([at, at], [area.low, area.high], color=colour, linewidth=0.9)
    axes.axhline(0.5, color=SOFT, linewidth=0.7)
    axes.set(xlabel="training patients, mean over the runs", ylabel="AUROC, 95% CI", xlim=(0, None))
    share_axis(axes, side="y")
    if len(found) > 1:
        axes.legend()
    return figure
