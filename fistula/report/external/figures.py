"""Figures of external cohorts (ROC curves, reliability and net benefit, inside and outside), and of shifts."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fistula.evidence.probability.calibration import reliability_curve
from fistula.evidence.probability.decision import decision_curve
from fistula.evidence.ranking.roc import mean_roc_curve, roc_curve
from fistula.report.contents import Contents
from fistula.report.external.cohorts import Outside
from fistula.report.external.shifts import Robustness
from fistula.report.figures.drawing import CALIBRATION, COLOURS, INK, REST, ROC, SOFT, WIDTH, panels, square
from fistula.report.figures.probability import BINS, THRESHOLDS, compare_with_all


def drawn(contents: Contents) -> dict[str, tuple[Figure | None, str]]:
    """A figure of three panels for each external cohort and class, at the level that is told in full, by its name."""
    full = [one for one in contents.outside if is_told(one, contents.primary)]
    return {
        figure_name(contents, one): (_figure(one, prevalence=contents.settings.prevalence), f"{one.external.name}: ROC "
        "curve, calibration and net benefit, internal and external")
        for one in full
        if 0 < one.num[1] < one.num[0]
    }  # fmt: skip


def is_told(one: Outside, primary: str) -> bool:
    """Whether it is at the level that is told in full."""
    return one.level == primary or one.external.predictions["slice_key"].null_count() > 0


def figure_name(contents: Contents, one: Outside) -> str:
    """Of its files, which may hold no letter of a cohort's name."""
    return f"outside{contents.externals.index(one.external)}-{contents.study.positives.index(one.positive)}"


def _figure(one: Outside, *, prevalence: float | None) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
    ranks, chances, benefit = figure.subplots(1, 3)
    _roc(ranks, one)
    _reliability(chances, one)
    _benefit(benefit, one, prevalence)
    figure.legend(*ranks.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _roc(axes: Axes, one: Outside) -> None:
    square(axes, *ROC)
    inside = (one.inside.rows[name].to_numpy() for name in ("label", "score", "run"))
    axes.plot(
        *mean_roc_curve(*inside), color=COLOURS[0], linewidth=1.3, linestyle="--", label="internal, single networks"
    )
    labels, called = one.rows["label"].to_numpy(), one.rows["called"].to_numpy()
    axes.plot(*roc_curve(labels, one.rows["score"].to_numpy())[:2], color=COLOURS[1], linewidth=2.2,
              label=f"{one.external.name}, ensemble")  # fmt: skip
    axes.plot(called[labels == 0].mean(), called[labels == 1].mean(), "o", color=COLOURS[1], markeredgecolor="white")


def _reliability(axes: Axes, one: Outside) -> None:
    square(axes, *CALIBRATION)
    for rows, colour, mark in ((one.inside.rows, COLOURS[0], "s--"), (one.rows, COLOURS[1], "o-")):
        if not rows["calibrated"].has_nulls():
            curve = reliability_curve(rows["label"].to_numpy(), rows["calibrated"].to_numpy(), bins=BINS)
            axes.plot(curve.score, curve.rate, mark, color=colour, markersize=4.5, linewidth=1.3)


def _benefit(axes: Axes, one: Outside, prevalence: float | None) -> None:
    inside = float(one.inside.rows["label"].to_numpy().mean())
    why = "n/a: scores could\nnot be calibrated" if one.rows["calibrated"].has_nulls() else ""
    if prevalence is not None and not 0 < inside < 1:
        why = "n/a: a class is missing\nfrom the study's test set"
    if why:
        axes.text(0.5, 0.5, why, ha="center", va="center", color=INK)
        axes.set_axis_off()
        return
    # Net benefit depends on the prevalence: the internal curve is drawn at that of the external cohort, with the
    # probabilities as given. At a stated prevalence those of both are moved from where they were calibrated.
    share = float(one.rows["label"].to_numpy().mean()) if prevalence is None else prevalence
    prior = share if prevalence is None else inside
    for rows, colour, line, width in (
        (one.inside.rows, COLOURS[0], "--", 1.3), (one.rows, COLOURS[1], "-", 2.2),
    ):  # fmt: skip
        if not rows["calibrated"].has_nulls():
            given = (rows[name].to_numpy() for name in ("label", "calibrated", "patient_key"))
            curve = decision_curve(*given, thresholds=THRESHOLDS, prevalence=share, prior=prior)
            axes.fill_between(THRESHOLDS, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(THRESHOLDS, curve.model, color=colour, linestyle=line, linewidth=width)
    top = compare_with_all(axes, curve.everyone, room=1.15)
    axes.annotate("treat all", (0.02, top), xytext=(12, 2), textcoords="offset points", fontsize=8)


def shifts_figure(found: Robustness) -> Figure:
    """AUROC and abstentions over the strength of each shift, a panel each."""
    names = list(found.amounts)
    figure, grid = panels(names, height=2.1)
    for axes, name in zip(grid, names, strict=True):
        steps = found.of(name)
        at = [step.strength for step in steps]
        for scanner in steps[0].by_scanner:
            line = [step.by_scanner[scanner].value if scanner in step.by_scanner else float("nan") for step in steps]
            axes.plot(at, line, color=REST, linewidth=0.9)
        axes.axhline(0.5, color=SOFT, linewidth=0.7)
        axes.plot(at, [step.auroc.value for step in steps], "o-", color=COLOURS[0], markersize=4)
        for step in steps:
            if step.auroc.has_interval:
                axes.plot([step.strength] * 2, [step.auroc.low, step.auroc.high], color=COLOURS[0], linewidth=0.8)
        axes.plot(at, [step.abstained for step in steps], "s--", color=COLOURS[1], markersize=3.5)
        axes.set_xticks([0, 1, 2, 3])
        axes.set_ylim(-0.03, 1.03)
    figure.supxlabel("strength", fontsize=9)
    grid[0].plot([], [], "o-", color=COLOURS[0], label="AUROC, 95% CI")
    grid[0].plot([], [], "s--", color=COLOURS[1], label="proportion abstained")
    if found.steps[0].by_scanner:
        grid[0].plot([], [], color=REST, label="AUROC of one scanner")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
