import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.macro import macro_auroc


def simulate(random, patients, slices=4, strength=1.0, classes=3):
    """One class a patient; slices of a patient share half of their noise."""
    keys = np.repeat(np.arange(patients), slices)
    labels = (np.arange(patients) % classes)[keys]
    noise = (random.normal(size=(patients, classes))[keys] + random.normal(size=(len(keys), classes))) / np.sqrt(2)
    return np.eye(classes, dtype=int)[labels], noise + strength * np.eye(classes)[labels], keys


def test_it_is_the_mean_over_classes_that_scikit_learn_gives():
    labels, scores, keys = simulate(np.random.default_rng(0), 20)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = roc_auc_score(labels.argmax(axis=1), shares, multi_class="ovr", average="macro")
    assert macro_auroc(labels, shares, keys).value == pytest.approx(expected, abs=1e-12)


def test_two_classes_that_mirror_each_other_give_the_interval_of_one():
    random = np.random.default_rng(1)
    keys = np.repeat(np.arange(24), 3)
    labels, scores = (keys % 2).astype(int), random.normal(size=72) + keys % 2
    macro = macro_auroc(np.stack([1 - labels, labels], 1), np.stack([-scores, scores], 1), keys)
    single = clustered_auroc(labels, scores, keys)
    assert (macro.value, macro.low, macro.high) == pytest.approx((single.value, single.low, single.high), abs=1e-12)


def test_copies_of_every_slice_say_no_more_than_the_slices():
    labels, scores, keys = simulate(np.random.default_rng(2), 18)
    once = macro_auroc(labels, scores, keys)
    twice = macro_auroc(*(np.repeat(part, 2, axis=0) for part in (labels, scores, keys)))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_scores_of_another_run_may_have_another_scale():
    labels, scores, keys = simulate(np.random.default_rng(3), 30)
    runs = keys % 2
    moved = scores * (1 + runs)[:, None] + 7 * runs[:, None]
    assert macro_auroc(labels, moved, keys, runs).value == pytest.approx(macro_auroc(labels, scores, keys, runs).value)


@pytest.mark.parametrize(("patients", "strength"), [(24, 1.0), (60, 2.0)])
def test_the_interval_covers(patients, strength):
    random = np.random.default_rng(4)
    truth = macro_auroc(*simulate(random, 1200, strength=strength)).value
    found = [macro_auroc(*simulate(random, patients, strength=strength)) for _ in range(150)]
    assert np.mean([one.low <= truth <= one.high for one in found]) > 0.91


def test_a_class_that_nobody_has_leaves_it_undefined_and_says_so():
    labels, scores, keys = simulate(np.random.default_rng(5), 12)
    labels[:, 2] = 0
    assert macro_auroc(labels, scores, keys).reason == "no positives"


def test_a_class_of_one_patient_leaves_a_value_without_an_interval():
    labels, scores, keys = simulate(np.random.default_rng(6), 12)
    labels[:, 2] = keys == 0
    found = macro_auroc(labels, scores, keys)
    assert found.is_defined
    assert not found.has_interval
    assert found.reason == "only one patient has positive rows"


def test_a_perfect_model_has_an_interval_below_1():
    labels, _, keys = simulate(np.random.default_rng(7), 30)
    found = macro_auroc(labels, labels.astype(float), keys)
    assert found.value == found.high == 1
    assert 0.6 < found.low < 0.95


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(rows, classes\), got \(4,\) and \(4, 2\)"):
        macro_auroc([0, 1, 0, 1], np.zeros((4, 2)), [0, 1, 2, 3])
