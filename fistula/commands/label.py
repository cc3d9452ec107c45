"""`fistula label`: pages, or a server on this machine, on which a radiologist labels slices."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from fistula.dicom.identity import read_pseudonyms
from fistula.dicom.look import Look
from fistula.errors import ConfigError, DataError, as_typed, classes_as_typed, count, refuse_other, refuse_outside
from fistula.folder import refuse_inside, whole_folder
from fistula.labels.pages.answers import Answers
from fistula.labels.pages.desk import Desk, open_desk
from fistula.labels.pages.spool import Spool, mark_asked
from fistula.labels.pages.stacks import Shown, find_stacks, read_patient
from fistula.labels.pages.write import Question, page_text, read_all, write_pages, write_readings
from fistula.labels.readers.reading import Panel
from fistula.labels.tables.page_table import columns_of
from fistula.labels.tables.spreadsheet import Naming, read_table
from fistula.source.flow import Flow
from fistula.source.patients import PatientRule
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey, survey_source
from fistula.source.workers import Workers
from fistula.viewer.images import BITS, QUALITIES
from fistula.viewer.page import as_json


def run(cfg: DictConfig) -> None:
    """Write pages, or serve one until interrupted."""
    reader = "" if cfg.reader is None else str(cfg.reader)
    question = Question(
        [str(name) for name in cfg.classes or []], cfg.level, cfg.question, reader, cfg.seed, cfg.repeat,
        [str(name) for name in cfg.points or []],
    )  # fmt: skip
    refuse_other("bits", cfg.bits, BITS)
    ranges = {"port": (0, 65535), "seed": (0, 2**32 - 1), "washout": (0, 104), "page_mb": (1, 500)}
    for key, (low, high) in ranges.items():  # of a page: browsers open no larger one well
        refuse_outside(key, cfg[key], low, high)
    panel = read_panel(cfg)
    asked = None if cfg.asked is None else read_asked(Path(str(cfg.asked)), question.classes)
    if asked is not None:
        question = replace(question, part=sha256("\n".join(sorted(asked)).encode()).hexdigest()[:12])
    keep = instantiate(cfg.keep, _convert_="all")
    beside = [_keep(name, keep) for name in cfg.beside or []]
    patient = PatientRule(cfg.patient)
    if cfg.patient in ("column", "joined"):
        raise ConfigError("patient", "must not depend on a table: a label page has none", found=cfg.patient)
    # The cohort's slices are to have the same pseudonyms: ingest finds them by these.
    look = Look(read_pseudonyms(create=True), keep.description, cfg.max_object_mb, cfg.seconds_per_file, keep.described)
    workers = Workers(cfg.workers.count, cfg.workers.backend)
    flow, shown, out = Flow(), Shown(cfg.bits, look, None if cfg.serve else cfg.page_mb), Path(str(cfg.out))
    refuse_inside(out, cfg.source)
    survey = survey_source(Path(str(cfg.source)), look, workers, kind=None)
    is_dicom = survey.kind == "dicom"  # the keep rules are of its headers
    table = find_stacks(survey, keep if is_dicom else None, look, flow, beside if is_dicom else (), patient)
    if asked is not None:
        table = _of_patients(table, asked, cfg.asked)
    aids: dict[str, Any] = {}
    if cfg.aid is not None:
        table, aids = _aided(table, Path(str(cfg.aid)))
    typed = HydraConfig.get().overrides.task
    if question.marks and not any(word.startswith("points=") for word in typed):
        print(f"points to mark: {', '.join(question.marks)} (points=[] asks for none, points=[lesion] for another)")
    if cfg.serve:
        _serve(table, survey, shown, question, asked, out, cfg.port)
        return
    with whole_folder(out) as folder:
        read = read_all(table, survey, shown, workers)
        if panel is None:
            pages, spool = write_pages(folder, read, question, asked=asked, page_mb=cfg.page_mb)
        else:
            pages, spool = write_readings(folder, read, question, panel, aids=aids, page_mb=cfg.page_mb)
        sizes = [page.stat().st_size / 1e6 for page in pages]
    left_out = sum((Counter(step["excluded"]) for step in flow.steps), Counter[str]()) + spool.reasons
    for reason, number in left_out.most_common():
        print(f"excluded: {reason}: {number}")
    first, others = (len(table.filter(rows)) for rows in (pl.col("pane") == 0, pl.col("pane") > 0))
    about = "" if asked is None else f"asked about {len(asked)} of "
    shown_beside = f", {others} more beside" if beside else ""
    patients = table["patient_key"].n_unique()
    print(f"{about}{count(first, 'slice')} of {count(patients, 'patient')}{shown_beside}; {_grey(cfg.bits)}")
    for page, size in zip(pages, sizes, strict=True):
        print(f"open {out / page.name} in a browser ({size:.1f} MB)")
    _say_large(spool, cfg.page_mb)
    if question.question == "score":
        study = cfg.aid or "DIR"
        print(f'next: fistula report {as_typed(f"study={study}")} "readers=readings-*.csv"')
        return
    source, classes = as_typed(f"source={cfg.source}"), classes_as_typed(question.classes)
    if asked is not None:
        print("next: fistula agree with the same tables and adjudicated=labels-READER-DATE.csv out=agreed")
        return
    # What decided here which images are whose, ingest has to be told as well.
    chosen = [word for word in typed if word.startswith(("keep=", "keep."))]
    chosen += ["labels.level=patient"] if question.level == "patient" else []
    chosen += [f"patient={cfg.patient}"] if cfg.patient != "compared" else []
    if not is_dicom and cfg.patient == "compared":
        print('WHOSE, below: folder:1, the first folder below the source, or a pattern such as "(?P<patient>[^_]+)_"')
        chosen += ["patient=WHOSE"]
    given = "labels=labels-READER-DATE.csv" if len(pages) == 1 else as_typed("labels=labels-READER-*.csv")
    print(f"next: fistula ingest {source} {given} {classes}", *map(as_typed, chosen), "out=data/cohort")


def read_panel(cfg: DictConfig) -> Panel | None:
    """Who reads in a reader study; None where none is planned, ConfigError if a key does not go with the others."""
    if not cfg.readers:
        if cfg.aid is not None:
            raise ConfigError("aid", "needs readers", remedy="For example readers=[AB,CD,EF]")
        return None
    others = {"question": "score", "reader": None, "asked": None, "serve": False, "repeat": 0}
    for key, value in others.items():
        if cfg[key] != value:
            wanted = "null" if value is None else str(value).lower()
            raise ConfigError(key, f"must be {wanted} where readers= plans a reader study", found=cfg[key])
    return Panel([str(name) for name in cfg.readers], cfg.aid is not None, float(cfg.washout), cfg.seed)


def _aided(table: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The patients whom a study scored without having learned from them, and what it says of each."""
    # Here, because pages without it need no statistics.
    from fistula.report.readers.aid import aid_of
    from fistula.report.study import read_study

    name, cohorts = aid_of(read_study(folder))
    patients = set(table["patient_key"])
    cohort = max(cohorts, key=lambda one: len(patients & cohorts[one].keys()))
    found = patients & cohorts[cohort].keys()
    if not found:
        remedy = "Check source, keep and the pseudonym key: they must be those of the study's cohort"
        raise DataError(f"aid={folder}", "must have tested patients below source", found="none", remedy=remedy)
    where = f"the external cohort {cohort}" if cohort else "its test sets"
    print(f"with AI: scores of {name} for {count(len(found), 'patient')} of {where}")
    if left := len(patients) - len(found):
        print(f"excluded: no score of the study: {count(left, 'patient')}")
    return table.filter(pl.col("patient_key").is_in(list(found))), cohorts[cohort]


def _keep(name: object, first: KeepRules) -> KeepRules:
    """The rules of conf/keep that have this name, as `keep=` takes them.

    Raises:
        ConfigError: If there are none, or if they ask for another description: headers are searched for one alone.
    """
    try:
        cfg = GlobalHydra.instance().config_loader().load_configuration("label", [f"keep={name}"], RunMode.RUN)
    except (HydraException, ValueError) as error:
        remedy = "Name rules that keep= takes: beside=[mr], beside=[all]"
        raise ConfigError("beside", "must be names of keep rules", found=name, remedy=remedy) from error
    keep: KeepRules = instantiate(cfg.keep, _convert_="all")
    if keep.description not in ("", first.description):
        raise ConfigError("beside", "must not require a description other than that of keep", found=name)
    return keep


def read_asked(path: Path, classes: Sequence[str]) -> set[str]:
    """The slices that a table names in its column `slice_key`.

    Raises:
        DataError: If it cannot be read, or names none.
        ConfigError: If its readers (`answer_READER`) gave an answer that is none of the classes.
    """
    _, lines, _ = read_table(
        path,
        columns=("slice_key",),
        naming=Naming(others="ignore"),
        allowed=lambda header: ("slice_key", *(name for name in header if name.startswith("answer_"))),
    )
    rows = [row for _, row in lines]
    if not (keys := {row.get("slice_key", "") for row in rows} - {""}):
        raise DataError(f"asked={path}", "must name slices in a column slice_key")
    given = {cell for row in rows for name, cell in row.items() if name != "slice_key"} - {""}
    if not given <= set(classes):
        rule = f"must name every answer of {path} ({', '.join(sorted(given))})"
        raise ConfigError("classes", rule, found=", ".join(classes), remedy="Give those of the readers' pages")
    return keys


def _of_patients(table: pl.DataFrame, asked: set[str], path: object) -> pl.DataFrame:
    named = table.filter(pl.col("slice_key").is_in(list(asked)))
    missing = len(asked) - named["slice_key"].n_unique()
    if missing:
        remedy = "Check source, keep and the pseudonym key: they must be those of the first label page"
        raise DataError(
            f"asked={path}", "must name slices below source", found=f"{missing} that are not", remedy=remedy
        )
    return table.filter(pl.col("patient_key").is_in(named["patient_key"].implode()))


def _say_large(spool: Spool, page_mb: float) -> None:
    """What became of patients who alone are more than a page."""
    coarse = [quality for quality in spool.qualities.values() if quality < QUALITIES[0]]
    if coarse:
        print(f"too large for page_mb={page_mb:g}, shown at JPEG quality {min(coarse)} instead of {QUALITIES[0]}: "
              f"patients: {len(coarse)} (serve=true shows all at {QUALITIES[0]})")  # fmt: skip
    if large := sum(size > page_mb * 1e6 for size in spool.sizes.values()):
        print(
            f"larger than page_mb={page_mb:g}, each on a separate page: patients: {large} (serve=true takes any size)"
        )


def _grey(bits: int) -> str:
    if bits == 12:
        return "12 bits of gray, without loss"
    return "8 bits of gray over the 0.1st to 99.9th percentile of each stack (bits=12 keeps every gray level)"


def _serve(
    table: pl.DataFrame, survey: Survey, shown: Shown, question: Question, asked: set[str] | None, out: Path, port: int
) -> None:
    patients = table.partition_by("patient_key", maintain_order=True)

    @lru_cache(maxsize=4)  # the one that is read, and the next
    def patient(number: int) -> str:
        found, _ = read_patient(patients[number], survey=survey, shown=shown)
        mark_asked(found, asked)
        return as_json(found)

    summaries = []
    for slices in patients:
        first = slices.filter(pl.col("pane") == 0)["slice_key"]
        number = len(first) if asked is None else int(first.is_in(list(asked)).sum())
        summaries.append({"key": slices["patient_key"][0], "asked": number})
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={out}", f"cannot be made ({error.strerror})") from error
    answers = Answers(out / "labels.csv", columns_of(question.level, question.question))
    page = page_text(question, summaries, [], served=True)
    serve = partial(Desk, page, patient, len(patients), answers)
    desk = open_desk(serve, out, question=question.key, port=port)
    print(f"{count(len(table), 'slice')} of {count(len(patients), 'patient')}; answers go to {answers.path}")
    print(f"open {desk.address} (end with Ctrl+C; whoever knows this address can answer)", flush=True)
    with suppress(KeyboardInterrupt):
        desk.server.serve_forever()
