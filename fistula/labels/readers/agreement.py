"""Bring readers' tables together and say how well they agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fistula.errors import ConfigError, DataError
from fistula.evidence.estimate import Estimate
from fistula.evidence.places.clock import hours_off
from fistula.evidence.places.distances import distances_mm, median_distance, share_within
from fistula.evidence.readers.agreement import (
    cohens_kappa,
    fleiss_kappa,
    gwets_ac1,
    observed_agreement,
    specific_agreement,
)
from fistula.labels.tables.classes import as_names, known_order
from fistula.labels.tables.page_table import Answer, Reading, readings_of

EVERYONE = "all readers"


@dataclass(frozen=True)
class Readers:
    """Tables that answer one question."""

    readings: list[Reading]  # one a reader, by name
    classes: list[str]
    level: str  # `slice` or `patient`
    keys: list[str]  # slices (or patients) that any reader answered, sorted
    patients: list[str]  # whom each is of
    ratings: NDArray[np.int64]  # ``(N, R)``, classes from 0; -1 where a reader gave none or was unsure

    @property
    def names(self) -> list[str]:
        return [reading.reader for reading in self.readings]


@dataclass(frozen=True)
class Measure:
    """One number of the page."""

    who: str  # two readers, `all readers`, or one with oneself
    measure: str
    estimate: Estimate
    rows: int  # slices (or patients) that count
    patients: int  # of how many patients


def read_readers(paths: Sequence[Path], classes: Sequence[str] | None) -> Readers:
    """Read the tables of two readers or more.

    Without `classes` they are those of the tables, in the order of their letters if no other is known.

    Raises:
        DataError: As `readings_of`; if there are fewer than two readers, or if no slice was read by two.
        ConfigError: If an answer is none of the classes.
    """
    readings = sorted(readings_of(paths), key=lambda one: one.reader)
    if len(readings) < 2:
        found = ", ".join(one.reader for one in readings) or "none"
        raise DataError("labels", "must hold the answers of two readers or more", found=found)
    readings = _in_one_case(readings, () if classes is None else as_names(classes))
    words = sorted({answer.label for one in readings for answer in one.first.values()} - {""})
    names_ = (known_order(set(words)) or words) if classes is None else as_names(classes)
    if unknown := sorted(set(words) - set(names_)):
        raise ConfigError("classes", "must name every answer of the tables", found=f"not {', '.join(unknown)}")
    if classes is None and len(words) < 2:
        remedy = "Name all classes in order: classes=[normal,fistula]"
        raise DataError("labels", "must hold answers of two classes", found=", ".join(words) or "none", remedy=remedy)
    keys = sorted({key for one in readings for key in one.first})
    ratings = np.array([[_code(one.first.get(key), names_) for one in readings] for key in keys], dtype=np.int64)
    if not ((ratings >= 0).sum(1) >= 2).any():
        remedy = "Check that all pages were made from one archive with one pseudonym key"
        raise DataError("labels", "must hold a slice that two readers answered", remedy=remedy)
    return Readers(readings, names_, readings[0].level, keys, _patients(readings, keys), ratings)


def measures(readers: Readers, *, weights: str, points_mm: float) -> list[Measure]:
    """Every number, all readers first, then pairs, then each reader with oneself.

    `weights` of Cohen's kappa, where classes are grades, are `none`, `linear` or `quadratic`; two points within
    `points_mm` are the same place.
    """
    patients = np.array(readers.patients)
    number = len(readers.classes)
    rows = []

    def add(who: str, measure: str, estimate: Estimate, counted: Any) -> None:
        rows.append(Measure(who, measure, estimate, int(counted.sum()), len(set(patients[counted]))))

    ratings = readers.ratings
    paired = (ratings >= 0).sum(1) >= 2
    add(EVERYONE, "observed agreement", observed_agreement(ratings, patients, classes=number), paired)
    if len(readers.names) > 2:
        add(EVERYONE, "Fleiss' kappa", fleiss_kappa(ratings, patients, classes=number), (ratings >= 0).all(1))
    add(EVERYONE, "Gwet's AC1", gwets_ac1(ratings, patients, classes=number), paired)
    for index, name in enumerate(readers.classes):
        found = specific_agreement(ratings, patients, classes=number, of=index)
        add(EVERYONE, f"agreement on {name}", found, paired & (ratings == index).any(1))
    kappa = "Cohen's kappa" if weights == "none" else f"Cohen's kappa, {weights} weights"
    for first, second in combinations(range(len(readers.names)), 2):
        who = f"{readers.names[first]} and {readers.names[second]}"
        pair = ratings[:, [first, second]]
        found = cohens_kappa(pair, patients, classes=number, weights=weights)
        add(who, kappa, found, (pair >= 0).all(1))
        rows += _places(who, readers, first, second, points_mm)
    for column, reading in enumerate(readers.readings):
        if reading.again:
            again = [_code(reading.again.get(key), readers.classes) for key in readers.keys]
            pair = np.column_stack([ratings[:, column], again])
            who = f"{reading.reader}, first and second reading"
            add(who, kappa, cohens_kappa(pair, patients, classes=number, weights=weights), (pair >= 0).all(1))
    return rows


def opening_gap(first: Answer | None, second: Answer | None) -> float | None:
    """Distance in mm of the openings that two readers placed on one slice; None unless both did, or without a scale."""
    if first is None or second is None or first.opening is None or second.opening is None or first.pixel is None:
        return None
    scaled = [np.array([answer.opening]) * np.array(first.pixel) for answer in (first, second)]
    return float(distances_mm(*scaled)[0])


def _places(who: str, readers: Readers, first: int, second: int, points_mm: float) -> list[Measure]:
    one, other = readers.readings[first].first, readers.readings[second].first
    gaps, hours = [], []
    for key, patient in zip(readers.keys, readers.patients, strict=True):
        answers = one.get(key), other.get(key)
        if (gap := opening_gap(*answers)) is not None:
            gaps.append((gap, patient))
        clocks = [answer.clock for answer in answers if answer is not None and answer.clock is not None]
        if len(clocks) == 2:
            hours.append((abs(float(hours_off([clocks[0]], [clocks[1]])[0])), patient))
    rows = []
    for found, typical, near, limit in (
        (gaps, "median distance of openings, mm", f"openings within {points_mm:g} mm", points_mm),
        (hours, "median difference on the clock, hours", "openings within one hour", 1.0),
    ):
        if found:
            away, patients = zip(*found, strict=True)
            counted = len(found), len(set(patients))
            rows.append(Measure(who, typical, median_distance(away, patients), *counted))
            rows.append(Measure(who, near, share_within(away, patients, limit=limit), *counted))
    return rows


def _in_one_case(readings: Sequence[Reading], classes: Sequence[str]) -> list[Reading]:
    """Readings whose labels are spelt as `classes` are, or as most of them are: a spreadsheet makes true into TRUE."""
    spelt = Counter(answer.label for one in readings for answer in (*one.first.values(), *one.again.values()))
    usual = {word.casefold(): word for word in (*sorted(spelt, key=lambda word: (spelt[word], word)), *classes)}

    def same(answers: dict[str, Answer]) -> dict[str, Answer]:
        return {key: replace(answer, label=usual[answer.label.casefold()]) for key, answer in answers.items()}

    return [replace(one, first=same(one.first), again=same(one.again)) for one in readings]


def _code(answer: Answer | None, classes: Sequence[str]) -> int:
    return -1 if answer is None or answer.is_unsure or not answer.label else classes.index(answer.label)


def _patients(readings: Sequence[Reading], keys: Sequence[str]) -> list[str]:
    whose: dict[str, str] = {}
    for reading in readings:
        for key, answer in reading.first.items():
            if whose.setdefault(key, answer.patient) != answer.patient:
                raise DataError(reading.path, f"assigns {key} to another patient than another table")
    return [whose[key] for key in keys]
