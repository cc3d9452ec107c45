"""Write label pages: as many patients on each as fit a size, nothing beside them needed."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from fistula.errors import ConfigError, refuse_other
from fistula.labels.pages.spool import Read, Spool, spooled
from fistula.labels.pages.stacks import Shown, lost_patient, read_patients
from fistula.labels.readers.reading import AIDED, Panel, page_name, plan_readings
from fistula.labels.tables.page_table import columns_of
from fistula.source.slices import is_risky
from fistula.source.survey import DEADLY, Survey
from fistula.source.workers import Workers, batches_of, in_parallel
from fistula.viewer.page import as_json, scripts, style

LEVELS = ("slice", "patient")
QUESTIONS = ("class", "score")
PARTS = ("keep.js", "state.js", "table.js", "reader.js", "keys.js", "score.js", "label.js", "panel.js")
SLICES_A_BATCH = 64


@dataclass(frozen=True)
class Question:
    """What is asked."""

    classes: list[str]  # names of the answers, by the keys 0, 1, 2, ...; the first is what "rest negative" gives
    level: str  # `slice` or `patient`
    question: str  # `class`, whose answers are labels, or `score`, whose answers are degrees of suspicion
    reader: str  # who answers; empty lets the page ask
    seed: int  # of the order of the patients, with the reader's name
    repeat: float  # share of the patients that are shown a second time
    points: list[str]  # what a click and an Alt-click place in a slice; none, one or both
    # Of a reader study, from 1, whose patients stand in the order of the plan; 0 where nothing is planned.
    session: int = 0
    sessions: int = 1  # how many the reader study has
    washout: float = 0.0  # weeks between them
    part: str = ""  # of the slices, which alone are asked about, as a fingerprint; empty for all

    def __post_init__(self) -> None:
        names = self.classes
        if not 2 <= len(names) <= 10 or len({name.casefold() for name in names}) != len(names) or not all(names):
            raise ConfigError("classes", "must be 2 to 10 different names: one per key", found=names)
        for key, choices in (("level", LEVELS), ("question", QUESTIONS)):
            refuse_other(key, getattr(self, key), choices)
        if not 0 <= self.repeat <= 1:
            raise ConfigError("repeat", "must be from 0 to 1: a proportion of the patients", found=self.repeat)
        if len(self.points) > 2 or len(set(self.points)) != len(self.points) or not all(self.points):
            raise ConfigError("points", "must be at most two different names: a click, an Alt-click", found=self.points)

    @property
    def top(self) -> int:
        """The highest score: 100 of a suspicion between two classes, else as many as there are degrees."""
        return 100 if len(self.classes) == 2 else len(self.classes)

    @property
    def marks(self) -> list[str]:
        """The points that the page asks for: of a reader study one alone, of a patient as a whole none."""
        return self.points[: 1 if self.question == "score" else 2 if self.level == "slice" else 0]

    @property
    def key(self) -> str:
        """Under which a browser keeps answers: the same question finds them again, whatever page it stands on.

        Adjudication is another question, or the readers' own answers would be decided already; with another seed a
        reader answers anew.
        """
        what = [self.classes, self.level, self.question, self.session, self.seed, self.part]
        asked = json.dumps(what, ensure_ascii=False)
        return hashlib.sha256(asked.encode()).hexdigest()[:12]


def read_all(table: pl.DataFrame, survey: Survey, shown: Shown, workers: Workers) -> Iterable[Read]:
    """Every patient of `find_stacks`' table as `read_patient` gives it, in any order."""
    patients = table.partition_by("patient_key", maintain_order=True)
    batches = batches_of(patients, size=len, target=SLICES_A_BATCH)
    slices = max(sum(map(len, batch)) for batch in batches)
    work = partial(read_patients, survey=survey, shown=shown)
    for found in in_parallel(
        work, batches, workers, title="reading stacks", is_risky=is_risky(table),
        seconds=shown.look.seconds * (1 + slices), lost=lambda slices: [lost_patient(slices, DEADLY)],
    ):  # fmt: skip
        yield from found


def write_pages(
    folder: Path, patients: Iterable[Read], question: Question, *, asked: set[str] | None, page_mb: float
) -> tuple[list[Path], Spool]:
    """Write `label-1.html`, `label-2.html`, ... into `folder`.

    `asked` are the slices that are asked about (None: all); the others of their patients are only shown. A patient who
    has more than `page_mb` MB (10^6 bytes) gets a page alone. Gives the pages, and what was read for them, whose folder
    is gone.

    Raises:
        DataError: If no patient has a slice that can be read.
    """
    pages = []
    with spooled(folder, patients, asked) as spool:
        # In the order of their pseudonyms, which says nothing.
        batches = spool.batches(sorted(spool.sizes), page_mb)
        for number, keys in enumerate(batches, 1):
            pages.append(folder / f"label-{number}.html")
            summaries = [spool.summaries[key] for key in keys]
            text = page_text(question, summaries, spool.texts(keys), served=False, page=(number, len(batches)))
            pages[-1].write_text(text, encoding="utf-8")
    return pages, spool


def write_readings(
    folder: Path, patients: Iterable[Read], question: Question, panel: Panel, *, aids: Mapping[str, Any], page_mb: float
) -> tuple[list[Path], Spool]:
    """Write the pages of a reader study, one or more for each reader and session, and its `plan.csv`, into `folder`.

    The question is a `score`; `aids` is, by patient, what is shown where a patient is read with AI. Gives what
    `write_pages` does.

    Raises:
        DataError: As `write_pages`.
    """
    pages, planned = [], []
    with spooled(folder, patients, None) as spool:
        plan = plan_readings(panel, list(spool.sizes))
        for (reader, session), turns in plan.group_by("reader", "session", maintain_order=True):
            modality = dict(turns.select("patient_key", "modality").iter_rows())
            batches = spool.batches(turns["patient_key"].to_list(), page_mb)
            asked = replace(
                question, reader=str(reader), session=int(session), sessions=panel.sessions, washout=panel.washout
            )
            for number, keys in enumerate(batches, 1):
                page = folder / page_name(str(reader), int(session), number, len(batches))
                summaries = [
                    spool.summaries[key]
                    | {"modality": modality[key]}
                    | ({"aid": aids[key]} if modality[key] == AIDED else {})
                    for key in keys
                ]
                text = page_text(asked, summaries, spool.texts(keys), served=False, page=(number, len(batches)))
                page.write_text(text, encoding="utf-8")
                pages.append(page)
                planned.append(turns.filter(pl.col("patient_key").is_in(keys)).with_columns(page=pl.lit(page.name)))
    (folder / "plan.csv").write_text(pl.concat(planned).write_csv(), encoding="utf-8")
    return pages, spool


def page_text(
    question: Question,
    patients: Sequence[dict[str, Any]],
    texts: Iterable[str],
    *,
    served: bool,
    page: tuple[int, int] = (1, 1),
) -> str:
    """The page as HTML.

    `patients` has the `summary` of each, and `texts` each as JSON, none where the page is `served` and fetches them;
    `page` is its number, and of how many.
    """
    columns = columns_of(question.level, question.question)
    facts = asdict(question) | {"id": question.key, "top": question.top, "is_part": bool(question.part)}
    facts |= {"columns": columns, "served": served, "page": list(page), "patients": list(patients)}
    held = "\n".join(
        f'<script type="application/json" id="patient-{i}">{text}</script>' for i, text in enumerate(texts)
    )
    own = files("fistula.labels").joinpath("page")
    parts = {
        "STYLE": style() + own.joinpath("label.css").read_text(encoding="utf-8"),
        "CONNECT": "'self'" if served else "'none'",
        "FACTS": as_json(facts),
        "PATIENTS": held,
        "SCRIPT": scripts() + "\n" + "\n".join(own.joinpath(name).read_text(encoding="utf-8") for name in PARTS),
    }
    head, *rest = own.joinpath("label.html").read_text(encoding="utf-8").split("{{")
    # Each mark is put in place once: what a patient's JSON holds is never taken for one.
    return head + "".join(parts[name] + text for name, text in (piece.split("}}", 1) for piece in rest))
