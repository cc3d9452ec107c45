"""From slices to patients."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fistula.evidence.inputs import (
    Bools,
    Floats,
    check_pairs,
    check_probabilities,
    patient_codes,
    sum_by_patient,
    turns_of,
)

RULES = ("mean", "max", "top_k", "noisy_or")


def patient_scores(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, rule: str = "mean", k: int = 3
) -> tuple[NDArray, Bools, Floats]:
    """One label and one score for each patient, from those of the slices.

    A patient is positive if a slice is. The rules: ``mean`` of the scores; ``max``; ``top_k``, the mean of the k
    highest (of all, where there are fewer); ``noisy_or``, the probability that any is positive, were they independent.
    All but ``mean`` rise with the number of slices, ``noisy_or`` most: where the classes differ in slices a
    patient, that alone separates them (`counting.slices_tell_the_class` says whether they do).

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
    keep = order[turns_of(codes) < {"mean": len(values), "max": 1, "top_k": k}[rule]]
    kept = np.bincount(codes[keep], minlength=len(keys))
    means = sum_by_patient(values[keep], codes[keep], patients=len(keys)) / np.maximum(kept, 1)
    # Rounding must not carry a mean past what it is the mean of: equal scores have that very score, or a threshold on
    # it would part patients whom nothing parts.
    least, most = np.full(len(keys), np.inf), np.full(len(keys), -np.inf)
    np.minimum.at(least, codes[keep], values[keep])
    np.maximum.at(most, codes[keep], values[keep])
    return keys, positive, np.clip(means, least, most)
