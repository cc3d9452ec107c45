"""The drawings below a source, one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import polars as pl

from fistula.dicom.container import Part, open_part
from fistula.dicom.drawn.drawings import DRAWINGS, REPORTS, Drawing, read_drawing
from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken, Skipped, damage_refused
from fistula.dicom.timing import TimeLimit
from fistula.labels.drawn.markups import is_markup, read_markups
from fistula.labels.drawn.mask_file import named_by_data_set, read_mask
from fistula.source.files.formats import kind_of_name, masks_among, stem_of
from fistula.source.survey import Survey


@dataclass(frozen=True)
class Found:
    """One drawing, or why it cannot be read."""

    name: str  # its path below the source, for messages
    base: str  # what it is of, by its name; empty where that does not say
    is_dicom: bool  # whether it is a DICOM object
    what: str  # in words, for counting
    drawing: Drawing | NotTaken  # what it draws

    @property
    def folder(self) -> PurePosixPath:
        return PurePosixPath(self.name).parent


def drawings_below(survey: Survey, word: str, *, look: Look) -> Iterator[Found]:
    """Every mask below a source, or every file of points, each read when it is asked for.

    `word` is `masks` or `points`.
    """
    if survey.kind == "dicom":
        yield from _objects(survey, DRAWINGS if word == "masks" else REPORTS, look)
    places = survey.facts.select("file", pl.col("member").fill_null("")).unique(maintain_order=True).rows()
    parts = {survey.name(file, member): survey.part(file, member) for file, member in places}
    masks = masks_among(list(parts), are_apart=survey.kind == "dicom")
    for name, part in parts.items():
        if word == "points" and is_markup(name):
            found = _read(look, partial(_read_markups, part, name, limit=look.limit))
            yield Found(name, stem_of(name), False, "files of marked points", found)
        is_picture = kind_of_name(name) == "pictures"
        if word == "masks" and name in masks and is_picture == (survey.kind == "pictures"):
            found = _read(look, partial(read_mask, part, limit=look.limit))
            if isinstance(found, Drawing):
                found.segments = named_by_data_set(part, found.segments)
            yield Found(name, masks[name], False, f"masks as {'pictures' if is_picture else 'volumes'}", found)


def _objects(survey: Survey, reasons: tuple[str, ...], look: Look) -> Iterator[Found]:
    """DICOM objects that the survey passed over for one of these reasons, but those that draw nothing."""
    objects = survey.facts.filter(pl.col("reason").is_in(reasons) & (pl.col("outcome") != "image"))
    for file, member, reason in objects.select("file", "member", "reason").unique(maintain_order=True).iter_rows():
        part = survey.part(file, member)
        found = _read(look, partial(read_drawing, part, limit=look.limit))
        is_of_nothing = isinstance(found, Drawing) and not (found.segments or found.points)
        if not isinstance(found, Skipped) and not is_of_nothing:
            what = {"a segmentation": "segmentations", "a radiotherapy object": "structure sets"}.get(reason, "reports")
            yield Found(survey.name(file, member), "", True, f"DICOM {what}", found)


def _read_markups(part: Part, name: str, *, limit: int) -> Drawing:
    with open_part(part, limit=limit) as file:
        return read_markups(file.read(), name)


def _read(look: Look, read: Callable[[], Drawing]) -> Drawing | NotTaken:
    try:
        with TimeLimit(look.seconds), damage_refused():
            return read()
    except NotTaken as outcome:
        return outcome
