import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from fistula.evidence.design.compare import auroc_test
from fistula.evidence.ranking.area import clustered_auroc
from fistula.evidence.ranking.macro import macro_auroc, place_classes


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


def paired(seed, patients=24):
    """Two models of the same slices of three classes, the first the stronger one, over two runs."""
    random = np.random.default_rng(seed)
    labels, first, keys = simulate(random, patients, strength=1.5)
    second = first + random.normal(size=first.shape) - 0.5 * labels
    return labels, np.stack([first, second], axis=2), keys, keys // 3 % 2


def by_hand(labels, scores, runs):
    """Mean over classes of the AUROC against the rest, each run weighing its pairs, by scikit-learn."""
    areas = []
    for truth, values in zip(labels.T, scores.T, strict=True):
        parts = [(truth[runs == run], values[runs == run]) for run in np.unique(runs)]
        pairs = [part.sum() * (1 - part).sum() for part, _ in parts]
        areas.append(np.average([roc_auc_score(*part) for part in parts], weights=pairs))
    return np.mean(areas)


@pytest.mark.parametrize("seed", range(3))
def test_two_models_differ_by_as_much_as_patients_deleted_one_by_one_say(seed):
    labels, scores, keys, runs = paired(seed)
    found = auroc_test(place_classes(labels, scores, keys, runs))

    def difference(kept):
        return np.subtract(*(by_hand(labels[kept], scores[kept, :, model], runs[kept]) for model in (0, 1)))

    left_out = np.array([difference(keys != key) for key in np.unique(keys)])
    error = np.sqrt(23 / 24 * np.sum((left_out - left_out.mean()) ** 2))
    assert found.difference.value == pytest.approx(difference(keys >= 0), abs=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    # Satterthwaite's: each class of patients is a part of the variance, with as many degrees as patients less one.
    away = (left_out - left_out.mean())[:, None] * labels[np.unique(keys, return_index=True)[1]]
    parts = np.sum(away**2, axis=0)
    degrees = found.degrees
    assert degrees == pytest.approx(parts.sum() ** 2 / np.sum(parts**2 / 7), rel=0.15)
    assert found.p_value == pytest.approx(2 * student.sf(abs(found.difference.value) / error, degrees), rel=1e-9)
    half = student.ppf(0.975, degrees) * error
    assert found.difference.high - found.difference.value == pytest.approx(half, rel=1e-9)


def test_a_rare_class_costs_as_much_as_it_varies_and_no_more():
    """3, 27 and 30 patients; with the degrees of the rarest class alone the mean width was 0.37, the coverage 99.5%."""
    random, sizes, held, widths = np.random.default_rng(1), (3, 27, 30), [], []

    def draw(times):
        labels = np.eye(3, dtype=int)[np.repeat(np.arange(3), np.array(sizes) * times)]
        return labels, random.normal(size=labels.shape) + labels * (1.2, 1.2, 0.6)

    labels, scores = draw(1000)
    truth = np.mean([roc_auc_score(labels[:, one], scores[:, one]) for one in range(3)])
    for _ in range(200):
        found = macro_auroc(*draw(1), np.arange(60))
        held.append(found.low <= truth <= found.high)
        widths.append(found.high - found.low)
    assert np.mean(held) > 0.93
    assert np.mean(widths) < 0.32


def test_equal_models_are_found_different_in_a_twentieth_of_studies():
    random = np.random.default_rng(8)
    found = []
    for _ in range(300):
        labels, first, keys = simulate(random, 45, slices=2)
        other = simulate(random, 45, slices=2)[1]
        placements = place_classes(labels, np.stack([first, (first + other) / np.sqrt(2)], axis=2), keys)
        found.append(placements)
    centered = np.mean([np.subtract(*one.aurocs) for one in found])
    errors = np.array([one.contrast([1.0, -1.0]) for one in found])
    beyond = np.abs(errors[:, 0] - centered) > student.ppf(0.975, errors[:, 2]) * errors[:, 1]
    assert beyond.mean() == pytest.approx(0.05, abs=0.035)


def test_a_model_does_not_differ_from_itself():
    labels, scores, keys, runs = paired(4)
    found = auroc_test(place_classes(labels, scores[:, :, [0, 0]], keys, runs))
    assert str(found.difference) == "0.000 (n/a: the difference does not vary)"
    assert np.isnan(found.p_value)


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
    assert found.reason == "all positives are of one patient"


def test_a_perfect_model_has_an_interval_below_1():
    labels, _, keys = simulate(np.random.default_rng(7), 30)
    found = macro_auroc(labels, labels.astype(float), keys)
    assert found.value == found.high == 1
    assert 0.6 < found.low < 0.95


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(rows, classes\), got \(4,\) and \(4, 2\)"):
        macro_auroc([0, 1, 0, 1], np.zeros((4, 2)), [0, 1, 2, 3])
