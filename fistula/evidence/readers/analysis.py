"""Several readers of the same cases: modalities against each other, and a model against the readers.

Obuchowski and Rockette's analysis of variance of the readers' figures of merit, with Hillis' degrees of freedom. A case
is what is independent: a patient.
"""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from fistula.evidence.estimate import LEVEL, Estimate, name_method, without_interval
from fistula.evidence.inputs import Floats, check_labels
from fistula.evidence.readers.merit import Figure, auroc_figure


@dataclass(frozen=True)
class ReaderStudy:
    """Figures of merit of every reader in every modality, and how they vary together with the cases."""

    figures: Floats  # ``(M, R)``: M modalities, R readers
    covariance: Floats  # of the figures over cases, ``(M, R, M, R)``
    cases: int  # how many
    by_class: tuple[Floats, ...]  # the covariance over the cases of each class that have a part, as a matrix
    of_class: tuple[int, ...]  # how many these are


@dataclass(frozen=True)
class ReaderTest:
    """A mean over readers, or a difference of means, and the test of whether it is 0."""

    estimate: Estimate  # with its interval
    standard_error: float = nan  # NaN where there is none
    degrees: float = nan  # of freedom; infinite for modalities of fixed readers
    statistic: float = nan  # t, or z
    p_value: float = nan  # two-sided
    p_inferior: float = nan  # one-sided, of the null that it is `margin` or more below 0; NaN without a margin


def study_readers(labels: ArrayLike, ratings: ArrayLike, figure: Figure = auroc_figure) -> ReaderStudy:
    """Figures of all readers in all modalities, with the jackknife's covariance over cases.

    `labels` are 0 or 1, ``(C,)``, at least two cases of each class; `ratings` are ``(M, R, C)``, finite: every reader
    has read every case in every modality; `figure` is what is compared.

    Raises:
        ValueError: If a rating is missing, a class has fewer than two cases, or the shapes do not fit.

    Source:
        Hillis, Obuchowski & Berbaum (2011), Acad Radiol 18(2), 129-142, on the jackknife in the OR method.
    """
    truth, values = check_labels(labels), np.asarray(ratings, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] != len(truth):
        raise ValueError(f"ratings must have shape (modalities, readers, {len(truth)}), got {values.shape}")
    if not np.isfinite(values).all():
        modality, reader, case = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"reader {reader} has no rating of case {case} in modality {modality}")
    if min(truth.sum(), (~truth).sum()) < 2:
        raise ValueError("a reader study needs two cases of each class or more")
    cases = len(truth)
    figures, without = figure(truth, values.reshape(-1, cases))
    takes_part = np.isfinite(without[0])
    spread = without[:, takes_part] - without[:, takes_part].mean(axis=1, keepdims=True)
    parts = [spread[:, truth[takes_part] == label] for label in (True, False)]
    by_class = tuple((1 - 1 / takes_part.sum()) * part @ part.T for part in parts)
    return ReaderStudy(
        figures.reshape(values.shape[:2]),
        sum(by_class).reshape(values.shape[:2] * 2),
        cases,
        by_class,
        tuple(part.shape[1] for part in parts),
    )


def mean_of_readers(
    study: ReaderStudy, modality: int, *, readers: str = "random", margin: float | None = None
) -> ReaderTest:
    """Mean figure of a modality over its readers, from that modality's data alone.

    `study` is from `study_readers`, `modality` a number; readers who are ``random`` speak of readers like these,
    ``fixed`` of these alone. `margin` is of non-inferiority, where the figures are differences.

    Source:
        Hillis (2007), Stat Med 26(3), 596-619, on degrees of freedom; of fixed readers, `_degrees`.
    """
    figures, covariance = study.figures[modality], study.covariance[modality, :, modality, :]
    number, value, method = len(figures), float(figures.mean()), _method(readers)
    if readers == "fixed":
        degrees = _degrees(study, modality)
        return _tested(value, sqrt(max(0.0, float(covariance.mean()))), degrees, method, margin)
    if number < 2:
        return ReaderTest(without_interval(value, method, "only one reader"))
    squares = float(figures.var(ddof=1))
    together = float(covariance[~np.eye(number, dtype=bool)].mean())
    error_square = squares + max(number * together, 0.0)
    degrees = error_square**2 / squares**2 * (number - 1) if squares > 0 else inf
    return _tested(value, sqrt(error_square / number), degrees, method, margin)


def compare_modalities(
    study: ReaderStudy, first: int, second: int, *, readers: str = "random", margin: float | None = None
) -> ReaderTest:
    """Mean difference of two modalities (first less second) over readers who read in both.

    With ``random`` readers the error is the reader-by-modality mean square and what cases add to it, and the degrees of
    freedom are Hillis'; with ``fixed`` ones the cases alone vary. Mean squares and covariances are of all modalities of
    the study; parts of a variance that come out negative count as none. Without an interval for one random reader.

    Args:
        study: From `study_readers`.
        first: Number of a modality.
        second: Of another.
        readers: ``random`` or ``fixed``.
        margin: Of non-inferiority, above 0: how far the first may lie below the second; None for no such test.

    Raises:
        ValueError: If `readers` is neither.

    Source:
        Obuchowski & Rockette (1995), Commun Stat Simul Comput 24(2), 285-308; Hillis (2007), Stat Med 26(3), 596-619.
    """
    value = float(study.figures[first].mean() - study.figures[second].mean())
    modalities, number = study.figures.shape
    method = _method(readers)
    variance, same_reader, same_modality, neither = covariances(study)
    if readers == "fixed":
        beyond = (number - 1) * max(same_modality - neither, 0.0) if number > 1 else 0.0
        error = sqrt(2 * max(0.0, variance - same_reader + beyond) / number)
        return _tested(value, error, inf, method, margin)
    if number < 2:
        return ReaderTest(without_interval(value, method, "only one reader"))
    squares = mean_square(study)
    error_square = squares + max(number * (same_modality - neither), 0.0)
    degrees = error_square**2 / squares**2 * (modalities - 1) * (number - 1) if squares > 0 else inf
    return _tested(value, sqrt(2 * error_square / number), degrees, method, margin)


def compare_model(
    labels: ArrayLike,
    scores: ArrayLike,
    ratings: ArrayLike,
    *,
    figure: Figure = auroc_figure,
    readers: str = "random",
    margin: float | None = None,
) -> ReaderTest:
    """Figure of a model less the mean of the readers' on the same cases.

    A model reads a case always alike, so it is no modality of the readers: what varies is each reader's difference from
    it. Without an interval for one random reader.

    Args:
        labels: 0 or 1, ``(C,)``.
        scores: The model's, ``(C,)``; calls, 0 or 1, where the figure wants these.
        ratings: The readers', ``(R, C)``.
        figure: What is compared.
        readers: ``random`` or ``fixed``.
        margin: Of non-inferiority, above 0: how far the model may lie below the readers.

    Raises:
        ValueError: As `study_readers`.

    Source:
        Hillis et al. (2005), Stat Med 24(10), 1579-1607, eq. 23, for one modality; of differences from a standalone
        system: Chakraborty (2017), Observer Performance Methods, ch. 22.
    """
    return mean_of_readers(less_readers(labels, scores, ratings, figure), 0, readers=readers, margin=margin)


def less_readers(
    labels: ArrayLike, scores: ArrayLike, ratings: ArrayLike, figure: Figure = auroc_figure
) -> ReaderStudy:
    """Figure of a model less each reader's, as if they were those of a modality; arguments as `compare_model`."""
    together = np.concatenate([np.asarray(ratings, dtype=np.float64), np.asarray(scores, dtype=np.float64)[None]])
    study = study_readers(labels, together[None], figure)
    contrast = np.hstack([-np.eye(len(together) - 1), np.ones((len(together) - 1, 1))])
    return ReaderStudy(
        (contrast @ study.figures[0])[None],
        (contrast @ study.covariance[0, :, 0, :] @ contrast.T)[None, :, None],
        study.cases,
        tuple(contrast @ one @ contrast.T for one in study.by_class),
        study.of_class,
    )


def mean_square(study: ReaderStudy) -> float:
    """Of the interaction of readers and modalities."""
    figures = study.figures
    left = figures - figures.mean(axis=0) - figures.mean(axis=1, keepdims=True) + figures.mean()
    return float((left**2).sum()) / ((figures.shape[0] - 1) * (figures.shape[1] - 1))


def covariances(study: ReaderStudy) -> tuple[float, float, float, float]:
    """Mean variance of a figure, and mean covariances over cases: same reader, same modality, neither the same.

    They are Obuchowski and Rockette's error variance, Cov1, Cov2 and Cov3; NaN where there is no such pair.
    """
    modalities, readers = study.figures.shape
    same_modality = np.eye(modalities, dtype=bool)[:, None, :, None]
    same_reader = np.eye(readers, dtype=bool)[None, :, None, :]

    def mean(of: NDArray[np.bool_]) -> float:
        chosen = study.covariance[np.broadcast_to(of, study.covariance.shape)]
        return float(chosen.mean()) if chosen.size else nan

    return (
        mean(same_modality & same_reader),
        mean(~same_modality & same_reader),
        mean(same_modality & ~same_reader),
        mean(~same_modality & ~same_reader),
    )


def _degrees(study: ReaderStudy, modality: int) -> float:
    """Of freedom of the variance of a modality's mean, which is the sum of those over the cases of each class.

    With 5 to 12 positive cases, a model less the readers has intervals that cover in as little as 85% without them.

    Source:
        Satterthwaite's, as for an AUROC: Brunner & Munzel (2000), Biom J 42(1), 17-25.
    """
    shape = study.covariance.shape
    parts = [float(one.reshape(shape)[modality, :, modality].mean()) for one in study.by_class]
    below = sum(part**2 / (number - 1) for part, number in zip(parts, study.of_class, strict=True) if number > 1)
    return sum(parts) ** 2 / below if below > 0 else inf


def _tested(value: float, error: float, degrees: float, method: str, margin: float | None) -> ReaderTest:
    if error <= 0:
        return ReaderTest(without_interval(value, method, "nothing varies"), 0.0, degrees)
    half = float(student.ppf((1 + LEVEL) / 2, degrees)) * error
    inferior = nan if margin is None else float(student.sf((value + margin) / error, degrees))
    return ReaderTest(
        estimate=Estimate(value, value - half, value + half, method),
        standard_error=error,
        degrees=degrees,
        statistic=value / error,
        p_value=float(2 * student.sf(abs(value) / error, degrees)),
        p_inferior=inferior,
    )


def _method(readers: str) -> str:
    if readers not in ("random", "fixed"):
        raise ValueError(f"readers must be random or fixed, got {readers!r}")
    return name_method(f"Obuchowski-Rockette, Hillis' degrees of freedom, {readers} readers, random cases", LEVEL)
