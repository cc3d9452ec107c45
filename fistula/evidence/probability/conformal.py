"""Which classes a new patient may have at a stated error rate: conformal prediction from out-of-fold scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fistula.evidence.inputs import Floats, check_probabilities


@dataclass(frozen=True)
class Calibration:
    """Scores of known patients, each by a model that did not learn from them."""

    labels: NDArray[np.intp]  # index of the class of each, ``(P,)``
    scores: Floats  # probability that the patient's class was given, ``(P,)``
    models: NDArray[np.intp]  # index of the model that gave each score, ``(P,)``
    weights: Floats  # ``(P,)``; of a patient whom m models scored 1/m for each, so that every patient counts once

    def smallest(self, label: int) -> float:
        """The smallest p-value that this many patients can give: no smaller error rate can exclude the class."""
        return 1 / (1 + float(self.weights[self.labels == label].sum()))


def p_values(calibration: Calibration, scores: ArrayLike) -> Floats:
    """How well each new patient fits among the known ones of each class.

    The share of a class's known patients, and the new one itself, that fit the class no better than the new one does,
    each judged by the model that scored the known one. With one model, and patients exchangeable within the class, a
    patient of the class gets a p-value of at most e with a probability of at most e (split conformal by class); with
    the models of several folds (cross-conformal) the guarantee is 2e, and close to e in practice. Gives p-values of
    each class, ``(N, K)``, in (0, 1]. `calibration` are the known patients; `scores` of the new ones are by each model
    for each class, in [0, 1], ``(models, N, K)``.

    Raises:
        ValueError: If a score is not in [0, 1], or a model is missing.

    Source:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World, section 4.5 (conditional on the
        label); Sadinle, Lei and Wasserman (2019), J Am Stat Assoc 114, 223-234 (sets of several classes by the
        probability of each); Vovk (2015), Ann Math Artif Intell 74, 9-28 (cross-conformal); Barber et al. (2021), Ann
        Stat 49(1), 486-507 (its guarantee).
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or len(values) <= calibration.models.max(initial=-1):
        raise ValueError(f"scores must have shape (models, N, K), got {values.shape}")
    check_probabilities(values.ravel(), rows=values.size)
    found = []
    for label in range(values.shape[2]):
        of_class = calibration.labels == label
        known, models = calibration.scores[of_class], calibration.models[of_class]
        weights = calibration.weights[of_class]
        # A tie counts: it makes the set larger, never smaller than the error rate allows.
        no_better = known[:, None] <= values[models, :, label]
        found.append((1 + (weights[:, None] * no_better).sum(axis=0)) / (1 + weights.sum()))
    return np.stack(found, axis=1)


@dataclass(frozen=True)
class Answers:
    """What known patients would be told, each judged by the others; one entry a row, ``(N,)``."""

    answered: NDArray[np.bool_]  # whether one class alone remains possible, and is what the operating point decides
    wrong: NDArray[np.bool_]  # whether that answer is not the patient's class


def answers_of_known(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, decisions: ArrayLike, *, error: float
) -> Answers:
    """Judge known patients as new ones are judged, without themselves: how often those who are answered are wrong.

    The error rate of the sets is a share of all patients. Those who are answered are wrong more often, since the sets
    that hold several classes are never wrong. How many of these sets lack the patient's class says nothing: each
    patient being ranked among all of the class, the share follows from their number, whatever the scores are.

    Args:
        labels: Index of the class of each row, ``(N,)``.
        scores: Of each class by a network that did not learn from the patient, in [0, 1], ``(N, K)``.
        patients: Whom each row is of, ``(N,)``; a patient whom several networks scored has several, and counts once.
        decisions: Index of the class that the operating point gives, ``(N,)``.
        error: Rate at which a patient's true class may be missing from the set.

    Raises:
        ValueError: If a score is not in [0, 1].
    """
    truth, calls = np.asarray(labels, dtype=np.intp), np.asarray(decisions, dtype=np.intp)
    values = np.asarray(scores, dtype=np.float64)
    check_probabilities(values.ravel(), rows=values.size)
    _, owners, rows = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    weights = 1 / rows[owners]
    fits = np.empty(values.shape)
    for label in range(values.shape[1]):
        mine = truth == label
        others = weights[mine][:, None] * (owners[mine][:, None] != owners[None, :])
        no_better = others * (values[mine, label][:, None] <= values[None, :, label])
        fits[:, label] = (1 + no_better.sum(axis=0)) / (1 + others.sum(axis=0))
    held, every = fits > error, np.arange(len(truth))
    answered = (held.sum(axis=1) == 1) & held[every, calls]
    return Answers(answered, answered & (calls != truth))
