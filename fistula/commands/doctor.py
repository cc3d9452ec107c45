"""`fistula doctor`: what a folder holds, what would be kept, what refused, and what is suspicious."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

import polars as pl
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fistula.cohort.look.early import early_warnings, unit_warnings
from fistula.cohort.look.examine import file_records, outcomes, series_table, suspicions, with_decoding
from fistula.cohort.look.trial import template_lines, trial
from fistula.commands.ingest import labels_of
from fistula.dicom.drawn.drawings import Drawing
from fistula.dicom.identity import read_pseudonyms
from fistula.dicom.look import Look
from fistula.errors import ConfigError, FistulaError, as_typed, count, printable
from fistula.folder import refuse_existing, refuse_inside, write_whole
from fistula.labels.drawn.drawings import drawings_below
from fistula.labels.drawn.wanted import WORDS
from fistula.labels.folders import FOLDERS
from fistula.labels.tables.lines import Labels
from fistula.source.choose import Policies
from fistula.source.flow import wide_console
from fistula.source.intensity import Percentile
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey, survey_source
from fistula.source.workers import Workers

MOST_KINDS = 60
MOST_NARROW = 15  # of which each takes several lines
TABLES = (".csv", ".tsv", ".txt", ".xlsx")
ALIKE = 0.8  # of two names of which one is hardly meant for another table
# Options that ingest has as well.
CHOOSING = (
    "keep", "missing=", "other_frame=", "patient=", "negatives=", "labels.level=", "classes=", "columns.",
    "other_columns=",
)  # fmt: skip
BETWEEN = "mm / between"
HEADINGS = (
    "series", "patients", "slices", "files", "scanner", "image type", "description", "image", "matrix",
    BETWEEN, "syntax", "keep rules", "first file",
)  # fmt: skip
UNKNOWN = ("", "-", "- / -")  # cells that a narrow terminal leaves out
NARROW = 140  # columns of a terminal, below which all but the last two headings share a cell


def run(cfg: DictConfig) -> None:
    """Read headers (and, with `decode`, pixels), print tables, and write what is named."""
    if cfg.json is not None:
        refuse_existing(Path(str(cfg.json)), key="json")
        refuse_inside(Path(str(cfg.json)), cfg.source, key="json")
        if not Path(str(cfg.json)).parent.is_dir():
            raise ConfigError("json", "must be in an existing folder", found=cfg.json)
    keep: KeepRules = instantiate(cfg.keep, _convert_="all")
    patient = PatientRule(cfg.patient)
    # What cannot be read has its own table.
    policies = Policies(unreadable="exclude", negatives=cfg.negatives, missing=cfg.missing, other_frame=cfg.other_frame)
    look = Look(
        read_pseudonyms(create=False), keep.description, cfg.max_object_mb, cfg.seconds_per_file, keep.described
    )
    workers = Workers(cfg.workers.count, cfg.workers.backend)
    given = _given(cfg, keep, look, policies)
    table = given if isinstance(given, Labels) else None
    survey = survey_source(
        Path(str(cfg.source)), look, workers, kind=table.kind if table else None, named=table.paths if table else ()
    )
    rules = keep if survey.kind == "dicom" else None
    if cfg.decode and rules:
        survey = with_decoding(survey, look, workers)
    console = wide_console()
    _print_series(console, survey, rules, look)
    _print_rest(console, survey)
    _print_segments(console, survey, look)
    labels, missing = table, ""
    try:
        labels = given(survey) if callable(given) else table
    except FistulaError as error:
        missing = str(error)
    for sentence in suspicions(survey, labels=labels, look=look):
        console.print(f"suspicious: {sentence}", style="yellow", soft_wrap=True, markup=False)
    if cfg.json is not None:
        records = file_records(survey, look, identifiers=cfg.identifiers)
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        write_whole(Path(str(cfg.json)), f"[\n{lines}\n]\n")
    if survey.images.is_empty():
        return
    if rules is None and labels is None and not patient.is_of_path:
        print(
            f"{survey.kind} name no patients: labels need a column patient_id, or ingest patient=folder:1 or a pattern"
        )
    slices, why, options = trial(survey, rules, look, labels=labels, policies=policies, patient=patient)
    why = missing or why
    are_known = rules is not None or patient.is_of_path or labels is not None  # whose the images are
    units = unit_warnings(slices, Percentile(0.5, 99.5))  # which ingest takes unless told otherwise
    early = early_warnings(slices, labels.classes if labels else ()) if are_known else []
    for sentence in [*early, *units]:
        console.print(f"caution: {sentence}", style="yellow", soft_wrap=True, markup=False)
    if why:
        console.print(f"ingest would stop: {why}", style="red", soft_wrap=True, markup=False)
    if options:
        print("options that fit these data:", *options)
    elif not why:
        if cfg.labels.file is not None and given is None:
            _write_template(Path(str(cfg.labels.file)), survey, slices, look)
        table_there = str(cfg.labels.file or _table_there(Path(str(cfg.source))))
        source, *chosen = _next(cfg, table_there)
        if cfg.labels.file is None and not Path(table_there).exists():
            kept = [word for word in chosen if word.strip('"').startswith("keep")]
            print("without labels: fistula label", source, *kept)
        if units and (slices["modality"] == "CT").all():
            chosen.insert(-1, "intensity=window")
        print("next: fistula ingest", source, *chosen)


def _next(cfg: DictConfig, table: str) -> list[str]:
    """The options of an ingest that chooses as this command did."""
    chosen = [word for word in HydraConfig.get().overrides.task if word.startswith(CHOOSING)]
    words = [f"source={cfg.source}", f"labels={table}", *chosen, "out=data/cohort"]
    return [as_typed(word) for word in words]


def _table_there(source: Path) -> str:
    """The table that lies beside the images, if there is one alone; labels.csv otherwise."""
    usual = "labels.csv"
    if Path(usual).exists() or not source.is_dir():
        return usual
    found = [one for one in source.iterdir() if one.suffix.lower() in TABLES and one.suffix.lower() != ".txt"]
    return str(found[0]) if len(found) == 1 else usual


def _write_template(path: Path, survey: Survey, slices: pl.DataFrame, look: Look) -> None:
    if not path.absolute().parent.is_dir():
        raise ConfigError("labels", "must be in an existing folder", found=path)
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(template_lines(survey, slices, look))
    write_whole(path, text.getvalue())
    print(f"wrote {path}: fill in the labels; an empty cell is no label")


def _refuse_misspelt(path: Path) -> None:
    """Raise ConfigError where a table of nearly this name is there: it is meant, and none is to be made."""
    beside = path.absolute().parent
    names = {one.stem.lower(): one.name for one in beside.glob("*") if one.suffix.lower() in TABLES}
    if alike := get_close_matches(path.stem.lower(), names, n=1, cutoff=ALIKE):
        remedy = f"Did you mean {path.with_name(names[alike[0]])}? A new table needs a name that differs more"
        raise ConfigError(f"labels={path}", "does not exist", remedy=remedy)


def _given(
    cfg: DictConfig, keep: KeepRules, look: Look, policies: Policies
) -> Labels | Callable[[Survey], Labels] | None:
    """The labels of the table or word that is named; None where the table is still to be written."""
    word = cfg.labels.file
    is_there = isinstance(word, ListConfig) or "*" in str(word) or Path(str(word)).exists()
    if word is None or not (str(word) in (*WORDS, FOLDERS) or is_there):
        if word is not None:
            _refuse_misspelt(Path(str(word)))
        return None
    return labels_of(cfg, keep, look, policies, negatives="rest")  # one of positive images alone is looked at too


def _print_segments(console: Console, survey: Survey, look: Look) -> None:
    """What is drawn on images, for labels=masks and labels=points."""
    for word in WORDS:
        segments: Counter[str] = Counter()
        for found in drawings_below(survey, word, look=look):
            if isinstance(found.drawing, Drawing):
                drawn = found.drawing.segments or found.drawing.points
                segments.update(", ".join(filter(None, (one.label, *one.names))) for one in drawn)
            else:
                segments[f"{found.name} cannot be read: {found.drawing.reason}"] += 1
        if segments:
            table = _table(f"labels={word}", ("segment" if word == "masks" else "point", "files"))
            for name, number in segments.most_common(MOST_KINDS):
                table.add_row(Text(printable(name)), str(number))
            console.print(table)


def _print_series(console: Console, survey: Survey, keep: KeepRules | None, look: Look) -> None:
    kinds = series_table(survey, keep, look)
    if kinds.is_empty():
        console.print("no image")
        return
    is_narrow = console.width < NARROW
    most = MOST_NARROW if is_narrow else MOST_KINDS
    rows = [["-" if cell is None else printable(cell) for cell in row] for row in kinds.head(most).iter_rows()]
    headings: tuple[str, ...] = HEADINGS
    if is_narrow:
        words = [
            [_told(name, cell) for name, cell in zip(HEADINGS, row[:-2], strict=False) if cell not in UNKNOWN]
            for row in rows
        ]
        rows = [["; ".join(told), *row[-2:]] for told, row in zip(words, rows, strict=True)]
        headings = ("images", *HEADINGS[-2:])
    table = _table(f"{kinds['series'].sum()} series and volumes of images", headings)
    for row in rows:
        table.add_row(*map(Text, row), end_section=len(headings) < len(HEADINGS))
    console.print(table)
    if len(kinds) > most:
        wider = f"; a terminal of {NARROW} columns shows more" if is_narrow else ""
        rest = f"... and {len(kinds) - most} more kinds of series (json=FILE lists every file{wider})"
        console.print(rest, soft_wrap=True, highlight=False)
    for why, slices in kinds.group_by("why", maintain_order=True).agg(pl.col("slices").sum()).iter_rows():
        console.print(f"keep rules: {why}: {count(slices, 'slice')}", markup=False, soft_wrap=True)


def _told(heading: str, cell: str) -> str:
    """A cell of the wide table in words: its heading, and its value."""
    if heading != BETWEEN:
        return f"{heading} {cell}"
    pixel, _, gap = cell.partition(" / ")
    parts = ["" if pixel == "-" else f"pixels {pixel} mm", "" if gap == "-" else f"slices {gap} mm apart"]
    return ", ".join(filter(None, parts))


def _print_rest(console: Console, survey: Survey) -> None:
    rest = outcomes(survey)
    if not rest:
        return
    table = _table("no image", ("outcome", "files", "why", "what to do", "first file"))
    for outcome, reason, remedy, number, first in rest:
        table.add_row(outcome, str(number), Text(reason), Text(remedy or ""), Text(printable(first)))
    console.print(table)


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
