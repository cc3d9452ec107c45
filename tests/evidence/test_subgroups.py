import numpy as np
import pytest
from scipy.special import ndtri
from sklearn.metrics import roc_auc_score

from fistula.evidence.design.subgroups import subgroup_aurocs
from fistula.evidence.ranking.area import hanley_mcneil_variance


def studied(seed, *, second, patients=120, first=1.5, shift=0.0):
    """Two groups, a slice a patient; positives are ahead by `first` in the first, by `second` in the other."""
    random = np.random.default_rng(seed)
    groups = np.repeat(["a", "b"], patients // 2)
    labels = np.tile([0, 1], patients // 2)
    ahead = np.where(groups == "a", first, second)
    scores = random.normal(size=patients) + ahead * labels + shift * (groups == "b")
    return labels, scores, np.arange(patients), np.zeros(patients), groups


def test_each_group_has_the_auroc_of_its_rows():
    labels, scores, patients, runs, groups = studied(0, second=1.5)
    found, _ = subgroup_aurocs(labels, scores, patients, runs, groups)
    assert [(one.name, one.patients, one.positives) for one in found] == [("a", 60, 30), ("b", 60, 30)]
    for one in found:
        rows = groups == one.name
        assert one.auroc.value == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


def area(labels, scores):
    return np.mean(scores[labels == 1][:, None] > scores[labels == 0])


def distance(labels, scores, groups):
    """Cochran's Q of two groups from every pair, once with each patient and once with each one deleted."""
    areas, variances = [], []
    for name in ("a", "b"):
        rows = np.flatnonzero(groups == name)
        left_out = np.array([area(labels[kept], scores[kept]) for kept in (rows[rows != one] for one in rows)])
        positives = labels[rows].sum()
        formula = hanley_mcneil_variance(area(labels, scores), positives=positives, negatives=len(rows) - positives)
        areas.append(area(labels[rows], scores[rows]))
        variances.append((len(rows) - 1) / len(rows) * np.sum((left_out - left_out.mean()) ** 2) + 0.1 * formula)
    weights = 1 / np.array(variances)
    return np.sum(weights * (areas - np.average(areas, weights=weights)) ** 2)


def test_the_test_of_interaction_is_a_permutation_of_cochrans_distance():
    labels, scores, *rest, groups = studied(2, second=0.6, patients=32)
    _, p_value = subgroup_aurocs(labels, scores, *rest, groups)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(300):
        other = groups.copy()
        for label in (0, 1):
            other[labels == label] = random.permutation(groups[labels == label])
        drawn.append(distance(labels, scores, other))
    expected = np.mean(np.array(drawn) >= distance(labels, scores, groups) - 1e-9)
    assert 0.02 < expected < 0.9
    assert p_value == pytest.approx(expected, abs=0.09)


@pytest.mark.parametrize("shift", [0.0, 2.0], ids=["alike", "another scale of scores in one group"])
def test_equal_groups_are_found_different_in_a_twentieth_of_studies_of_30_patients(shift):
    ahead = np.sqrt(2) * ndtri(0.85)
    found = [
        subgroup_aurocs(*studied(seed, second=ahead, first=ahead, patients=30, shift=shift))[1] for seed in range(200)
    ]
    assert 0.015 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_unequal_groups_are_found_by_a_test_of_some_power():
    first, second = np.sqrt(2) * ndtri([0.95, 0.70])
    found = [subgroup_aurocs(*studied(seed, second=second, first=first, patients=30))[1] for seed in range(100)]
    assert np.nanmean(np.array(found) <= 0.05) > 0.25
    assert subgroup_aurocs(*studied(1, second=0.0))[1] < 0.01


def test_slices_and_runs_of_a_patient_stay_together():
    labels, scores, patients, runs, groups = studied(3, second=0.5)
    once = subgroup_aurocs(labels, scores, patients, runs, groups)[1]
    twice = subgroup_aurocs(*(np.repeat(part, 3) for part in (labels, scores, patients, runs, groups)))[1]
    assert twice == once
    # Scores of another network are never compared: its scale says nothing.
    runs = patients // 2 % 2
    moved = np.exp(scores) * (1 + 5 * runs) + 100 * runs
    assert subgroup_aurocs(labels, moved, patients, runs, groups)[1] == pytest.approx(
        subgroup_aurocs(labels, scores, patients, runs, groups)[1]
    )


def test_groups_that_are_told_apart_perfectly_are_not_tested():
    labels, _, patients, runs, groups = studied(0, second=1.5)
    assert np.isnan(subgroup_aurocs(labels, labels.astype(float), patients, runs, groups)[1])


def test_a_group_of_one_class_is_shown_and_not_tested():
    labels, scores, patients, runs, groups = studied(0, second=1.5)
    labels = np.where(groups == "b", 1, labels)
    found, p_value = subgroup_aurocs(labels, scores, patients, runs, groups)
    assert str(found[1].auroc) == "n/a: no negatives"
    assert np.isnan(p_value)


@pytest.mark.parametrize("second", [1.5, 1.0])
def test_of_many_patients_chi_square_says_what_permutations_say(monkeypatch, second):
    study = studied(5, second=second, patients=240)
    permuted = subgroup_aurocs(*study)[1]
    monkeypatch.setattr("fistula.evidence.design.subgroups.MANY", 239)
    assert subgroup_aurocs(*study)[1] == pytest.approx(permuted, abs=0.06)
    labels, _, *rest = study
    assert np.isnan(subgroup_aurocs(labels, labels.astype(float), *rest)[1])
