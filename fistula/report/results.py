"""The numbers of a study: every metric of every configuration, by slice and by patient, with its interval."""

from dataclasses import dataclass

import numpy as np

from fistula.evidence.aggregate import patient_scores
from fistula.evidence.estimate import Estimate
from fistula.evidence.standard import standard_metrics
from fistula.report.study import Configuration, Pooled, Study

LEVELS = ("slice", "patient")


@dataclass(frozen=True)
class Row:
    """One configuration at one level, for one class.

    Attributes:
        configuration: Whose runs were pooled.
        positive: The class held against the rest.
        level: ``slice`` or ``patient``.
        num: Slices or patients scored, and of them positive.
        estimates: By the names of `fistula.evidence.standard.METRICS`.
    """

    configuration: Configuration
    positive: str
    level: str
    num: tuple[int, int]
    estimates: dict[str, Estimate]


def results(study: Study, *, resamples: int) -> list[Row]:
    """Estimate every metric of every configuration.

    Rates are those of the decisions, each made at its own run's operating point. By patient, the score is the mean over
    the patient's slices, and a patient is called positive by the majority of them. Patients are the independent units
    of every interval: slices of one patient are not.

    Args:
        study: With its finished runs.
        resamples: Of the patients, for balanced accuracy.
    """
    rows = []
    for configuration in study.configurations:
        for positive in study.positives:
            pooled = configuration.pooled(study.cohort.classes, positive)
            for level in LEVELS:
                labels, scores, called, patients = _at(level, pooled)
                estimates = standard_metrics(labels, scores, called, patients, resamples=resamples)
                num = (len(labels), int(labels.sum()))
                rows.append(Row(configuration, positive, level, num, estimates))
    return rows


def _at(level: str, pooled: Pooled) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores, decisions and patients, one row a slice or one a patient."""
    if level == "slice":
        return pooled.labels, pooled.scores, pooled.called, pooled.patients
    patients, labels, scores = patient_scores(pooled.labels, pooled.scores, pooled.patients, rule="mean")
    _, _, share_called = patient_scores(pooled.labels, pooled.called, pooled.patients, rule="mean")
    return labels.astype(np.int64), scores, (share_called >= 0.5).astype(np.int64), patients
