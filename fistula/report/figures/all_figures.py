"""Every figure of a report, drawn and saved."""

from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from fistula.report.contents import Contents
from fistula.report.external import figures as outside_figures
from fistula.report.figures.drawing import save, styled
from fistula.report.figures.forest import forest
from fistula.report.figures.probability import net_benefit, reliability
from fistula.report.figures.ranking import SHOWN, loss_curves, readers_figure, roc, roc_of_classes
from fistula.report.places.figure import where_figure
from fistula.report.sections.growth import growth_figure


@styled
def draw(contents: Contents, folder: Path) -> dict[str, Markup]:
    """Save every figure; give the SVG of each, by name. SVG of our own drawing is the only markup not escaped."""
    study, settings = contents.study, contents.settings
    drawn: dict[str, tuple[Figure | None, str]] = outside_figures.drawn(contents)
    if contents.growths:
        drawn["growth"] = (growth_figure(contents.growths), "AUROC against the number of training patients")
    if contents.where:
        drawn["where"] = (where_figure(contents.where), "Localization distances, FROC curves, and clock errors")
    if contents.robustness:
        drawn["shifts"] = (
            outside_figures.shifts_figure(contents.robustness),
            "AUROC and abstentions against strength of alteration",
        )
    if contents.readers:
        drawn["readers"] = (readers_figure(contents.readers), "ROC curves of the readers and of the model")
    for number, positive in enumerate(study.positives):
        rows, best = contents.ranked(positive), contents.shown(positive)
        if number == 0:
            losses = loss_curves([row.configuration for row in rows])
            drawn["losses"] = (losses, "Loss by epoch on training and validation data, by configuration")
        drawn |= {
            f"roc{number}": (
                roc([best, *(row for row in rows if row is not best)], resamples=settings.resamples),
                "ROC curves of the configurations",
            ),
            f"reliability{number}": (reliability(best), "Observed against predicted"),
            f"benefit{number}": (
                net_benefit(best, prevalence=settings.prevalence),
                "Net benefit against threshold probability",
            ),
        }
        other = contents.beside if (number, contents.primary) == (0, "patient") else None
        if len(rows) > 1 or other:
            areas = [(row.configuration.name, row.estimates["auroc"]) for row in rows[:SHOWN]]
            areas += [(other.title, other.estimates["auroc"])] if other else []
            plot = forest(areas, other=other is not None)
            drawn[f"forest{number}"] = (plot, "AUROC with 95% CI of each configuration")
    if together := contents.all_classes[:SHOWN]:
        first = contents.best
        curves = [next(row for row in contents.ranked(name) if row.configuration is first) for name in study.positives]
        drawn["classes"] = (roc_of_classes(curves), "ROC curves of each class against the rest")
        plot = forest([(one.configuration.name, one.auroc) for one in together])
        drawn["forest"] = (plot, "Macro AUROC with 95% CI of each configuration")
    return {
        name: Markup(save(figure, folder, name, says=says))  # noqa: S704 (Matplotlib escapes what it writes)
        for name, (figure, says) in drawn.items()
        if figure is not None
    }
