"""The figures of a report, each drawn once and saved as SVG for the page, PDF for print and PNG for slides."""

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from fistula.evidence.roc import roc_curve
from fistula.report.results import Row
from fistula.report.study import Study

# Distinct for colour-blind readers and in grey print (Okabe and Ito 2008); line styles tell the rest apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
STYLES = ("-", "--", ":", "-.")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "svg.hashsalt": "fistula",  # the same figure is the same file
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def roc_overlay(study: Study, positive: str) -> Figure:
    """ROC curves by slice of every configuration, with the operating point of each as a dot."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.7)
        for number, configuration in enumerate(study.configurations):
            pooled = configuration.pooled(study.cohort.classes, positive)
            colour, style = _look(number)
            rates, sensitivities, _ = roc_curve(pooled.labels, pooled.scores)
            axes.plot(rates, sensitivities, color=colour, linestyle=style, linewidth=1.4, label=configuration.name)
            positives = pooled.labels == 1
            point = pooled.called[~positives].mean(), pooled.called[positives].mean()
            axes.plot(*point, "o", color=colour, markersize=5)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        figure.legend(loc="outside right center")
    return figure


def forest(rows: list[Row], metric: str = "auroc") -> Figure:
    """One metric of every configuration with its interval, by patient and by slice."""
    names = list(dict.fromkeys(row.configuration.name for row in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        for row in rows:
            estimate = row.estimates[metric]
            if not estimate.is_defined:
                continue
            by_patient = row.level == "patient"
            height = names.index(row.configuration.name) + (0.14 if by_patient else -0.14)
            colour = COLOURS[0] if by_patient else COLOURS[1]
            if estimate.has_interval:
                axes.plot([estimate.low, estimate.high], [height, height], color=colour, linewidth=1.4)
            axes.plot(estimate.value, height, "o" if by_patient else "s", color=colour, markersize=5)
        axes.axvline(0.5, color="#999999", linewidth=0.7)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(min(0.3, axes.get_xlim()[0]), 1.01)
        axes.set_xlabel("AUROC, 95 % interval clustered by patient")
        axes.plot([], [], "o-", color=COLOURS[0], label="by patient")
        axes.plot([], [], "s-", color=COLOURS[1], label="by slice")
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def loss_curves(study: Study) -> Figure:
    """Training and validation loss of every run, a panel for each configuration."""
    columns = min(4, len(study.configurations))
    lines = -(-len(study.configurations) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.4 + 1.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for panel, configuration in zip(panels, study.configurations, strict=False):
            for run in configuration.runs:
                history = run.history
                epochs = history["epoch"] + 1
                panel.plot(epochs, history["train/loss"], color=COLOURS[0], linewidth=1)
                panel.plot(epochs, history["val/loss"], color=COLOURS[1], linewidth=1, linestyle="--")
                best = run.record["best_epoch"]
                panel.plot(best + 1, history["val/loss"][best], "o", color=COLOURS[1], markersize=4)
            panel.set_title(configuration.name.replace(" · ", " ·\n", 1), fontsize=8)
            panel.set_yscale("log")
            panel.xaxis.get_major_locator().set_params(integer=True)
        for panel in panels[len(study.configurations) :]:
            panel.set_visible(False)
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("cross-entropy", fontsize=9)
        panels[0].plot([], [], color=COLOURS[0], label="training")
        panels[0].plot(
            [], [], color=COLOURS[1], linestyle="--", marker="o", markersize=4, label="validation (dot: scored)"
        )
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def save(figure: Figure, folder: Path, name: str) -> str:
    """Save a figure in three formats and give its SVG, without the XML prologue, for the page."""
    with mpl.rc_context(STYLE):
        # Without the date, which would make the same figure another file at every call.
        figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        figure.savefig(folder / f"{name}.png", dpi=200)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    (folder / f"{name}.svg").write_text(svg)
    # Identifiers are unique within a figure only; several stand on one page.
    inline = svg[svg.index("<svg") :]
    return inline.replace('id="', f'id="{name}-').replace('"#', f'"#{name}-').replace("url(#", f"url(#{name}-")


def _look(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
