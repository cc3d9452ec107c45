"""Three classes or more at once: the macro AUROC of each configuration, and reference standard against calls."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fistula.evidence.agreement import cohens_kappa
from fistula.evidence.clustered import rao_scott
from fistula.evidence.estimate import Estimate
from fistula.evidence.macro import macro_auroc
from fistula.report.results import Row
from fistula.report.study import Configuration, Study


@dataclass(frozen=True)
class AllClasses:
    """One configuration over all classes, at the primary level.

    Attributes:
        configuration: Whose runs were pooled.
        auroc: Mean over the classes of each against the rest.
        accuracy: Share of slices or patients called as the reference standard says.
        kappa: Agreement with the reference standard, disagreements counting by the square of how many grades apart
            they are; None where the classes are not ordered.
        counts: Reference standard (rows) against the class of the highest score, ``(K, K)``; over seeds they add up.
    """

    configuration: Configuration
    auroc: Estimate
    accuracy: Estimate
    kappa: Estimate | None
    counts: NDArray[np.int64]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Each number by its name."""
        found = {"macro_auroc": self.auroc, "accuracy": self.accuracy}
        return found if self.kappa is None else found | {"quadratic_kappa": self.kappa}


def all_classes(study: Study, rows: list[Row], *, level: str) -> list[AllClasses]:
    """Every configuration over all classes, the highest macro AUROC first, those that are no evidence last.

    A patient counts for the last class among the slices, as in Table 1, and is called what has the highest score.

    Args:
        study: Of three classes or more; of two nothing is found.
        rows: Its results.
        level: ``slice`` or ``patient``.
    """
    classes = study.cohort.classes
    if len(classes) < 3:
        return []
    found = []
    for configuration in study.configurations:
        of_class = {r.positive: r.rows for r in rows if r.configuration is configuration and r.level == level}
        wide = of_class[classes[0]].select("run", "unit", "patient_key")
        for number, name in enumerate(classes):
            columns = [pl.col("label").alias(f"label {number}"), pl.col("score").alias(f"score {number}")]
            part = of_class[name].select("run", "unit", *columns)
            wide = wide.join(part, on=["run", "unit"], maintain_order="left")
        labels, scores = (
            wide.select(f"{kind} {number}" for number in range(len(classes))).to_numpy() for kind in ("label", "score")
        )
        keys, runs = wide["patient_key"].to_numpy(), wide["run"].to_numpy()
        truth = len(classes) - 1 - labels[:, ::-1].argmax(axis=1)
        called = scores.argmax(axis=1)
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (truth, called), 1)
        kappa = None
        if study.is_ordered:
            kappa = cohens_kappa(np.stack([truth, called], 1), keys, classes=len(classes), weights="quadratic")
        area, right = macro_auroc(labels, scores, keys, runs), rao_scott((truth == called).astype(int), keys)
        found.append(AllClasses(configuration, area, right, kappa, counts))
    return sorted(found, key=_falling)


def _falling(one: AllClasses) -> tuple[bool, bool, float]:
    value = -one.auroc.value if one.auroc.is_defined else 1.0
    return one.configuration.is_canary, one.configuration.leaky_by_design, value
