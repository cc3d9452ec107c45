"""Everything a report says, computed once: the page, the tables and the record of numbers only show it."""

from dataclasses import dataclass

import polars as pl

from fistula.evidence.estimate import Estimate
from fistula.report.answer import say_answer, say_question
from fistula.report.external.cohorts import FOLDER, External, Outside, outside, read_external, read_externals
from fistula.report.external.shifts import Robustness, robustness
from fistula.report.external.together import OutsideTogether, outside_together
from fistula.report.places.located import located_patients
from fistula.report.places.numbers import PlacePair, Where, where, where_outside
from fistula.report.pooling import primary_level
from fistula.report.readers.analysis import Readers, compare_readers
from fistula.report.readers.cases import cases_of
from fistula.report.readers.given import Given
from fistula.report.readers.program import Program, compare_program, rows_of
from fistula.report.results import Row, results
from fistula.report.sections.abstention import Abstention, abstention
from fistula.report.sections.all_classes import AllClasses, all_classes, compare_every_class
from fistula.report.sections.comparisons import Comparisons, compare
from fistula.report.sections.further import Further, further
from fistula.report.sections.growth import Growth, growths
from fistula.report.sections.headline import selected_auroc
from fistula.report.sections.inflation import Canary, Inflation, canaries, inflations
from fistula.report.sections.paper import PaperRow, beside_the_paper, paper_rows
from fistula.report.sections.participants import Step, Table, flow, table_one
from fistula.report.study import Configuration, Study


@dataclass(frozen=True)
class Settings:
    """What decides a report's numbers, beside the study."""

    resamples: int = 2000  # of the patients, for each interval that has no formula
    primary: str = "auto"  # one of `pooling.PRIMARY`: the level at which the study is judged
    scaling: str = "platt"  # one of `pooling.SCALINGS`
    margin: float = 0.05  # difference of AUROC that does not matter
    prevalence: float | None = None  # of the positive class where decisions will be made; None where it is not known
    # Score of a reader from which a patient counts as called positive; None where there is none.
    cutoff: float | None = None


@dataclass(frozen=True)
class Contents:
    """What a report says of a study; `primary` is the level of its headline, comparisons, main effects and curves."""

    study: Study
    settings: Settings
    primary: str
    question: str
    answer: list[str]
    rows: list[Row]
    all_classes: list[AllClasses]
    selected: Estimate | None
    comparisons: list[Comparisons]
    growths: list[Growth]
    inflations: list[Inflation]
    canaries: list[Canary]
    flow: list[Step]
    participants: Table
    further: dict[str, Further]
    abstention: Abstention | None
    where: list[Where]
    where_pairs: list[PlacePair]
    where_outside: dict[str, Where]
    externals: list[External]
    outside: list[Outside]
    outside_together: list[OutsideTogether]
    robustness: Robustness | None
    given: Given
    readers: Readers | None
    program: Program | None
    paper: list[PaperRow]
    beside_the_paper: list[tuple[PaperRow, Configuration]]

    @property
    def best(self) -> Configuration:
        """The configuration of the headline: the highest AUROC at the primary level, of several classes their mean."""
        return (self.all_classes or self.ranked(self.study.positives[0]))[0].configuration

    def shown(self, positive: str) -> Row:
        """The headline's configuration for a class: selected once, by all classes, and not for each class again."""
        return next(row for row in self.ranked(positive) if row.configuration is self.best)

    @property
    def beside(self) -> Program | None:
        """The other program where it stands beside the configurations in their tables: of the same patients."""
        return self.program if self.program and not self.program.cohort else None

    def rows_of(self, positive: str, level: str) -> list[Row]:
        """The results of a class at a level, in the order of the configurations."""
        return [row for row in self.rows if row.positive == positive and row.level == level]

    def ranked(self, positive: str, level: str | None = None) -> list[Row]:
        """The results of a class, as `rank` orders them, at a level or that of the primary endpoint."""
        return rank(self.rows, positive, level or self.primary)


def compute(study: Study, settings: Settings, given: Given | None = None) -> Contents:
    """Compute all that a report says.

    Raises:
        DataError: If stored predictions are not what they have to be, or the cohort of a given table is not there.
    """
    rows = results(study, resamples=settings.resamples, scaling=settings.scaling, prevalence=settings.prevalence)
    # A canary's labels are not those of the others: nothing can be compared with it.
    primary = primary_level(study, settings.primary)
    honest = [row for row in rows if not row.configuration.is_canary]
    inflated, found = inflations(rows), canaries(rows)
    ranked = {positive: rank(rows, positive, primary) for positive in study.positives}
    together = all_classes(study, rows, level=primary)
    selected = selected_auroc(study, ranked, together)
    best = (together or ranked[study.positives[0]])[0].configuration
    own = {positive: next(one for one in of if one.configuration is best) for positive, of in ranked.items()}
    comparisons = [
        *compare_every_class(together, honest, primary=primary, margin=settings.margin),
        *compare(honest, primary=primary, margin=settings.margin, resamples=settings.resamples),
    ]
    externals, given = read_externals(study), given or Given()
    for name in {given.readings_of, given.program_of} - {"", *(one.name for one in externals)}:
        read_external(study, study.folder / FOLDER / name)  # which says that it is not there any more
    found_outside = []
    for external in externals:
        found_outside += outside(
            study, external, rows, primary=primary, scaling=settings.scaling, prevalence=settings.prevalence
        )
    wholes = outside_together(study, found_outside, together, primary=primary, scaling=settings.scaling)
    places, place_pairs = where(study, resamples=settings.resamples)
    return Contents(
        study=study,
        settings=settings,
        primary=primary,
        question=say_question(study),
        answer=say_answer(study, ranked, together, comparisons, inflated, found, (found_outside, wholes), selected),
        rows=rows,
        all_classes=together,
        selected=selected,
        comparisons=comparisons,
        growths=growths(honest, comparisons, level=primary),
        inflations=inflated,
        canaries=found,
        flow=flow(study),
        participants=table_one(study),
        abstention=abstention(study, best, rows),
        further={positive: further(study, row, scaling=settings.scaling) for positive, row in own.items()},
        where=places,
        where_pairs=place_pairs,
        where_outside=where_outside(study, externals, resamples=settings.resamples),
        externals=externals,
        outside=found_outside,
        outside_together=wholes,
        robustness=robustness(study, level=primary, scaling=settings.scaling),
        given=given,
        readers=_readers(study, given, rows, best, found_outside, settings),
        program=_program(given, rows, found_outside),
        paper=paper_rows(),
        beside_the_paper=beside_the_paper(study),
    )


def rank(rows: list[Row], positive: str, level: str) -> list[Row]:
    """The results of a class at a level, the highest AUROC first, those that are no evidence last."""
    of_class = (row for row in rows if (row.positive, row.level) == (positive, level))
    return sorted(of_class, key=lambda row: row.configuration.rank(row.estimates["auroc"].value))


def _readers(
    study: Study, given: Given, rows: list[Row], best: Configuration, outside: list[Outside], settings: Settings
) -> Readers | None:
    """The best configuration beside the readers, for the first class."""
    if given.readings is None:
        return None
    first = best, study.positives[0], "patient"
    own = next(row for row in rows if (row.configuration, row.positive, row.level) == first)
    model, cases = cases_of(study, own, outside, given.readings_of, scaling=settings.scaling)
    if not given.readings_of and (places := located_patients(best, study.cohort)) is not None:
        cases = cases.join(places, on="patient_key", how="left", maintain_order="left")
    margin, cutoff = settings.margin, settings.cutoff
    return compare_readers(given.readings, cases, model=model, cohort=given.readings_of, margin=margin, cutoff=cutoff)


def _program(given: Given, rows: list[Row], outside: list[Outside]) -> Program | None:
    if given.program is None:
        return None
    cohort, positive = given.program_of, rows[0].positive
    theirs = [
        (one.configuration.name, one.rows.with_columns(run=pl.lit(0)))
        for one in outside
        if (one.external.name, one.positive, one.level) == (cohort, positive, "patient")
    ]
    return compare_program(given.program, theirs or rows_of(rows, positive), cohort=cohort, positive=positive)
