import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fistula.evidence.design.subgroups import subgroup_aurocs


def studied(seed, *, second):
    """Two groups of 60 patients, a slice each; positives are ahead by 1.5 in the first, by `second` in the other."""
    random = np.random.default_rng(seed)
    groups = np.repeat(["a", "b"], 60)
    labels = np.tile([0, 1], 60)
    ahead = np.where(groups == "a", 1.5, second)
    return labels, random.normal(size=120) + ahead * labels, np.arange(120), np.zeros(120), groups


def test_each_group_has_the_auroc_of_its_rows():
    labels, scores, patients, runs, groups = studied(0, second=1.5)
    found, _ = subgroup_aurocs(labels, scores, patients, runs, groups)
    assert [(one.name, one.patients, one.positives) for one in found] == [("a", 60, 30), ("b", 60, 30)]
    for one in found:
        rows = groups == one.name
        assert one.auroc.value == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


def test_the_test_of_interaction_is_cochrans():
    found, p_value = subgroup_aurocs(*studied(1, second=0.0))
    assert p_value < 0.01
    logits, errors = [], []
    for name in ("a", "b"):
        labels, scores, _patients, _, groups = studied(1, second=0.0)
        rows = np.flatnonzero(groups == name)
        left_out = logit([roc_auc_score(labels[kept], scores[kept]) for kept in (rows[rows != one] for one in rows)])
        logits.append(logit(roc_auc_score(labels[rows], scores[rows])))
        errors.append(np.sqrt(59 / 60 * np.sum((left_out - left_out.mean()) ** 2)))
    # Of two groups, Cochran's Q is the square of their difference over its error.
    assert p_value == pytest.approx(2 * norm.sf(abs(logits[0] - logits[1]) / np.hypot(*errors)))
    alike = [subgroup_aurocs(*studied(seed, second=1.5))[1] for seed in range(200)]
    assert np.mean(np.array(alike) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert len(found) == 2


def test_a_group_of_one_class_is_shown_and_not_tested():
    labels, scores, patients, runs, groups = studied(0, second=1.5)
    labels = np.where(groups == "b", 1, labels)
    found, p_value = subgroup_aurocs(labels, scores, patients, runs, groups)
    assert str(found[1].auroc) == "n/a: no negatives"
    assert np.isnan(p_value)
