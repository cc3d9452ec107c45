"""Readers of the study's patients: beside its best network, and in one modality beside another."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import nan

import numpy as np
import polars as pl

from fistula.evidence.estimate import Estimate, undefined
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.rates.counts import wilson
from fistula.evidence.readers import analysis
from fistula.evidence.readers.agreement import fleiss_kappa, gwets_ac1
from fistula.evidence.readers.analysis import ReaderTest, mean_of_readers, study_readers
from fistula.evidence.readers.merit import (
    Figure,
    auroc_figure,
    located_ratings,
    mean_figure,
    model_figure,
    share_figure,
)
from fistula.report.readers.block import Block, days_between, refuse_other_scales, with_known_places

READERS = ("random", "fixed")
FIGURES: dict[str, Figure] = {
    "auroc": auroc_figure,
    "sensitivity": share_figure(True),
    "specificity": share_figure(False),
    "lroc": auroc_figure,
}
METHOD = "Obuchowski-Rockette"
ALONE = "alone"  # the modality that others are held against; without it, the first by name


@dataclass(frozen=True)
class OneReader:
    """One reader in one modality; rates are undefined where no cutoff makes calls of the scores."""

    name: str
    modality: str
    experience: str
    cases: int
    positives: int
    auroc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    minutes: float | None
    curve: pl.DataFrame


@dataclass(frozen=True)
class Versus:
    """A difference of figures, with random and with fixed readers."""

    first: str  # what the difference is of: the model, or a modality
    second: str  # what is taken away: the readers of a modality, or another modality
    figure: str  # a name of `FIGURES`, or ``minutes``
    readers: int
    cases: int  # read by all of them
    positives: int  # of the cases
    values: tuple[float, float]  # of the first, and the mean over readers of the second
    tests: dict[str, ReaderTest]  # by the names of `READERS`


@dataclass(frozen=True)
class Readers:
    """Everything about readers."""

    model: str  # name of the configuration
    cohort: str  # whose patients were read: an external one, or empty for the study's own test patients
    labels: pl.DataFrame  # of the patients who were read, with the model's score and call
    single: list[OneReader]  # every reader in every modality
    against: list[Versus]  # the model against the readers of each modality, and by experience
    modalities: list[Versus]  # each pair of modalities
    means: dict[str, ReaderTest]  # mean AUROC of each modality's readers
    kappas: dict[str, tuple[Estimate, Estimate]]  # Fleiss' kappa and Gwet's AC1 of the calls, by modality
    left_out: dict[str, int]  # patients, by modality, whom some reader of it has not read
    # Least and median number of days between a reader's two readings of a patient, by pair of modalities; without an
    # entry where dates are not known.
    days: dict[str, tuple[int, float]]


def compare_readers(
    readings: pl.DataFrame, cases: pl.DataFrame, *, model: str, cohort: str, margin: float, cutoff: float | None
) -> Readers:
    """Analyse a reader study.

    `readings` has ``patient_key reader modality score minutes experience located date``, and `cases` the model's
    ``patient_key label score called``, and ``located`` where it names places. `margin` is of non-inferiority of the
    model; from the score `cutoff` a reader's patient counts as called positive (None: scores are calls, or none
    are made).

    Raises:
        ConfigError, DataError: As `refuse_other_scales` and `with_known_places`.
    """
    limit = 1.0 if (is_call := bool(readings["score"].is_in([0.0, 1.0]).all())) else cutoff
    if limit is not None and not is_call:
        refuse_other_scales(readings, limit)
    table = readings.join(cases.select("patient_key", "label"), on="patient_key", maintain_order="left")
    table = table.with_columns(
        call=pl.lit(None, pl.Int64) if limit is None else (pl.col("score") >= limit).cast(pl.Int64)
    )
    names = sorted(table["modality"].unique(), key=lambda name: (name != ALONE, name))
    placed = with_known_places(table)
    has_places = bool((placed["label"] == 1).any())
    figures = ["auroc", *["sensitivity", "specificity"] * (limit is not None), *["lroc"] * has_places]
    against, pairs, means, kappas, left_out = [], [], {}, {}, {}
    for name in names:
        here = table.filter(pl.col("modality") == name)
        block = Block.of(here, [name], cases)
        left_out[name] = here["patient_key"].n_unique() - len(block.cases)
        means[name] = _mean(block)
        kappas[name] = _kappas(block)
        of = {figure: block if figure != "lroc" else Block.of(placed, [name], cases) for figure in figures}
        judged = figures if "located" in cases.columns else [figure for figure in figures if figure != "lroc"]
        against += [_against(of[figure], model, _said(name), figure, margin) for figure in judged]
        levels = here.drop_nulls("experience")["experience"].unique(maintain_order=True).to_list()
        for level in levels if len(levels) > 1 else []:
            part = Block.of(here.filter(pl.col("experience") == level), [name], cases)
            against.append(_against(part, model, f"{_said(name)}, {level}", "auroc", margin))
    for second, first in combinations(names, 2):
        block = Block.of(table, [first, second], cases)
        timed = [] if block.rows["minutes"].has_nulls() else ["minutes"]
        of = {"lroc": Block.of(placed, [first, second], cases)}
        pairs += [_paired(of.get(figure, block), first, second, figure, margin) for figure in [*figures, *timed]]
    read = cases.filter(pl.col("patient_key").is_in(table["patient_key"].unique().implode()))
    both = {f"{one} and {other}": days_between(table, one, other) for one, other in combinations(names, 2)}
    days = {pair: told for pair, told in both.items() if told is not None}
    return Readers(model, cohort, read, _single(table), against, pairs, means, kappas, left_out, days)


def _against(block: Block, model: str, readers: str, figure: str, margin: float) -> Versus:
    if block.why_not:
        return _untested(block, model, readers, figure)
    ratings, merit = block.ratings(figure)[0], FIGURES[figure]
    theirs = float(merit(block.labels == 1, ratings)[0].mean())
    if figure in ("auroc", "lroc") and "networks" in block.cases.columns:
        merit = model_figure(block.cases["networks"].to_numpy())
    scores = block.cases["score" if figure in ("auroc", "lroc") else "called"].to_numpy().astype(np.float64)
    if figure == "lroc":
        is_right = (block.cases["located"] == 1).fill_null(value=False).to_numpy()
        scores = located_ratings(block.labels == 1, scores, is_right)
    own = float(merit(block.labels == 1, scores[None])[0].mean())
    compare = partial(analysis.compare_model, block.labels, scores, ratings, figure=merit, margin=margin)
    tests = {kind: _within(compare(readers=kind), 1) for kind in READERS}
    return Versus(model, readers, figure, *block.sizes, (own, theirs), tests)


def _paired(block: Block, first: str, second: str, figure: str, margin: float) -> Versus:
    names = _said(first), _said(second)
    if block.why_not:
        return _untested(block, *names, figure)
    is_time = figure == "minutes"
    study = study_readers(block.labels, block.ratings(figure), mean_figure if is_time else FIGURES[figure])
    one, two = (float(mean) for mean in study.figures.mean(axis=1))
    compare = partial(analysis.compare_modalities, study, 0, 1, margin=None if is_time else margin)
    tests = {kind: _within(compare(readers=kind), np.inf if is_time else 1) for kind in READERS}
    return Versus(*names, figure, *block.sizes, (one, two), tests)


def _within(test: ReaderTest, most: float) -> ReaderTest:
    return replace(test, estimate=test.estimate.within(-most, most))


def _untested(block: Block, first: str, second: str, figure: str) -> Versus:
    nothing = ReaderTest(undefined(METHOD, block.why_not))
    return Versus(first, second, figure, *block.sizes, (nan, nan), dict.fromkeys(READERS, nothing))


def _mean(block: Block) -> ReaderTest:
    if block.why_not:
        return ReaderTest(undefined(METHOD, block.why_not))
    found = mean_of_readers(study_readers(block.labels, block.ratings("auroc")), 0)
    return replace(found, estimate=found.estimate.within(0, 1))


def _kappas(block: Block) -> tuple[Estimate, Estimate]:
    if block.rows["call"].has_nulls() or len(block.readers) < 2 or not len(block.cases):
        nothing = undefined("kappa", "needs decisions of two readers: cutoff=SCORE dichotomizes scores")
        return nothing, nothing
    calls = block.values("call")[0].T.astype(np.int64)
    patients = np.arange(len(calls))
    return fleiss_kappa(calls, patients, classes=2), gwets_ac1(calls, patients, classes=2)


def _single(table: pl.DataFrame) -> list[OneReader]:
    found = []
    for (reader, modality), rows in table.group_by("reader", "modality", maintain_order=True):
        labels, scores, patients = (rows[name].to_numpy() for name in ("label", "score", "patient_key"))
        rates = []
        for label in (1, 0):
            calls = rows.filter(pl.col("label") == label)["call"]
            rates.append(
                undefined("Wilson", "no decisions: cutoff=SCORE dichotomizes scores")
                if rows["call"].has_nulls()
                else wilson(int((calls == label).sum()), len(calls))
            )
        median = rows["minutes"].drop_nulls().median()
        found.append(
            OneReader(
                str(reader), str(modality), str(rows["experience"][0] or ""), len(rows), int(labels.sum()),
                clustered_auroc(labels, scores, patients), rates[0], rates[1],
                float(median) if isinstance(median, float) else None, rows.select("label", "score"),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (one.modality, one.name))


def _said(modality: str) -> str:
    return modality or "readers"
