"""Patients as bags of slices, trained for real."""

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate

from fistula.cohort.manifest import SCHEMA, manifest_fingerprint, read_cohort
from fistula.learning.building.judging import features_of, pool
from fistula.learning.experiment import build
from fistula.learning.training.results import summarize
from fistula.sweep.folder.run import one_line

from ..conftest import TINY_RUN, write_cohort


@pytest.fixture
def trained(compose_train, tmp_path):
    """Train a tiny network on patients; give their scores, those of their slices, and the experiment."""

    def train(*overrides, folder=None):
        folder = folder or write_cohort(tmp_path / "cohort", patients=24)
        cohort = read_cohort(folder)
        cfg = compose_train(*TINY_RUN, "unit=patient", *overrides, cohort=folder)
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))
        experiment.folder.mkdir(exist_ok=True)
        experiment.train(description={"seed": cfg.seed})
        scores, slices = (pl.read_parquet(experiment.folder / f"{name}.parquet") for name in ("predictions", "slices"))
        return scores, slices, experiment

    return train


def diluted(folder, *, patients=40, slices=8):
    """A cohort of patients with one label each, of whose slices one alone shows it; nobody says which."""
    write_cohort(folder, patients=patients, slices=slices)
    pixels, manifest = np.load(folder / "pixels.npy"), pl.read_parquet(folder / "manifest.parquet")
    plain = np.random.default_rng(7).integers(0, 120, pixels.shape, dtype=np.uint8)
    shows = (
        manifest["slice_key"].str.split("-").list.last().cast(int)
        == manifest["patient_key"].str.slice(7).cast(int) % slices
    )
    pixels[~shows.to_numpy()] = plain[~shows.to_numpy()]
    np.save(folder / "pixels.npy", pixels)
    return shows


def test_every_val_and_test_patient_is_scored_once_and_every_slice_of_theirs(trained):
    scores, slices, experiment = trained("pooling=attention")
    assert scores["slice_key"].null_count() == len(scores)
    assert scores["patient_key"].is_unique().all()
    assert slices["slice_key"].is_unique().all()
    assert set(slices["patient_key"]) == set(scores["patient_key"])
    assert slices.group_by("patient_key").len()["len"].to_list() == [3] * len(scores)
    weights = slices.group_by("patient_key").agg(pl.col("weight").sum())["weight"].to_numpy()
    np.testing.assert_allclose(weights, 1, atol=1e-6)
    labels = dict(experiment.data.cohort.manifest.select("patient_key", "label").iter_rows())
    assert scores["label"].to_list() == [labels[key] for key in scores["patient_key"]]


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_same_seed_gives_the_same_scores_bit_for_bit(trained, tmp_path, pooling):
    run = (f"pooling={pooling}", "slices_per_step=2", "epochs=2", "augmentation=color_jitter")
    folder = write_cohort(tmp_path / "same", patients=24)
    once, again, other = (trained(*run, *extra, folder=folder)[0]["score"].to_numpy() for extra in ([], [], ["seed=1"]))
    np.testing.assert_array_equal(once, again)
    assert not (once == other).any()


def test_slices_without_a_label_take_part_and_their_labels_do_not(trained, tmp_path):
    folder = write_cohort(tmp_path / "half", patients=24)
    manifest = pl.read_parquet(folder / "manifest.parquet")
    one_each = pl.when(pl.col("slice_key").str.ends_with("-0")).then("label").otherwise(None)
    whole, _, _ = trained("epochs=2", folder=folder)
    thinned = manifest.with_columns(label=one_each, patient_label=pl.col("label"))
    thinned.write_parquet(folder / "manifest.parquet")
    record = (folder / "ingest.json").read_text()
    before = manifest_fingerprint(manifest.select(list(SCHEMA)))
    after = manifest_fingerprint(thinned.select(list(SCHEMA)))
    (folder / "ingest.json").write_text(record.replace(before, after))
    again, slices, _ = trained("epochs=2", folder=folder)
    assert slices["label"].null_count() == 2 * len(again)
    both = whole.join(again, on="patient_key", suffix="_again")
    assert len(both) > 0
    np.testing.assert_array_equal(both["score"], both["score_again"])


def test_a_frozen_network_sees_each_slice_once(trained, monkeypatch):
    _, _, experiment = trained("learning=linear_probe", "model.pretrained=false", "pooling=attention", "epochs=3")
    assert set(experiment.data.features) == {"train", "val"}
    batch = next(iter(experiment.data.train_dataloader()))
    assert "image" not in batch
    assert batch["features"].shape[0] == sum(batch["sizes"])


def test_training_draws_other_slices_each_epoch_and_evaluation_takes_all(trained):
    _, _, experiment = trained("slices_per_step=2")
    dataset = experiment.data._dataset("train", most=2)
    first, later = (dataset.__getitems__([epoch * len(dataset)])["position"].tolist() for epoch in (0, 3))
    assert len(first) == 2
    assert first == dataset.__getitems__([0])["position"].tolist()
    drawn = {tuple(dataset.__getitems__([epoch * len(dataset)])["position"].tolist()) for epoch in range(12)}
    assert len(drawn) == 3, later
    assert next(iter(experiment.data.val_dataloader()))["sizes"][0] == 3


def test_labels_of_patients_are_no_labels_of_slices(trained, tmp_path, fistula_here):
    folder = write_cohort(tmp_path / "spread", patients=24)
    record = (folder / "ingest.json").read_text()
    (folder / "ingest.json").write_text(record.replace('"format"', '"label_level": "patient", "format"'))
    code, _, error = fistula_here("train", f"cohort={folder}", *TINY_RUN, "unit=patient", "slice_weight=0.5")
    assert code == 2
    assert "slice_weight: needs labels of slices: this cohort's are those of a patient" in error


def test_no_number_of_a_run_of_patients_is_of_slices(trained):
    scores, _, experiment = trained("pooling=attention")
    choose = experiment.choose_threshold
    summary = summarize(scores, classes=["0", "1"], choose_threshold=choose)
    assert set(summary["metrics"]["test"]) == {"patient"}
    assert one_line(summary["metrics"]).startswith("test per-patient AUROC")
    assert summary["operating_point"]["threshold"] == summary["patient_operating_point"]["threshold"]


def test_slice_labels_add_their_loss(trained, tmp_path):
    folder = write_cohort(tmp_path / "weighed", patients=24)
    alone, weighed = (trained(f"slice_weight={weight}", folder=folder)[0]["score"] for weight in (0, 1))
    assert not (alone == weighed).any()


def test_the_loss_of_slices_is_the_mean_over_those_that_have_a_label_of_their_own(trained):
    classifier = trained("slice_weight=0.5")[2].classifier.train(mode=False)
    batch = {
        "image": torch.randint(0, 256, (5, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8),
        "label": torch.tensor([1, 0]), "sizes": [3, 2], "position": torch.arange(5.0),
    }  # fmt: skip
    classifier.log = lambda *_, **__: None
    losses = []
    for of_slices in ([-1] * 5, [-1, 1, 0, -1, -1]):  # nobody's, and those of two slices of the first patient
        losses.append(classifier.training_step(batch | {"slice_label": torch.tensor(of_slices)}, 0).item())
    bags, _, alone = pool(classifier, features_of(classifier, batch["image"])[0], [3, 2], batch["position"])
    assert losses[0] == pytest.approx(-bags[[0, 1], [1, 0]].log().mean().item(), abs=1e-6)
    assert losses[1] - losses[0] == pytest.approx(-0.5 * alone[[1, 2], [1, 0]].log().mean().item(), abs=1e-6)


@pytest.mark.slow
def test_attention_finds_the_slice_that_shows_it(trained, tmp_path):
    shows = diluted(tmp_path / "diluted")
    run = (
        "pooling=attention",
        "slices_per_step=null",
        "epochs=25",
        "optimizer.lr=0.003",
        "checkpoint.monitor=val/loss",
    )
    scores, slices, experiment = trained(*run, folder=tmp_path / "diluted")
    key = dict(zip(experiment.data.cohort.manifest["slice_key"], shows, strict=True))
    positive = slices.filter(pl.col("label") == 1)
    share = positive.filter(pl.Series([key[one] for one in positive["slice_key"]]))["weight"].mean()
    assert share >= 3 / 8  # three times chance
    test = scores.filter(pl.col("part") == "test")
    assert test.filter(pl.col("label") == 1)["score"].min() > test.filter(pl.col("label") == 0)["score"].max()


@pytest.mark.parametrize("pooling", ["attention", "transformer"])
def test_bags_are_judged_alike_in_any_company(trained, pooling):
    _, _, experiment = trained(f"pooling={pooling}")
    # In float32 a matrix of other rows is summed up in another order, which alone comes to 3e-7; in float64 to 0.
    classifier, random = experiment.classifier.eval().cpu().double(), torch.Generator().manual_seed(0)
    features = torch.randn(9, classifier.backbone.num_features, generator=random).double()
    together = pool(classifier, features, [4, 5], torch.arange(9.0))[0]
    alone = [
        pool(classifier, part, [len(part)], place)[0]
        for part, place in zip(features.split([4, 5]), torch.arange(9.0).split([4, 5]), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-7)
