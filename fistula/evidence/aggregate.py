"""From slices to patients, and from folds to one cohort."""

from math import isnan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fistula.evidence.inputs import (
    Bools,
    Floats,
    check_pairs,
    check_probabilities,
    check_scores,
    patient_codes,
    sum_by_patient,
)
from fistula.evidence.roc import auroc

RULES = ("mean", "max", "top_k", "noisy_or")
AGGREGATIONS = ("chosen", *RULES)
"""What a run may say: a rule beforehand, or that validation chooses it."""


def patient_scores(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, rule: str = "mean", k: int = 3
) -> tuple[NDArray, Bools, Floats]:
    """One label and one score for each patient, from those of the slices.

    A patient is positive if a slice is. The rules: ``mean`` of the scores; ``max``; ``top_k``, the mean of the k
    highest (of all, where there are fewer); ``noisy_or``, the probability that any is positive, were they independent.
    All but ``mean`` rise with the number of slices, ``noisy_or`` most: where the classes differ in slices a
    patient, that alone separates them.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``; in [0, 1] for ``noisy_or``.
        patients: Whom each row is of, ``(N,)``.
        rule: One of `RULES`.
        k: For ``top_k``, at least 1.

    Returns:
        ``(patients, labels, scores)``, each ``(P,)``, patients sorted.

    Raises:
        ValueError: On an unknown rule, a k below 1, a label that is not 0 or 1, or a score that is not finite (for
            ``noisy_or``: not in [0, 1]).

    Source:
        Noisy-or: Pearl (1988), Probabilistic Reasoning in Intelligent Systems, section 4.3.2.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    truth, values = check_pairs(labels, scores)
    keys, codes = patient_codes(patients, rows=len(truth))
    positive = np.bincount(codes[truth], minlength=len(keys)) > 0
    if rule == "noisy_or":
        check_probabilities(values, rows=len(truth))
        with np.errstate(divide="ignore"):
            none_positive = sum_by_patient(np.log1p(-values), codes, patients=len(keys))
        return keys, positive, -np.expm1(none_positive)
    # The scores of a patient stand together, highest first; a rule keeps the first few.
    order = np.lexsort((-values, codes))
    sizes = np.bincount(codes, minlength=len(keys))
    place = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = order[place < {"mean": len(values), "max": 1, "top_k": k}[rule]]
    kept = np.bincount(codes[keep], minlength=len(keys))
    means = sum_by_patient(values[keep], codes[keep], patients=len(keys)) / np.maximum(kept, 1)
    # Rounding must not carry a mean past what it is the mean of: equal scores have that very score, or a threshold on
    # it would part patients whom nothing parts.
    least, most = np.full(len(keys), np.inf), np.full(len(keys), -np.inf)
    np.minimum.at(least, codes[keep], values[keep])
    np.maximum.at(most, codes[keep], values[keep])
    return keys, positive, np.clip(means, least, most)


def choose_rule(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, k: int = 3) -> str:
    """The rule of the greatest patient-level AUROC; of equals, the first of `RULES`. Give it validation rows only.

    ``noisy_or`` takes part only where all patients have equally many slices: n slices of one score p give
    ``1 - (1 - p)**n``, so that scores which say nothing would part patients by how often they were imaged.

    Raises:
        ValueError: As `patient_scores`, or if there are not patients of both classes.
    """
    _, sizes = np.unique(np.asarray(patients), return_counts=True)
    rules = RULES if len(set(sizes)) == 1 else tuple(rule for rule in RULES if rule != "noisy_or")
    areas = []
    for rule in rules:
        _, truth, values = patient_scores(labels, scores, patients, rule=rule, k=k)
        areas.append(auroc(truth, values))
    if isnan(areas[0]):
        raise ValueError("choosing a rule needs patients of both classes")
    return rules[int(np.flatnonzero(np.array(areas) >= max(areas) - 1e-12)[0])]


def pool_ranks(scores: ArrayLike, folds: ArrayLike) -> Floats:
    """Out-of-fold scores as midranks within their fold, in (0, 1), so that folds can be pooled.

    Caveat: each fold's scores come from another model, and their scales differ; pooled as they are, a scale that
    differs between folds passes for (or hides) discrimination. Ranks remove the scale, but take every fold to have the
    same case mix: with few patients a fold, a fold of more positives is pushed down. The result ranks; it is
    no probability, and no threshold chosen on raw scores applies to it.

    Args:
        scores: Finite, ``(N,)``.
        folds: Which fold each row was tested in, ``(N,)``.

    Returns:
        ``(rank - 0.5) / rows of the fold``, ``(N,)``; 0.5 throughout a fold of equal scores.

    Raises:
        ValueError: If a score is not finite or the lengths differ.
    """
    names = np.asarray(folds)
    values = check_scores(scores, rows=names.size)
    keys, codes = np.unique(names, return_inverse=True)
    pooled = np.empty(len(values))
    for fold in range(len(keys)):
        rows = codes == fold
        pooled[rows] = (rankdata(values[rows]) - 0.5) / rows.sum()
    return pooled
