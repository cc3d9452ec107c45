"""Whether what should say nothing of the class, such as how often a patient was imaged, tells it all the same."""

import numpy as np
from numpy.typing import ArrayLike

from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import check_labels, patient_codes
from fistula.evidence.ranking.area import clustered_auroc


def slices_tell_the_class(labels: ArrayLike, patients: ArrayLike) -> Estimate:
    """The per-patient AUROC of nothing but the number of slices: 0.5 where it says nothing of the class.

    Args:
        labels: 0 or 1, ``(N,)``, a row a slice; a patient is positive if a slice is.
        patients: Whom each slice is of, ``(N,)``.

    Returns:
        Undefined where all patients are of one class. A rule that rises with the number of slices (`aggregate.RULES`
        but the mean) praises noise where the interval leaves out 0.5.

    Raises:
        ValueError: If a label is not 0 or 1, or the lengths differ.
    """
    truth = check_labels(labels)
    keys, codes = patient_codes(patients, rows=len(truth))
    positive = np.bincount(codes[truth], minlength=len(keys)) > 0
    return clustered_auroc(positive.astype(int), np.bincount(codes, minlength=len(keys)), keys)
