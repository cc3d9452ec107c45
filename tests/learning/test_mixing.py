"""Mixup and cutmix: images and labels have the same share of two slices, drawn by seed, epoch and slice."""

import re
from itertools import combinations

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from scipy.stats import beta, kstest

from fistula.cohort.manifest import read_cohort
from fistula.learning.data.mixing import Mixed, square
from fistula.learning.experiment import build
from fistula.learning.losses import CrossEntropy

from ..conftest import TINY_RUN, write_cohort
from ..two_sequences import write_two_sequences

VALUES = torch.tensor([0, 60, 120, 180, 240])


class Plain:
    """Slices of one gray level each, three of which are of class 1, with a covariate that the second lacks."""

    def __len__(self):
        return len(VALUES)

    def __getitems__(self, draws):
        chosen = VALUES[torch.tensor(draws) % len(VALUES)]
        return {
            "image": chosen.to(torch.uint8)[:, None, None, None].repeat(1, 3, 40, 40),
            "label": (chosen >= 120).long(),
            "covariates": chosen[:, None].float().masked_fill(chosen[:, None] == 60, torch.nan),
        }


def mixed(*, seed=0, **alphas):
    return Mixed(Plain(), seed=seed, **{"mixup": 0.0, "cutmix": 0.0} | alphas)


def shares(number, **alphas):
    return [mixed(seed=seed, **alphas).__getitems__([0, 3])["share"] for seed in range(number)]


def test_mixup_gives_image_labels_and_covariates_the_same_share_of_two_slices():
    batch = mixed(mixup=1.0).__getitems__([1, 4, 3, 0])
    share, before = batch["share"], torch.tensor([0.0, 60.0, 240.0, 180.0])
    expected = share * torch.tensor([60.0, 240.0, 180.0, 0.0]) + (1 - share) * before
    assert 0.05 < share < 0.95
    assert batch["image"].dtype == torch.uint8
    torch.testing.assert_close(batch["image"][:, 0, 7, 9].float(), expected, atol=0.51, rtol=0)
    assert (batch["label"].tolist(), batch["other"].tolist()) == ([0, 1, 1, 0], [0, 0, 1, 1])
    known = batch["covariates"][:, 0]
    assert known.isnan().tolist() == [True, True, False, False]
    torch.testing.assert_close(known[2:], expected[2:])


def test_cutmix_puts_a_square_of_the_other_image_in_and_labels_share_by_area():
    for seed in range(30):
        batch = mixed(seed=seed, cutmix=1.0).__getitems__([1, 4])
        first, second = batch["image"]
        assert set(first.unique().tolist()) <= {60, 240}
        is_own = first == 60
        assert torch.equal(is_own, second == 240)
        assert torch.equal(is_own[0], is_own[2])
        assert is_own.float().mean().item() == pytest.approx(batch["share"])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    assert kstest(shares(2000, mixup=alpha), beta(alpha, alpha).cdf).pvalue > 0.01


def test_a_square_has_the_area_asked_for_unless_it_would_leave_the_image():
    random = np.random.default_rng(0)
    drawn = [square(random, 400, area=0.09) for _ in range(500)]
    ends = np.array([[(one.start, one.stop) for one in pair] for pair in drawn])
    assert (ends.min(), ends.max()) == (0, 400)
    is_cut = ((ends == 0) | (ends == 400)).any(axis=2)
    assert 0.2 < is_cut.mean() < 0.4  # a center is within 60 of either end with a chance of 0.3
    assert set(np.diff(ends, axis=2)[~is_cut].ravel().tolist()) <= {120, 121}


def test_of_both_each_batch_has_one():
    kinds = [
        len(mixed(seed=seed, mixup=1.0, cutmix=1.0).__getitems__([1, 4])["image"][0].unique()) for seed in range(200)
    ]
    assert 0.3 < np.mean([number == 1 for number in kinds]) < 0.7


def test_what_is_drawn_follows_from_seed_epoch_and_slice():
    def drawn(*draws, seed=0):
        return mixed(seed=seed, mixup=1.0).__getitems__(list(draws))["share"]

    assert drawn(1, 2) == drawn(1, 3, 4)
    assert len({drawn(1, 2), drawn(3, 2), drawn(1 + len(VALUES), 2), drawn(1, 2, seed=1)}) == 4


@pytest.fixture
def built(compose_train, tmp_path):
    folder = write_cohort(tmp_path / "cohort")
    cohort = read_cohort(folder)

    def of(*overrides):
        cfg = compose_train(*TINY_RUN, *overrides, cohort=folder)
        return build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))

    return of


def test_the_loss_is_that_of_both_labels_each_with_its_share(built):
    classifier = built("mixup=0.2").classifier
    weighted = CrossEntropy([30, 10], class_balance=1.0, label_smoothing=0.1)
    classifier.loss = weighted
    logits, label, other = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([1, 0, 1, 1, 0, 0])
    found = classifier._loss(logits, {"label": label, "other": other, "share": 0.3})
    torch.testing.assert_close(found, 0.3 * weighted(logits, label) + 0.7 * weighted(logits, other))
    # With one class weight for all it is the cross-entropy of the mean of the two labels.
    classifier.loss = CrossEntropy([20, 20], class_balance=0.0, label_smoothing=0.0)
    one_hot = torch.nn.functional.one_hot
    soft = 0.3 * one_hot(label, 2) + 0.7 * one_hot(other, 2)
    found = classifier._loss(logits, {"label": label, "other": other, "share": 0.3})
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, soft))


def test_only_training_images_are_mixed_and_none_where_nothing_is_asked_for(built):
    plain, mixing = built(), built("mixup=1.0")
    assert "share" not in next(iter(plain.data.train_dataloader()))
    assert "share" in next(iter(mixing.data.train_dataloader()))
    for of in (lambda data: data.val_dataloader(), lambda data: data.part_dataloader("train")):
        for one, other in zip(of(plain.data), of(mixing.data), strict=True):
            assert one.keys() == other.keys()
            assert torch.equal(one["image"], other["image"])


def test_the_same_seed_trains_the_same_for_any_number_of_workers_and_without_mixing_otherwise(built):
    def scores(*overrides):
        experiment = built("augmentation=color_jitter", "optimizer.lr=0.01", *overrides)
        experiment.folder.mkdir(exist_ok=True)
        experiment.train(description={})
        return pl.read_parquet(experiment.folder / "predictions.parquet")["score"].to_numpy()

    mixup, workers, cutmix, off = (
        scores(*extra) for extra in (["mixup=0.4"], ["mixup=0.4", "num_workers=2"], ["cutmix=1"], [])
    )
    np.testing.assert_array_equal(mixup, workers)
    assert not any((one == other).any() for one, other in combinations([mixup, cutmix, off], 2))


def test_the_features_of_a_frozen_network_are_not_kept_of_images_that_are_mixed(built):
    experiment = built("learning=linear_probe", "model.pretrained=false", "cutmix=1.0", "epochs=1")
    experiment.folder.mkdir(exist_ok=True)
    experiment.train(description={})
    assert experiment.data.features == {}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["unit=patient", "mixup=0.2"], r"mixup: is not for unit=patient, .*found 0.2\. Set mixup=0$"),
        (["head=locate", "cutmix=1"], r"cutmix: is not for head=locate"),
        (["model.channels=late", "cutmix=1"], r"cutmix: is not for model.channels=late"),
        (
            ["model=clinical", "model.architecture=clinical", "covariates=[age]", "mixup=1"],
            r"mixup: is not for model=cli",
        ),
        (["mixup=-1"], r"mixup: must be at least 0 and at most 100, found -1"),
    ],
    ids=["patient", "locate", "late", "clinical", "negative"],
)
def test_what_cannot_be_mixed_is_refused_in_one_line(fistula_here, tmp_path, overrides, message):
    folder = tmp_path / "cohort"
    if "channels" in overrides[0]:
        write_two_sequences(folder, patients=20, slices=3)
    else:
        write_cohort(folder)
    code, _, error = fistula_here("train", f"cohort={folder}", *TINY_RUN, *overrides)
    assert (code, len(error.strip().splitlines())) == (2, 1), error
    assert re.search(message, error.strip()), error
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
