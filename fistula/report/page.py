"""Write a study's report: pages that need nothing beside them, tables, figures, and the record of numbers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fistula import __version__
from fistula.errors import ConfigError, count, say_class
from fistula.evidence.standard import METRICS
from fistula.folder import digests_of, whole_folder
from fistula.report import answer, wording
from fistula.report.contents import Contents, Settings, compute
from fistula.report.external import figures as outside_figures
from fistula.report.external.cohorts import Outside
from fistula.report.external.numbers import outside_lines
from fistula.report.figures.all_figures import draw
from fistula.report.figures.forest import axis_of
from fistula.report.figures.ranking import SHOWN
from fistula.report.names import declared, say_fact, say_level
from fistula.report.places.numbers import NEAR
from fistula.report.pooling import SCALINGS
from fistula.report.readers.given import Given
from fistula.report.reading_room.slices import reading_data
from fistula.report.record import NUMBERS, to_json
from fistula.report.results import Row, counts, seed_rows
from fistula.report.sections import methods
from fistula.report.sections.all_classes import ALL
from fistula.report.sections.guidelines import SOMETIMES, metrics_score, read_guidelines
from fistula.report.sections.inflation import YAGIS_POINTS, YAGIS_RANDOM
from fistula.report.sections.limitations import TELLING
from fistula.report.sections.mistakes import mistakes
from fistula.report.sections.paper import PER_CLASS
from fistula.report.sections.participants import SEXES, patient_flow
from fistula.report.study import Study
from fistula.report.tables import TITLES, write_csv, write_tables
from fistula.sweep.status import read_status
from fistula.viewer import page as viewer

PAGE = "index.html"
READING_ROOM = "reading.html"
FEW = 6  # misclassified patients on the page; more stand in errors.csv


@dataclass(frozen=True)
class CrossTable:
    """Reference standard (rows) against calls (columns), both in the order of `names`."""

    names: list[str]
    counts: list[list[int]]


def write_report(
    study: Study,
    settings: Settings,
    *,
    given: Given | None = None,
    maps: str = "none",
    device: str = "cpu",
    reload: float = 0,
) -> Path:
    """Write `report/` into the study's folder, in place of an earlier one, and give the path of its page.

    `maps` says whose saliency maps the reading room shows, one of `saliency_maps.WHICH`, and `reload` after how many
    seconds a browser reads the page anew; 0 is never.

    Raises:
        ConfigError: If `report/` is there and is not a report.
        DataError: If stored predictions are not what they have to be.
    """
    target = study.folder / "report"
    if target.exists() and not (target / NUMBERS).is_file():
        raise ConfigError(target, "already exists and is not a report", remedy="Move it away")
    contents = compute(study, settings, given)
    made = datetime.now(UTC).isoformat(timespec="minutes")
    names = _names(contents) | {"made": made, "reload": reload}
    with whole_folder(target, key="study", replace=True) as beside:
        drawn = draw(contents, beside)
        contents.given.write(beside)
        if contents.outside:
            write_csv(beside / "outside.csv", outside_lines(contents.outside, contents.outside_together))
        write_tables(beside, contents)
        write_csv(beside / "errors.csv", [one.as_line() for found in names["mistakes"].values() for one in found])
        page = viewer.template("report", PAGE).render(**names, figures=drawn)
        (beside / PAGE).write_text(page, encoding="utf-8")
        patients = [row for row in contents.rows if row.level == "patient"]
        first = study.configurations.index(contents.best) * len(study.positives)  # the view of the headline
        data = reading_data(study, patients, first=first, maps=maps, device=device)
        own = {"viewer": Markup(viewer.scripts()), "style": Markup(viewer.style())}  # noqa: S704 (our own)
        room = viewer.template("report", READING_ROOM).render(study=study, made=made, data=data, **own)
        (beside / READING_ROOM).write_text(room, encoding="utf-8")
        record = to_json(contents, made=made, files=digests_of(beside))
        (beside / NUMBERS).write_text(record, encoding="utf-8")
    return target / PAGE


def _names(contents: Contents) -> dict[str, Any]:
    """What the page's template is given."""
    study = contents.study
    by_slice = {(row.configuration.name, row.positive): row for row in contents.rows if row.level == "slice"}
    ranked = {positive: contents.ranked(positive) for positive in study.positives}
    best = {positive: contents.shown(positive) for positive in study.positives}
    other = "slice" if contents.primary == "patient" else "patient"
    first = study.positives[0]
    there = (contents.outside, contents.robustness, contents.readers, len(study.configurations) > 1 or contents.beside)
    present = {name for name, found in zip(SOMETIMES, there, strict=True) if found}
    sites = {site for external in contents.externals for site in external.patients["site"].drop_nulls()}
    return {
        "contents": contents,
        "study": study,
        "settings": contents.settings,
        "ranked": ranked,
        "further": contents.further,
        "best": best,
        "others": {positive: contents.ranked(positive, other) for positive in study.positives},
        "tables": {positive: _confusion(study, row) for positive, row in best.items()},
        "together": [
            CrossTable([say_class(name) for name in study.cohort.classes], one.counts.tolist())
            for one in contents.all_classes[:1]
        ],
        "mistakes": {positive: mistakes(study, row) for positive, row in best.items()},
        "patient_flow": patient_flow(study, best[first], next((one.counts for one in contents.all_classes), None)),
        "progress": {run.name: wording.say_progress(run) for run in read_status(study.folder)},
        "shown": SHOWN,
        "few": FEW,
        "say_fact": say_fact,
        "declared": declared(one.factors for one in study.configurations),
        "telling": TELLING,
        "counted": _counted,
        "say_num": lambda row: _say_num(study, row),
        "say_ci": wording.say_ci,
        "say_line": wording.say_line,
        "say_share": wording.say_share,
        "say_thresholds": lambda row: _say_thresholds(study, row),
        "metrics": METRICS,
        "titles": TITLES,
        "scaling": SCALINGS[contents.settings.scaling][0],
        "paper_pairs": [(paper, by_slice[ours.name, first]) for paper, ours in contents.beside_the_paper],
        "paper_images": PER_CLASS,
        "outside_figures": outside_figures,
        "yagis": (*YAGIS_POINTS, YAGIS_RANDOM),
        "methods": methods,
        "count": count,
        "guidelines": read_guidelines(present),
        "score": metrics_score(study, present, sites=sites),
        "seed_rows": seed_rows,
        "axis_of": axis_of,
        "every_class": ALL,
        "say_class": say_class,
        "say_level": say_level,
        "sexes": SEXES,
        "pvalue": wording.say_p,
        "signed": wording.say_signed,
        "say_times": wording.say_times,
        "near": NEAR,
        "version": __version__,
    }


def _counted(row: Row | Outside) -> dict[str, str]:
    """Numerator and denominator of sensitivity and specificity, as they are printed beside them."""
    hits, sick, right, well = counts(row.rows)
    return {"sensitivity": f"{hits}/{sick}", "specificity": f"{right}/{well}"}


def _confusion(study: Study, row: Row) -> CrossTable:
    """The 2 x 2 table of a row's decisions, the class first."""
    hits, sick, right, well = counts(row.rows)
    names = [say_class(name) for name in (row.positive, study.rest(row.positive))]
    return CrossTable(names, [[hits, sick - hits], [well - right, right]])


def _say_num(study: Study, row: Row) -> str:
    total, positives = row.num
    of = f" of {count(row.rows['patient_key'].n_unique(), 'patient')}" if row.level == "slice" else ""
    positive, rest = (say_class(name) for name in (row.positive, study.rest(row.positive)))
    return f"{count(total, row.level)}{of}, {positives} {positive} and {total - positives} {rest}"


def _say_thresholds(study: Study, row: Row) -> str:
    runs = row.configuration.runs
    return answer.say_thresholds([study.threshold(run, row.positive, level=row.level) for run in runs])
