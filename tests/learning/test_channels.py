"""Several sequences as the channels of one image."""

import shutil
from dataclasses import replace

import albumentations
import numpy as np
import polars as pl
import pytest
import timm
import torch
from hydra.utils import instantiate

from fistula.cohort.manifest import read_cohort
from fistula.errors import ConfigError
from fistula.evidence.ranking.roc import auroc
from fistula.learning.backbone import create_backbone
from fistula.learning.data.channels import image_rows, stem_of, widen_stem, with_constants
from fistula.learning.data.resized import resized
from fistula.learning.data.slices import Resize, SliceDataset
from fistula.learning.experiment import build
from tests.conftest import TINY_RUN
from tests.two_sequences import write_two_sequences

TWO = ("t1c", "t2")


def table():
    rows = [
        ("a", None, "t1c", None), ("b", None, "t1c", None), ("c", None, "t1c", None),
        ("x", "b", "t2", 1.0), ("y", "c", "t2", 0.4), ("z", "a", "dwi", 0.0),
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["slice_key", "grid_key", "sequence", "covered"], orient="row")


def test_a_channel_a_sequence_and_one_more_that_says_where_it_lacks():
    # Rows from 6 on are constants: 6 is black, 261 is 255; 40 % of y is there, so 0.6 of 255 is 153.
    assert image_rows(table(), 3, TWO)[:3].tolist() == [[0, 6, 261], [1, 3, 6], [2, 4, 6 + 153]]


def test_names_and_keys_decide_whatever_the_order_of_the_rows():
    order = [4, 0, 5, 2, 3, 1]
    rows, shuffled = image_rows(table(), 3, TWO), image_rows(table()[order], 3, TWO)
    place = {old: new for new, old in enumerate(order)} | {constant: constant for constant in range(6, 262)}
    for old in range(3):
        assert shuffled[place[old]].tolist() == [place[row] for row in rows[old].tolist()]


def test_a_black_picture_is_told_from_one_that_lacks():
    black = table().with_columns(covered=pl.when(pl.col("slice_key") == "y").then(1.0).otherwise("covered"))
    (_, shown, lacks), (_, blank, is_lacking) = image_rows(black, 3, TWO)[[2, 0]].tolist()
    pixels = with_constants(np.zeros((6, 4, 4), np.uint8), TWO)
    assert (pixels[shown] == pixels[blank]).all()
    assert (pixels[lacks] == 0).all()
    assert (pixels[is_lacking] == 255).all()


def test_a_sequence_of_which_nothing_is_reached_lacks_as_one_without_a_row():
    rows = image_rows(table(), 3, ("t1c", "dwi"))
    assert rows[0].tolist() == [0, 6, 261]
    assert rows[1].tolist() == [1, 6, 261]


def test_one_that_is_not_the_first_may_be_alone():
    assert image_rows(table(), 2, ("t2",))[:3].tolist() == [[6, 261], [3, 6], [4, 159]]


def test_constants_lie_behind_the_slices():
    pixels = np.arange(2 * 4, dtype=np.uint8).reshape(2, 2, 2)
    found = with_constants(pixels, TWO)
    assert found.shape == (2, 2, 2)
    assert (found[1] == pixels[1]).all()
    assert (found[2 + 7] == 7).all()
    assert found[np.array([[0, 2], [1, 257]])].tolist() == [
        [pixels[0].tolist(), [[0, 0], [0, 0]]],
        [pixels[1].tolist(), [[255, 255], [255, 255]]],
    ]
    assert (found[:] == pixels).all()
    assert with_constants(pixels, ()) is pixels


def test_where_all_sequences_show_one_picture_the_network_answers_as_to_that_picture():
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", in_chans=1, num_classes=2).eval()
    image = torch.randn(2, 1, 32, 32)
    expected = network(image)
    widen_stem(network, stem_of("sequences", None, ["t1c", "t2", "dwi"]))
    blank = torch.zeros(2, 2, 32, 32)
    torch.testing.assert_close(network(torch.cat([image, image, image, blank], dim=1)), expected)
    lacking = torch.cat([image, image, 0 * image, blank[:, :1], blank[:, 1:] + 1], dim=1)
    assert not torch.allclose(network(lacking), expected)


def test_a_network_is_told_what_lacks_in_the_unit_of_its_images():
    backbone = create_backbone(
        "test_resnet", pretrained=False, download=False, num_classes=2, image_size=32, channels="sequences",
        available=TWO,
    )  # fmt: skip
    assert (backbone.num_slices, backbone.sequences) == (3, TWO)
    image = torch.full((1, 3, 32, 32), 255.0)
    assert backbone._normalised(image)[0, 2, 0, 0] == pytest.approx(1.0)
    assert backbone._normalised(0 * image)[0, 2, 0, 0] == 0.0


@pytest.mark.parametrize(
    ("asked", "available", "message"),
    [
        (None, (), r"needs a cohort with several sequences.*model\.channels=sum"),
        (["t1c", "flair"], TWO, r"model\.sequences: must be names out of t1c, t2"),
        (["t1c", "t1c"], TWO, "each once"),
        ([], TWO, "must be names out of"),
        ("t1c", TWO, "must be names out of"),
    ],
)
def test_sequences_that_the_cohort_lacks_are_refused(asked, available, message):
    with pytest.raises(ConfigError, match=message):
        stem_of("sequences", asked, available)


def test_sequences_are_named_for_their_channels_alone():
    with pytest.raises(ConfigError, match=r"model\.sequences: is for model\.channels=sequences"):
        stem_of("sum", ["t1c"], TWO)


@pytest.mark.slow
def test_both_together_beat_either_alone(tmp_path, compose_train):
    cohort, reached = read_cohort(write_two_sequences(tmp_path / "cohort", patients=60, slices=1)), {}
    for names in ("[t1c]", "[t2]", "[t1c,t2]"):
        cfg = compose_train(
            *TINY_RUN, "model.channels=sequences", f"model.sequences={names}", "epochs=15", "optimizer.lr=0.01",
            "num_workers=0", "augmentation=none", cohort=cohort.folder,
        )  # fmt: skip
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))
        experiment.folder.mkdir(exist_ok=True)
        experiment.train(description={})
        scored = pl.read_parquet(experiment.folder / "predictions.parquet")
        reached[names] = auroc(scored["label"].to_numpy(), scored["score"].to_numpy())
        shutil.rmtree(experiment.folder)
    # Of either alone half of the negative patients look like positive ones: the best that a reader can reach is 0.75.
    assert reached["[t1c]"] < 0.9
    assert reached["[t2]"] < 0.9
    assert reached["[t1c,t2]"] > max(reached["[t1c]"], reached["[t2]"]) + 0.1


def test_slices_of_one_sequence_are_not_taken_for_those_of_another(tmp_path):
    cohort, resize = read_cohort(write_two_sequences(tmp_path / "cohort", patients=10)), Resize(32, "bicubic")
    half = len(cohort.pixels) // 2
    first, second = np.arange(half), np.arange(half, 2 * half)
    resized(cohort, resize, first)
    np.testing.assert_array_equal(resized(cohort, resize, second)[half], resize(np.asarray(cohort.pixels[half])))


def test_what_lacks_is_said_by_a_constant_that_no_augmentation_moves():
    pixels = np.full((2, 8, 8), 9, np.uint8)
    dataset = SliceDataset(
        with_constants(pixels, TWO), np.array([0, 1]), np.array([[0, 1, 2 + 255], [1, 0, 2]]),
        np.array([0, 1]), np.array([0, 0]), seed=0,
        augmentation=albumentations.Compose([albumentations.InvertImg(p=1.0)], seed=1),
    )  # fmt: skip
    found = dataset.__getitems__([0, 1])["image"]
    assert (found[:, :2] == 246).all()
    assert (found[0, 2] == 255).all()
    assert (found[1, 2] == 0).all()


def test_a_bag_holds_the_slices_of_the_first_sequence_alone(tmp_path):
    cohort = read_cohort(write_two_sequences(tmp_path / "cohort", patients=10))
    assert set(cohort.grid["sequence"]) == {"t1c"}
    assert len(cohort.grid) == len(cohort.labelled) == 20
    assert len(cohort.beside(cohort.grid["slice_key"][:3])) == 3
    assert replace(cohort, record={}).sequences == []
