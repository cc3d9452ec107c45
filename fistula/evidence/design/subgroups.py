"""Whether a model does as well in one group of patients as in another."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from fistula.evidence.estimate import Estimate
from fistula.evidence.inputs import Bools, Codes, Floats, check_labels, check_scores, patient_codes
from fistula.evidence.ranking.area import clustered_auroc, hanley_mcneil_variance
from fistula.evidence.ranking.placements import Placements, place

DRAWS = 999  # permutations of the groups
MANY = 1000  # patients; of more the distribution that permutations find is chi-square's, and they would take minutes
_FLOOR = (
    0.1  # of the variance by formula, beside that of the jackknife, which is 0 where a group is told apart perfectly
)


@dataclass(frozen=True)
class Subgroup:
    """One group of patients."""

    name: str  # of the group
    patients: int  # in it
    positives: int  # of them, who have a positive row
    auroc: Estimate  # within runs, of the rows of these patients


def subgroup_aurocs(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, runs: ArrayLike, groups: ArrayLike
) -> tuple[list[Subgroup], float]:
    """The AUROC of each group of patients, and the test of whether they differ (interaction).

    The squared distances of the groups' AUROCs from their weighted mean, each over its delete-one-patient jackknife
    variance (Cochran's Q), are held against what they are where the groups are given to other patients with as many
    classes: a studentized permutation test, which is exact where groups differ in nothing, and holds its level where
    their scores have another location or spread. That of chi-square rejects one true hypothesis of a hundred at a
    nominal level of 5%, since the variance and the AUROC of few patients go together; it serves above `MANY` patients.

    Args:
        labels: 0 or 1, ``(N,)``.
        scores: Finite, ``(N,)``.
        patients: Whom each row is of, ``(N,)``; a patient is in one group.
        runs: Which network scored each row, ``(N,)``.
        groups: Name of the group, ``(N,)``.

    Returns:
        The groups by name, and the p-value; NaN where fewer than two groups have both classes within a run, or every
        pair is in order. A test of interaction has little power: about four times as many patients as for an effect of
        the same size in all of them.

    Raises:
        ValueError: As `clustered_auroc`.

    Source:
        Pauly, Asendorf & Konietschke (2016), Biom J 58(6), 1319-1337 (studentized permutation of clustered AUROCs);
        Cochran (1954), Biometrics 10(1), 101-129; what it rejects: `tests/evidence/test_subgroups.py`.
    """
    truth, values, keys, networks, names = (np.asarray(part) for part in (labels, scores, patients, runs, groups))
    found, placed = [], []
    for name in np.unique(names):
        rows = names == name
        area = clustered_auroc(truth[rows], values[rows], keys[rows], networks[rows])
        owners, positives = len(np.unique(keys[rows])), len(np.unique(keys[rows & (truth == 1)]))
        found.append(Subgroup(str(name), owners, positives, area))
        placed.append(place(truth[rows], values[rows], keys[rows], networks[rows]))
    if len(np.unique(keys)) > MANY:
        return found, _chi_square(placed)
    return found, _interaction(truth, values, keys, networks, names)


def _chi_square(placed: list[Placements]) -> float:
    """P of Cochran's Q where patients are many."""
    contrasts = [one.contrast([1.0]) for one in placed]
    areas, errors = np.array([(value, error) for value, error, _ in contrasts if error > 0]).reshape(-1, 2).T
    if len(areas) < 2:
        return nan
    weights = 1 / errors**2
    distance = np.sum(weights * (areas - np.average(areas, weights=weights)) ** 2)
    return float(chi2.sf(distance, len(areas) - 1))


def _interaction(labels: NDArray, scores: NDArray, patients: NDArray, runs: NDArray, groups: NDArray) -> float:
    truth = check_labels(labels)
    keys, codes = patient_codes(patients, rows=len(truth))
    won, pairs = _between_patients(truth, check_scores(scores, rows=len(truth)), codes, runs, patients=len(keys))
    if not 0 < won.sum() < pairs.sum():
        return nan
    _, of_row = np.unique(groups, return_inverse=True)
    group = np.zeros(len(keys), dtype=np.intp)
    group[codes] = of_row
    has = np.stack([np.bincount(codes[truth == label], minlength=len(keys)) > 0 for label in (True, False)])
    count = int(group.max()) + 1
    drawn = [group[None], _permuted(group, 2 * has[0] + has[1], DRAWS, np.random.default_rng(0))]
    member = (np.concatenate(drawn)[:, None] == np.arange(count)[:, None]).astype(np.float64)
    distances, compared = _cochran(won, pairs, member, has)
    if compared[0] < 2:
        return nan
    # Rounding must not make two equal distances differ.
    return float((1 + np.sum(distances[1:] >= distances[0] - 1e-9)) / (1 + DRAWS))


def _between_patients(
    truth: Bools, scores: Floats, codes: Codes, runs: NDArray, *, patients: int
) -> tuple[Floats, Floats]:
    """How many pairs of a patient's positive rows and another's negative ones are in order, and are: `(P, P)` each.

    Rows of one run are compared; a tie counts one half.
    """
    won, pairs = np.zeros((patients, patients)), np.zeros((patients, patients))
    for run in np.unique(runs):
        up, down = (np.flatnonzero((runs == run) & (truth == label)) for label in (True, False))
        pairs += np.outer(*(np.bincount(codes[rows], minlength=patients) for rows in (up, down)))
        down = down[np.argsort(codes[down], kind="stable")]
        if not len(up) or not len(down):
            continue
        owners, starts = np.unique(codes[down], return_index=True)
        for row in up:
            ahead = (scores[row] > scores[down]) + 0.5 * (scores[row] == scores[down])
            won[codes[row], owners] += np.add.reduceat(ahead, starts)
    return won, pairs


def _permuted(group: Codes, strata: Codes, draws: int, random: np.random.Generator) -> Codes:
    """Groups given to other patients of the same stratum, `(draws, P)`."""
    drawn = np.empty((draws, len(group)), dtype=np.intp)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        drawn[:, members] = random.permuted(np.tile(group[members], (draws, 1)), axis=1)
    return drawn


def _cochran(won: Floats, pairs: Floats, member: Floats, has: Bools) -> tuple[Floats, Codes]:
    """Cochran's Q of each division into groups, `(S,)`, and how many groups it compares.

    Args:
        won: Pairs of patients' rows in order, `(P, P)`.
        pairs: All of them, `(P, P)`.
        member: Whether a patient is in a group, `(S, G, P)`.
        has: Whether a patient has positive rows, and negative rows, `(2, P)`.
    """
    flat = member.reshape(-1, member.shape[2])
    as_positive = [flat @ matrix.T for matrix in (won, pairs)]
    ahead, met = (one + flat @ matrix - np.diag(matrix) for one, matrix in zip(as_positive, (won, pairs), strict=True))
    total, all_pairs = ((flat * one).sum(axis=1) for one in as_positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = total / all_pairs
        left_out = (total[:, None] - ahead) / (all_pairs[:, None] - met)
        size = flat.sum(axis=1)
        inside = np.where(flat > 0, np.nan_to_num(left_out), 0.0)
        away = np.where(flat > 0, inside - (inside.sum(axis=1) / size)[:, None], 0.0)
        variance = (size - 1) / size * (away**2).sum(axis=1)
        common = float(won.sum() / pairs.sum())
        positives, negatives = (flat @ side for side in has)
        formula = hanley_mcneil_variance(common, positives=positives, negatives=negatives)
        weight = np.where(all_pairs > 0, 1 / (variance + _FLOOR * formula), 0.0).reshape(member.shape[:2])
    area = np.nan_to_num(area).reshape(member.shape[:2])
    middle = (weight * area).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-300)
    return (weight * (area - middle[:, None]) ** 2).sum(axis=1), (weight > 0).sum(axis=1)
