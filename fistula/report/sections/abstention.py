"""Whom `fistula predict` would answer among the study's own test patients, and how often those answers are wrong."""

from dataclasses import dataclass

import numpy as np

from fistula.evidence.estimate import Estimate
from fistula.evidence.probability.conformal import answers_of_known
from fistula.evidence.rates.clustered import clustered_rate
from fistula.report.results import Row
from fistula.report.sections.all_classes import wide_rows
from fistula.report.study import Configuration, Study

ERROR = 0.1  # the default of `fistula predict`: rate at which the true class may be missing among the possible ones


@dataclass(frozen=True)
class Abstention:
    """What a configuration would tell its test patients, each judged by the others; seeds add up."""

    configuration: Configuration
    answered: Estimate  # share of the patients for whom one class alone remains possible
    wrong: Estimate  # share of these answers that is wrong; undefined where none is given
    counts: tuple[int, int, int, int]  # answers, wrong ones, all classifications, and patients
    error: float = ERROR  # at which they were judged

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Each number by its name."""
        return {"answered": self.answered, "wrong": self.wrong}


def abstention(study: Study, configuration: Configuration, rows: list[Row]) -> Abstention | None:
    """What a configuration's test patients would be told at an error rate of `ERROR`.

    None where it is no evidence of that: under a split that leaks by design, of permuted labels, and where the test
    patients lack a class.
    """
    mine = [row for row in rows if row.configuration is configuration and row.level == "patient"]
    if configuration.leaky_by_design or configuration.is_canary or any(row.num[1] in (0, row.num[0]) for row in mine):
        return None
    if len(mine) == 1:
        table = mine[0].rows
        truth, called, positive = (table[name].to_numpy() for name in ("label", "called", "score"))
        scores, keys = np.stack([1 - positive, positive], axis=1), table["patient_key"].to_numpy()
    else:
        truth, scores, keys, _ = wide_rows(study, configuration, mine)
        called = scores.argmax(axis=1)
    told = answers_of_known(truth, scores, keys, called, error=ERROR)
    return Abstention(
        configuration,
        clustered_rate(told.answered.astype(int), keys),
        clustered_rate(told.wrong[told.answered].astype(int), keys[told.answered]),
        (int(told.answered.sum()), int(told.wrong[told.answered].sum()), len(keys), mine[0].num[0]),
    )
