"""Write a study's report: pages that need nothing beside them, tables, figures, and the record of numbers."""

import shutil
import uuid
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from fistula import __version__
from fistula.errors import ConfigError
from fistula.evidence.standard import METRICS
from fistula.report import figures, methods, probability_figures
from fistula.report.comparisons import MEASURES
from fistula.report.contents import Contents, Settings, compute
from fistula.report.cross_checks import CHECKS, PAIR_CHECKS
from fistula.report.drawing import save
from fistula.report.guidelines import read_guidelines
from fistula.report.inflation import YAGIS_POINTS, YAGIS_RANDOM
from fistula.report.names import say_level
from fistula.report.paper import PER_CLASS
from fistula.report.pooling import POOLINGS, SCALINGS
from fistula.report.reading import reading_data
from fistula.report.record import NUMBERS, hash_files, to_json
from fistula.report.results import CALIBRATION, MORE, PREDICTIVE, seed_rows
from fistula.report.study import Study
from fistula.report.tables import TITLES, write_tables

PAGE = "index.html"
READING_ROOM = "reading.html"


def write_report(study: Study, settings: Settings, *, maps: str = "none") -> Path:
    """Write `report/` into the study's folder, in place of an earlier one, and give the path of its page.

    Args:
        study: With its finished runs.
        settings: That decide its numbers.
        maps: Whose saliency maps the reading room shows, one of `saliency_maps.WHICH`.

    Raises:
        ConfigError: If `report/` is there and is not a report.
        DataError: If stored predictions are not what they have to be.
    """
    target = study.folder / "report"
    if target.exists() and not (target / NUMBERS).is_file():
        raise ConfigError(target, "already exists and is not a report", remedy="Move it away")
    contents = compute(study, settings)
    made = datetime.now(UTC).isoformat(timespec="minutes")
    beside = target.with_name(f".report.{uuid.uuid4().hex[:8]}.partial")
    beside.mkdir()
    try:
        drawn = _draw(contents, beside)
        write_tables(beside, contents.rows, contents.comparisons, contents.participants)
        environment = Environment(
            loader=PackageLoader("fistula.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        page = environment.get_template(PAGE).render(**_names(contents), figures=drawn, made=made)
        (beside / PAGE).write_text(page, encoding="utf-8")
        room = environment.get_template(READING_ROOM).render(
            study=study, made=made, data=reading_data(study, first=_best(contents), maps=maps)
        )
        (beside / READING_ROOM).write_text(room, encoding="utf-8")
        record = to_json(contents, made=made, files=hash_files(beside))
        (beside / NUMBERS).write_text(record, encoding="utf-8")
        _replace(target, beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return target / PAGE


def _replace(target: Path, new: Path) -> None:
    """Put the new folder where the old one is; a reader finds one of them whole, at worst none for a moment."""
    old = target.with_name(f".report.{uuid.uuid4().hex[:8]}.old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _draw(contents: Contents, folder: Path) -> dict[str, Markup]:
    """Save every figure; give the SVG of each, by name. SVG of our own drawing is the only markup not escaped."""
    settings = contents.settings
    drawn: dict[str, tuple[Figure | None, str]] = {
        "losses": (figures.loss_curves(contents.study), "Loss by epoch, of training and validation, by configuration")
    }
    for number, positive in enumerate(contents.study.positives):
        slices = contents.rows_of(positive, "slice")
        both = [row for row in contents.rows if row.positive == positive]
        drawn |= {
            f"forest{number}": (figures.forest(both), "AUROC with interval, by configuration; as in the results table"),
            f"roc{number}": (figures.roc_overlay(slices), "ROC curves of all configurations, by slice"),
            f"bands{number}": (
                figures.roc_bands(slices, resamples=settings.resamples),
                "ROC curve of each configuration in its band over resampled patients",
            ),
            f"pr{number}": (probability_figures.precision_recall(slices), "Precision against recall, by slice"),
            f"reliability{number}": (probability_figures.reliability(slices), "Share of positives against mean score"),
            f"benefit{number}": (
                probability_figures.net_benefit(slices, prevalence=settings.prevalence),
                "Net benefit against threshold probability",
            ),
        }
    return {
        name: Markup(save(figure, folder, name, says=says))  # noqa: S704 (Matplotlib escapes what it writes)
        for name, (figure, says) in drawn.items()
        if figure is not None
    }


def _names(contents: Contents) -> dict[str, object]:
    """What the page's template is given."""
    slice_rows = {(row.configuration.name, row.positive): row for row in contents.rows if row.level == "slice"}
    first = contents.study.positives[0]
    return {
        "contents": contents,
        "study": contents.study,
        "settings": contents.settings,
        "metrics": METRICS,
        "more": [*MORE, *(PREDICTIVE if contents.settings.prevalence is not None else ())],
        "measures": MEASURES,
        "check_names": CHECKS,
        "pair_check_names": PAIR_CHECKS,
        "calibration": CALIBRATION,
        "titles": TITLES,
        "pooling": POOLINGS[contents.settings.pooling],
        "scaling": SCALINGS[contents.settings.scaling][0],
        "paper_pairs": [(paper, slice_rows[ours.name, first]) for paper, ours in contents.beside_the_paper],
        "paper_images": PER_CLASS,
        "yagis": (*YAGIS_POINTS, YAGIS_RANDOM),
        "splits": methods.splits(contents.study),
        "rules": methods.threshold_rules(contents.study),
        "choice": methods.say_choice(contents.study),
        "intensity": methods.say_intensity(contents.study.cohort.record.get("intensity")),
        "guidelines": read_guidelines(),
        "seed_rows": seed_rows,
        "say_level": say_level,
        "pvalue": _say_p,
        "signed": _say_signed,
        "version": __version__,
    }


def _best(contents: Contents) -> int:
    """Which configuration and class the reading room opens with: the highest AUROC by slice, an honest one if any."""
    ranked = [
        (not (row.configuration.is_canary or row.configuration.leaky_by_design), row.estimates["auroc"].value, -number)
        for number, row in enumerate(row for row in contents.rows if row.level == "slice")
        if row.estimates["auroc"].is_defined
    ]
    return -max(ranked)[2] if ranked else 0


def _say_signed(value: float) -> str:
    """A difference with its sign, the minus as wide as the plus."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _say_p(value: float) -> str:
    """A p-value as it is printed: never 0, and n/a where there is no test."""
    if isnan(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
