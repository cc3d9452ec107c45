"""What a study of this many patients could have found: the least difference of two AUROCs, by simulated studies."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from fistula.evidence.inputs import Floats

STUDIES = 1000
_PAIRS = 20_000_000  # of patients compared at once, over the simulated studies
_STEPS = 9  # halvings of the range: to 0.002
_ROOM = 0.02  # from an AUROC of 0, which no worse model need pass


def detectable_difference(
    auroc: float, *, positives: int, negatives: int, correlation: float = 0.5, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The least difference by which a worse model is found with this power, by the test that `compare` makes.

    Studies are simulated in which the better model has this AUROC and the worse one less: normal scores, one a patient,
    each with the variance that its own AUROC gives. What a formula takes from the models that were compared, the power
    at no difference, is optimistic, the more so the fewer patients there are.

    Args:
        auroc: Of the better model, in (0, 1).
        positives: Patients, at least 2.
        negatives: Patients, at least 2.
        correlation: Of the two models' scores within a class, in (-1, 1).
        alpha: Level of the two-sided test, as a correction for several tests leaves it.
        power: Wanted, in (0, 1).

    Returns:
        In steps of about 0.002; NaN where no worse model would be found with this power.

    Raises:
        ValueError: If a value is out of range.
    """
    if not (0 < auroc < 1 and positives >= 2 and negatives >= 2 and -1 < correlation < 1 and 0 < alpha < power < 1):
        raise ValueError(
            "expected auroc in (0, 1), two patients of each class, a correlation in (-1, 1) and alpha < power in "
            f"(0, 1), got {auroc}, {positives}, {negatives}, {correlation}, {alpha}, {power}"
        )
    studies = int(np.clip(_PAIRS // (positives * negatives), 200, STUDIES))
    random = np.random.default_rng(0)
    share = np.array([[1.0, 0.0], [correlation, np.sqrt(1 - correlation**2)]])
    noise = [random.standard_normal((studies, count, 2)) @ share.T for count in (positives, negatives)]
    low, high = 0.0, auroc - _ROOM
    if high <= 0 or _found(noise, auroc, auroc - high, alpha=alpha) < power:
        return float("nan")
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _found(noise, auroc, auroc - middle, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return high


def _found(noise: list[NDArray], better: float, worse: float, *, alpha: float) -> float:
    """The share of studies in which the better model is found to be better."""
    ahead = np.sqrt(2) * ndtri([better, worse])
    size = [part.shape[1] for part in noise]
    hits = 0
    for positive, negative in zip(noise[0] + ahead, noise[1], strict=True):
        wins = (positive[:, None, :] > negative[None, :, :]).astype(np.float32)
        difference = wins[..., 0] - wins[..., 1]
        hits += _rejects(difference.mean(axis=1).astype(np.float64), difference.mean(axis=0).astype(np.float64), alpha)
    return hits / len(noise[0]) if min(size) else 0.0


def _rejects(of_positives: Floats, of_negatives: Floats, alpha: float) -> bool:
    """Whether patients left out in turn tell the mean difference of placements from 0, and the first is ahead."""
    value, counts = float(of_positives.mean()), (len(of_positives), len(of_negatives))
    left_out = np.concatenate(
        [(n * value - part) / (n - 1) for n, part in zip(counts, (of_positives, of_negatives), strict=True)]
    )
    total = sum(counts)
    variance = (total - 1) / total * float(np.sum((left_out - left_out.mean()) ** 2))
    parts = [float(part.var(ddof=1)) / len(part) for part in (of_positives, of_negatives)]
    spread = sum(part**2 / (n - 1) for part, n in zip(parts, counts, strict=True))
    if value <= 0 or variance < 1e-24 or spread == 0:
        return False
    return bool(2 * stdtr(max(1.0, sum(parts) ** 2 / spread), -value / np.sqrt(variance)) < alpha)
