from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate

from fistula.cohort.manifest import read_cohort
from fistula.errors import TrainingError
from fistula.learning.experiment import build
from fistula.mistakes import mistake_behind

from ..conftest import TINY_RUN, write_cohort


@pytest.fixture
def trained(compose_train, tmp_path):
    """Train a tiny network on a small cohort; give the predictions and the summary."""
    folder = write_cohort(tmp_path / "cohort")
    cohort = read_cohort(folder)

    def train(*overrides):
        cfg = compose_train(*TINY_RUN, *overrides, cohort=folder)
        table = instantiate(cfg.split)(cohort.manifest)
        experiment = build(cfg, cohort, table)
        experiment.folder.mkdir(exist_ok=True)
        summary = experiment.train(description={"seed": cfg.seed})
        return pl.read_parquet(experiment.folder / "predictions.parquet"), summary, experiment, table

    return train


def test_a_run_learns_what_is_to_be_learned(trained):
    _, summary, _, _ = trained("epochs=8", "optimizer.lr=0.01")
    assert summary["metrics"]["test"]["patient"]["auroc"]["value"] > 0.9


@pytest.mark.parametrize("limit", ["limit_train_batches=0", "max_steps=0", "fast_dev_run=true"])
def test_a_training_without_an_epoch_is_one_line(trained, limit):
    with pytest.raises(TrainingError, match="trainer: must train an epoch whose metrics say which is best"):
        trained(f"+trainer.{limit}")


def test_what_lightning_refuses_as_any_python_would_is_one_line(trained):
    with pytest.raises(ValueError, match="val_check_interval") as caught:
        trained("+trainer.val_check_interval=100")
    found = mistake_behind(caught.value, "train", keys=[], folder=Path())
    assert str(found).startswith("trainer: cannot be used as it is set, found `val_check_interval` (100) must be less")


def test_every_val_and_test_slice_is_scored_once_with_its_own_label(trained):
    predictions, _, experiment, table = trained()
    expected = table.filter(pl.col("part") != "train")
    assert predictions["slice_key"].is_unique().all()
    assert set(predictions.select("slice_key", "part").iter_rows()) == set(
        expected.select("slice_key", "part").iter_rows()
    )
    labels = dict(experiment.data.cohort.manifest.select("slice_key", "label").iter_rows())
    assert predictions["label"].to_list() == [labels[key] for key in predictions["slice_key"]]
    assert predictions.columns == ["slice_key", "copy", "patient_key", "fold", "part", "label", "score"]
    assert predictions.schema["score"] == pl.Float64


def test_the_same_seed_gives_the_same_scores_bit_for_bit_and_another_seed_others(trained):
    once, again, workers, other = (
        trained("augmentation=color_jitter", *extra)[0]["score"].to_numpy()
        for extra in ([], [], ["num_workers=2"], ["seed=1"])
    )
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, workers)
    assert not (once == other).any()


def test_the_scores_are_those_of_the_best_epoch_if_that_is_asked_for(trained):
    predictions, summary, experiment, _ = trained("epochs=4", "optimizer.lr=0.01", "checkpoint.monitor=val/auroc")
    history = pl.read_csv(experiment.folder / "history.csv")
    assert len(history) == 4
    best = history.sort("val/auroc", "val/loss", descending=[True, False], maintain_order=True)
    assert summary["best_epoch"] == int(best["epoch"][0])  # of equal AUROCs the one with the lowest loss
    val = predictions.filter(pl.col("part") == "val")
    value = summary["metrics"]["val"]["slice"]["auroc"]["value"]
    assert value == pytest.approx(history["val/auroc"].max(), abs=1e-6)
    assert 0 < val["score"].min() < val["score"].max() < 1


def test_slices_are_scored_in_the_precision_that_was_validated_in(trained):
    run = ("epochs=2", "optimizer.lr=0.01", "trainer.precision=bf16-mixed", "checkpoint.monitor=val/loss")
    predictions, summary, experiment, _ = trained(*run)
    val = predictions.filter(pl.col("part") == "val")
    chance = val["score"].to_numpy() * val["label"].to_numpy() + (1 - val["score"].to_numpy()) * (1 - val["label"])
    loss = pl.read_csv(experiment.folder / "history.csv")["val/loss"][summary["best_epoch"]]
    # Lightning's mean over batches is weighted by their sizes; bfloat16 logits have 8 bits, single precision 24.
    assert -np.log(chance).mean() == pytest.approx(loss, rel=1e-6)
    with torch.inference_mode():
        images = torch.cat([batch["image"] for batch in experiment.data.part_dataloader("val")])
        single = experiment.classifier(images)[:, 1].double().numpy()
    assert np.abs(single - val["score"].to_numpy()).max() > 1e-5


def test_a_checkpoint_is_weights_alone(trained):
    _, _, experiment, _ = trained()
    loaded = torch.load(experiment.folder / "best.ckpt", weights_only=True)
    assert "optimizer_states" not in loaded
    assert {type(value) for value in loaded["state_dict"].values()} == {torch.Tensor}


def test_more_than_two_classes_have_a_score_each(compose_train, tmp_path):
    folder = write_cohort(tmp_path / "three", patients=24, classes=("none", "simple", "complex"))
    cohort = read_cohort(folder)
    cfg = compose_train(*TINY_RUN, cohort=folder)
    experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))
    experiment.folder.mkdir()
    summary = experiment.train(description={})
    predictions = pl.read_parquet(experiment.folder / "predictions.parquet")
    scores = predictions.select("score_none", "score_simple", "score_complex").to_numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert summary["metrics"].keys() == {"none", "simple", "complex"}


def test_copies_made_before_the_split_are_scored_one_by_one(trained):
    predictions, _, experiment, table = trained(
        "split=image_holdout", "split.expand_before_split=4", "augmentation=color_jitter_expanded"
    )
    assert len(table) == 4 * len(experiment.data.cohort.manifest)
    assert predictions.select("slice_key", "copy").is_unique().all()
    assert predictions["copy"].unique().sort().to_list() == [0, 1, 2, 3]
    # One slice, with its copies, stands on several sides: that is what the paper's protocol does.
    sides = table.group_by("slice_key").agg(pl.col("part").n_unique())
    assert sides["part"].max() > 1


def test_the_last_epoch_is_scored(trained):
    _, summary, experiment, _ = trained("epochs=3", "optimizer.lr=0.01")
    assert summary["best_epoch"] == 2
    history = pl.read_csv(experiment.folder / "history.csv")
    assert summary["metrics"]["val"]["slice"]["auroc"]["value"] == pytest.approx(history["val/auroc"][-1], abs=1e-6)


def test_kept_features_give_what_the_frozen_network_gives(trained):
    probe = ("learning=linear_probe", "model.pretrained=false", "epochs=3", "optimizer.lr=0.1")
    kept, _, experiment, _ = trained(*probe)
    assert experiment.data.features.keys() == {"train", "val"}
    # A pipeline that is not empty but changes nothing: every epoch computes the features anew.
    anew, _, experiment, _ = trained(*probe, "augmentation.transforms=[{_target_: albumentations.NoOp}]")
    assert not experiment.data.features
    np.testing.assert_allclose(kept["score"], anew["score"], atol=1e-6)
    assert kept["score"].std() > 0.005


@pytest.mark.parametrize("mode", ["gradual", "layer_decay", "warm_head"])
def test_other_modes_train_and_learn(trained, mode):
    _, summary, _, _ = trained(f"learning={mode}", "model.pretrained=false", "epochs=8", "optimizer.lr=0.01")
    assert summary["metrics"]["test"]["patient"]["auroc"]["value"] > 0.8


def test_the_averaged_weights_are_the_ones_scored(trained):
    averaged, summary, experiment, _ = trained("ema=0.9", "epochs=3", "optimizer.lr=0.01")
    plain, _, _, _ = trained("epochs=3", "optimizer.lr=0.01")
    assert not (averaged["score"] == plain["score"]).any()
    history = pl.read_csv(experiment.folder / "history.csv")
    value = summary["metrics"]["val"]["slice"]["auroc"]["value"]
    assert value == pytest.approx(history["val/auroc"][summary["best_epoch"]], abs=1e-6)


def test_copies_made_beforehand_are_trained_on_and_not_scored(trained):
    predictions, _, experiment, table = trained("augmentation=color_jitter_expanded")
    rows, copies = experiment.data.bags["train"].rows, experiment.data.bags["train"].copies
    assert len(rows) > 3 * len(table.filter(pl.col("part") == "train"))
    assert copies.max() == 3
    assert predictions["copy"].max() == 0


@pytest.mark.parametrize("mode", ["linear_probe", "gradual"])
def test_what_is_frozen_stays_to_the_last_bit_through_the_whole_loop(compose_train, tmp_path, mode):
    """Validation between epochs puts modules into other states; none of that may thaw a batch norm."""
    folder = write_cohort(tmp_path / "cohort")
    cohort = read_cohort(folder)
    # Changes nothing, but keeps the features from being computed beforehand. Gradual, by hand: the stages under the
    # classifier thaw at 0.9, 1.35, 1.8, 2.25 and 2.7 of three epochs, the last two too late.
    options = [
        f"learning={mode}",
        "model.pretrained=false",
        "augmentation.transforms=[{_target_: albumentations.NoOp}]",
    ]
    schedule = ["learning.alone=0.3", "learning.all_by=0.9"] if mode == "gradual" else []
    cfg = compose_train(*TINY_RUN, *options, *schedule, "epochs=3", "checkpoint.monitor=epoch", cohort=folder)
    experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))
    experiment.folder.mkdir()
    before = {name: value.clone() for name, value in experiment.classifier.backbone.network.state_dict().items()}
    experiment.train(description={})
    after = experiment.classifier.backbone.network.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ({"fc"} if mode == "linear_probe" else {"fc", "layer4", "layer3", "layer2"})
