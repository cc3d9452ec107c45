"""Which classes a new patient may have at a stated error rate: conformal prediction from out-of-fold scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fistula.evidence.inputs import Floats, check_probabilities


@dataclass(frozen=True)
class Calibration:
    """Scores of known patients, each by a model that did not learn from them.

    Attributes:
        labels: Index of the class of each, ``(P,)``; a patient of several classes has a row for each.
        scores: Probability that the patient's class was given, ``(P,)``.
        models: Index of the model that gave each score, ``(P,)``.
        weights: ``(P,)``; of a patient whom m models scored 1/m for each, so that every patient counts once.
    """

    labels: NDArray[np.intp]
    scores: Floats
    models: NDArray[np.intp]
    weights: Floats

    def smallest(self, label: int) -> float:
        """The smallest p-value that this many patients can give: no smaller error rate can exclude the class."""
        return 1 / (1 + float(self.weights[self.labels == label].sum()))

    def answered(self, error: float) -> tuple[float, float]:
        """With two classes, the share of known patients who get a single class, and the share of these that is wrong.

        Each known patient is judged by the others. The error rate of the sets is a share of all patients; those who are
        answered are wrong more often, since the sets that hold both classes are never wrong.

        Args:
            error: Rate at which a patient's true class may be missing from the set.

        Returns:
            Shares of the patients of both classes as known; the latter NaN where none is answered.
        """
        fits = np.empty((len(self.labels), 2))
        for label in (0, 1):
            mine = self.labels == label
            own = np.where(mine, self.scores, 1 - self.scores)
            no_better = self.weights[mine][:, None] * (self.scores[mine][:, None] <= own[None, :])
            # Without the patient itself, where it is among the known ones of the class.
            less = np.where(mine, self.weights, 0.0)
            fits[:, label] = (1 + no_better.sum(axis=0) - less) / (1 + self.weights[mine].sum() - less)
        held = fits > error
        single = held.sum(axis=1) == 1
        wrong = single & ~held[np.arange(len(held)), self.labels]
        weight = float(self.weights[single].sum())
        return weight / float(self.weights.sum()), float(self.weights[wrong].sum()) / weight if weight else float("nan")


def p_values(calibration: Calibration, scores: ArrayLike) -> Floats:
    """How well each new patient fits among the known ones of each class.

    The share of a class's known patients, and the new one itself, that fit the class no better than the new one does,
    each judged by the model that scored the known one. With one model, and patients exchangeable within the class, a
    patient of the class gets a p-value of at most e with a probability of at most e (split conformal by class); with
    the models of several folds (cross-conformal) the guarantee is 2e, and close to e in practice.

    Args:
        calibration: The known patients.
        scores: Of the new ones by each model for each class, in [0, 1], ``(models, N, K)``.

    Returns:
        p-values of each class, ``(N, K)``, in (0, 1].

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
