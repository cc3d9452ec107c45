"""Write label pages: as many patients on each as fit a size, nothing beside them needed."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from fistula.errors import ConfigError, DataError
from fistula.labels.stacks import Shown, lost_patient, read_patients
from fistula.source.slices import is_risky
from fistula.source.survey import DEADLY, Survey
from fistula.source.workers import Workers, batches_of, in_parallel
from fistula.viewer.page import as_json, scripts, style

LEVELS = ("slice", "patient")
QUESTIONS = ("class", "score")
PARTS = ("state.js", "table.js", "reader.js", "keys.js", "label.js", "panel.js")
SLICES_A_BATCH = 64


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        classes: Names of the answers, by the keys 0, 1, 2, ...; the first is what "rest negative" gives.
        level: `slice` or `patient`.
        question: `class`, whose answers are labels, or `score`, whose answers are degrees of suspicion.
        reader: Who answers; empty lets the page ask.
        seed: Of the order of the patients, with the reader's name.
        repeat: Share of the patients that are shown a second time.
        points: What a click and an Alt-click place in a slice; none, one or both.
    """

    classes: list[str]
    level: str
    question: str
    reader: str
    seed: int
    repeat: float
    points: list[str]

    def __post_init__(self) -> None:
        names = self.classes
        if not 2 <= len(names) <= 10 or len(set(names)) != len(names) or not all(names):
            raise ConfigError("classes", "must be 2 to 10 different names: one a key", found=names)
        for key, choices in (("level", LEVELS), ("question", QUESTIONS)):
            if getattr(self, key) not in choices:
                raise ConfigError(key, f"must be {' or '.join(choices)}", found=getattr(self, key))
        if not 0 <= self.repeat <= 1:
            raise ConfigError("repeat", "must be from 0 to 1: a share of the patients", found=self.repeat)
        if len(self.points) > 2 or len(set(self.points)) != len(self.points) or not all(self.points):
            raise ConfigError("points", "must be at most two different names: a click, an Alt-click", found=self.points)

    @property
    def key(self) -> str:
        """Under which a browser keeps answers: the same question finds them again, whatever page it stands on."""
        asked = json.dumps([self.classes, self.level, self.question], ensure_ascii=False)
        return hashlib.sha256(asked.encode()).hexdigest()[:12]


def read_all(
    table: pl.DataFrame, survey: Survey, shown: Shown, workers: Workers
) -> Iterable[tuple[dict[str, Any], Counter[str]]]:
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
    folder: Path,
    patients: Iterable[tuple[dict[str, Any], Counter[str]]],
    question: Question,
    *,
    asked: set[str] | None,
    page_mb: float,
) -> tuple[list[Path], Counter[str]]:
    """Write `label-1.html`, `label-2.html`, ... into `folder`.

    Args:
        folder: Is there.
        patients: As `read_all` gives them.
        question: What is asked.
        asked: Slices that are asked about; the others of their patients are only shown. None asks about all.
        page_mb: MB (10^6 bytes) that a page may have; a patient who has more gets a page alone.

    Returns:
        The pages, and why slices could not be read.

    Raises:
        DataError: If no patient has a slice that can be read.
    """
    spool, sizes, reasons = folder / "patients", {}, Counter[str]()
    spool.mkdir()
    for patient, missing in patients:
        reasons += missing
        if patient["series"]:
            mark_asked(patient, asked)
            text = as_json(patient)
            (spool / patient["key"]).write_text(text, encoding="utf-8")
            sizes[patient["key"]] = len(text.encode()), summary(patient)
    if not sizes:
        raise DataError("source", "no slice could be read", found=", ".join(reasons) or "none")
    batches: list[list[str]] = []
    room = 0.0
    for key in sorted(sizes):  # pseudonyms: their order says nothing
        if sizes[key][0] > room or not batches:
            batches.append([])
            room = page_mb * 1e6
        batches[-1].append(key)
        room -= sizes[key][0]
    pages = []
    for number, keys in enumerate(batches, 1):
        pages.append(folder / f"label-{number}.html")
        texts = [(spool / key).read_text(encoding="utf-8") for key in keys]
        write_page(pages[-1], question, [sizes[key][1] for key in keys], texts)
    for key in sizes:
        (spool / key).unlink()
    spool.rmdir()
    return pages, reasons


def mark_asked(patient: dict[str, Any], asked: set[str] | None) -> None:
    """Say of each slice of the first pane whether it is asked about; other panes are for comparison."""
    for series in patient["series"]:
        for slice_ in series["slices"]:
            slice_["asked"] = series["pane"] == 0 and (asked is None or slice_["key"] in asked)


def summary(patient: dict[str, Any]) -> dict[str, Any]:
    """What a page has to know of a patient before it is shown."""
    asked = sum(slice_["asked"] for series in patient["series"] for slice_ in series["slices"])
    return {"key": patient["key"], "asked": asked}


def page_text(question: Question, patients: Sequence[dict[str, Any]], texts: Iterable[str], *, served: bool) -> str:
    """The page as HTML.

    Args:
        question: What is asked.
        patients: `summary` of each.
        texts: Each of them as JSON; none where the page fetches them.
        served: Whether it stands on a server, which keeps the answers as well.
    """
    facts = {
        "id": question.key, "classes": question.classes, "level": question.level, "question": question.question,
        "reader": question.reader, "seed": question.seed, "repeat": question.repeat, "points": question.points,
        "served": served, "patients": list(patients),
    }  # fmt: skip
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


def write_page(path: Path, question: Question, patients: Sequence[dict[str, Any]], texts: Iterable[str]) -> None:
    """Write one page that holds its patients."""
    path.write_text(page_text(question, patients, texts, served=False), encoding="utf-8")
