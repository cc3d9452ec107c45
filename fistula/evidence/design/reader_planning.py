"""How many readers and patients a reader study needs, from the variances of a pilot one."""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as fisher
from scipy.stats import ncf

from fistula.evidence.readers.analysis import ReaderStudy, covariances, less_readers, mean_square
from fistula.evidence.readers.merit import Figure, auroc_figure

MOST = 5000  # patients; readers read no more


@dataclass(frozen=True)
class Components:
    """Variances of a difference between two modalities, or between a model and readers, in a pilot study."""

    readers: float  # variance of the true difference from reader to reader, half of it for two modalities
    own: float  # variance over cases of one reader's difference, half of it for two modalities
    shared: float  # covariance over cases of two readers' differences, likewise
    cases: int  # of the pilot, whose number the last two belong to
    modalities: int  # 2, or 1 where the model is held against readers

    def errors(self, readers: int, cases: int) -> tuple[float, float]:
        """The expected mean square of readers, and that with what cases add to a mean over readers."""
        scale = self.cases / cases
        squares = self.readers + scale * (self.own - self.shared)
        return squares, self.readers + scale * (self.own + (readers - 1) * self.shared)


def of_modalities(study: ReaderStudy) -> Components:
    """Of the differences between the modalities of a pilot study.

    Parts that come out negative count as none.

    Source:
        Hillis, Obuchowski & Berbaum (2011), Acad Radiol 18(2), 129-142.
    """
    variance, same_reader, same_modality, neither = covariances(study)
    shared = max(same_modality - neither, 0.0)
    own = variance - same_reader
    return Components(max(0.0, mean_square(study) - own + same_modality - neither), own, shared, study.cases, 2)


def of_model(labels: ArrayLike, scores: ArrayLike, ratings: ArrayLike, figure: Figure = auroc_figure) -> Components:
    """Of the differences between a model and each reader; arguments as `readers.compare_model`."""
    study = less_readers(labels, scores, ratings, figure)
    figures, covariance = study.figures[0], study.covariance[0, :, 0]
    own = float(np.diag(covariance).mean())
    shared = float(covariance[~np.eye(len(figures), dtype=bool)].mean())
    squares = float(figures.var(ddof=1))
    return Components(max(0.0, squares - own + shared), own, max(shared, 0.0), np.size(labels), 1)


def power(components: Components, effect: float, *, readers: int, cases: int, alpha: float = 0.05) -> float:
    """Chance that the test of the difference, with random readers and random cases, finds it.

    Args:
        components: From a pilot study with as large a share of positive cases.
        effect: The true difference; its sign does not count.
        readers: At least 2.
        cases: Of the study to come.
        alpha: Two-sided level.

    Source:
        Hillis, Obuchowski & Berbaum (2011), Acad Radiol 18(2), 129-142, for two modalities; for a model against
        readers the same with one.
    """
    squares, error = components.errors(readers, cases)
    if effect == 0:
        return alpha
    if error <= 0:
        return 1.0
    degrees = (error / squares) ** 2 * (readers - 1) if squares > 0 else inf
    apart = readers * effect**2 / (components.modalities * error)
    degrees = min(degrees, 1e6)
    return float(ncf.sf(fisher.isf(alpha, 1, degrees), 1, degrees, apart))


def cases_for_power(
    components: Components, effect: float, *, readers: int, power_wanted: float, alpha: float = 0.05
) -> int | None:
    """The fewest cases with which so many readers reach a power; None where `MOST` do not suffice."""
    if power(components, effect, readers=readers, cases=MOST, alpha=alpha) < power_wanted:
        return None
    low, high = 4, MOST
    while low < high:  # more cases never have less power
        middle = (low + high) // 2
        reached = power(components, effect, readers=readers, cases=middle, alpha=alpha) >= power_wanted
        low, high = (low, middle) if reached else (middle + 1, high)
    return low
