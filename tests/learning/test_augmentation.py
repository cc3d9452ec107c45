"""Every pipeline in conf/augmentation, and the transforms and copies that are our own."""

import albumentations
import numpy as np
import polars as pl
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.ndimage import gaussian_filter
from torchvision.transforms import RandomHorizontalFlip

from fistula.cli import config_folder
from fistula.errors import ConfigError
from fistula.learning.data.expansion import Expanded, with_copies
from fistula.learning.data.slices import draw
from fistula.learning.mr_transforms import BiasField, Ghosting, RicianNoise
from fistula.learning.pipeline import Pipeline

PIPELINES = sorted(path.stem for path in (config_folder() / "augmentation").glob("*.yaml"))
RANDOM = [name for name in PIPELINES if name != "none"]
IMAGE = gaussian_filter(np.random.default_rng(0).uniform(0, 255, (48, 48)), 2)
IMAGE = np.uint8(255 * (IMAGE - IMAGE.min()) / np.ptp(IMAGE))


def augmented(pipeline, image, *, seed):
    return draw(pipeline, image, seed=seed)["image"]


def pipeline(name):
    config = OmegaConf.load(config_folder() / "augmentation" / f"{name}.yaml")
    return instantiate(OmegaConf.merge({"seed": 0}, config), _convert_="all", seed=0)


def draws(transform, image, number=40):
    compose = albumentations.Compose([transform], seed=0)
    return np.stack([augmented(compose, image, seed=(0, epoch, 0)) for epoch in range(number)])


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_keeps_dtype_shape_and_range(name, size):
    for epoch in range(10):
        drawn = augmented(pipeline(name), IMAGE[:size, :size], seed=(0, epoch, 0))
        assert (drawn.dtype, drawn.shape) == (np.uint8, (size, size))


@pytest.mark.parametrize("name", RANDOM)
def test_every_pipeline_draws_by_its_seed_alone(name):
    one, other = pipeline(name), pipeline(name)
    for epoch in (3, 1, 2):  # in whatever order, after whatever else was drawn
        augmented(other, IMAGE, seed=(9, 9))
        np.testing.assert_array_equal(augmented(one, IMAGE, seed=(0, epoch)), augmented(other, IMAGE, seed=(0, epoch)))
    drawn = [augmented(one, IMAGE, seed=(0, epoch)).tobytes() for epoch in range(8)]
    assert len(set(drawn)) > 4


@pytest.mark.parametrize("name", ["mr", "strong"])
def test_a_pipeline_leaves_the_image_it_was_given_alone(name):
    before = IMAGE.copy()
    augmented(pipeline(name), IMAGE, seed=(0, 1))
    np.testing.assert_array_equal(IMAGE, before)


def test_a_bias_field_is_smooth_and_stays_within_its_strength():
    flat = np.full((64, 64), 100, np.uint8)
    drawn = draws(BiasField(strength=(0.3, 0.3), p=1.0), flat).astype(float)
    assert drawn.max() <= 100 * 1.3 + 1
    assert drawn.min() >= 100 / 1.3 - 1
    assert (np.abs(np.log(drawn / 100)).max(axis=(1, 2)) > 0.2).all()  # some corner of each is near the strength
    assert np.abs(np.diff(drawn, axis=2)).max() <= 6


def test_rician_noise_has_the_moments_of_its_distribution():
    deviation = 0.1 * 255
    dark = draws(RicianNoise(deviation=(0.1, 0.1), p=1.0), np.zeros((64, 64), np.uint8))
    bright = draws(RicianNoise(deviation=(0.1, 0.1), p=1.0), np.full((64, 64), 128, np.uint8))
    # Without signal it is Rayleigh's; with much, nearly Gaussian with the mean sqrt(signal² + deviation²).
    assert dark.mean() == pytest.approx(deviation * np.sqrt(np.pi / 2), rel=0.01)
    assert dark.std() == pytest.approx(deviation * np.sqrt(2 - np.pi / 2), rel=0.02)
    assert bright.std() == pytest.approx(deviation, rel=0.03)
    assert bright.mean() == pytest.approx(np.sqrt(128**2 + deviation**2), rel=0.01)


def test_ghosts_stand_where_the_lines_of_k_space_put_them():
    """A bright line, and every fourth line of k-space weakened: copies of it at quarters of the field of view."""
    image = np.zeros((64, 64), np.uint8)
    image[10] = 200
    transform = Ghosting(ghosts=(4, 4), intensity=(0.4, 0.4), p=1.0)
    drawn = transform.apply(image, ghosts=4, intensity=0.4, axis=0).astype(float)[:, 0]
    brightest = np.sort(np.argsort(drawn)[-4:])
    np.testing.assert_array_equal(brightest, [10, 26, 42, 58])
    # A quarter of the lines lost 40%: the line keeps 90%, each ghost has 10%, but for what the centre gives back.
    assert drawn[10] == pytest.approx(180, abs=4)
    assert drawn[26] == pytest.approx(20, abs=4)
    along = transform.apply(image, ghosts=4, intensity=0.4, axis=1)
    np.testing.assert_allclose(along, image, atol=1)  # nothing changes along the line itself


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BiasField(strength=(0.5, 0.2)), r"BiasField\.strength: must be a range within \[0, 1\], found \[0\.5"),
        (lambda: RicianNoise(deviation=(-1, 0.2)), r"RicianNoise\.deviation: must be a range"),
        (lambda: Ghosting(ghosts=(1, 4), intensity=(0, 1)), r"Ghosting\.ghosts: must be a range from at least 2"),
    ],
)
def test_impossible_ranges_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def labels(negative, positive):
    keys = [f"s{row}" for row in range(negative + positive)]
    return pl.DataFrame({"slice_key": keys, "label": [0] * negative + [1] * positive})


def test_the_papers_augmented_set_has_the_papers_counts():
    slices = labels(522, 526)
    copies = pipeline("color_jitter_expanded").copies(slices["label"], num_classes=2)
    images = slices.with_columns(images=pl.Series(copies) + 1).group_by("label").agg(pl.col("images").sum())
    assert dict(images.iter_rows()) == {0: 1692, 1: 1708}
    assert set(copies) == {2, 3}


def test_copies_are_made_of_training_slices_alone():
    slices = labels(6, 6)
    part = ["train", "train", "train", "train", "val", "test"] * 2
    parts = slices.select("slice_key", pl.lit(0).alias("copy"), pl.Series("part", part))
    made = with_copies(parts, Expanded([], images_per_slice=3), slices, num_classes=2)
    counts = dict(made.group_by("part").len().iter_rows())
    assert counts == {"train": 24, "val": 2, "test": 2}
    assert made.select("slice_key", "copy").is_unique().all()
    assert made.filter(pl.col("part") == "train")["copy"].unique().sort().to_list() == [0, 1, 2]


@pytest.mark.parametrize("factor", [0.5, [2, 2, 2]])
def test_an_impossible_number_of_copies_is_refused(factor):
    with pytest.raises(
        ConfigError, match=r"augmentation\.images_per_slice: must be a number from 1 to 1000, or 2 of them"
    ):
        Expanded([], images_per_slice=factor).copies(pl.Series([0, 1]), num_classes=2)


def test_copies_that_the_split_has_made_are_the_ones_taken():
    slices = labels(2, 2)
    parts = slices.select("slice_key", pl.lit(1).alias("copy"), pl.lit("train").alias("part"))
    assert with_copies(parts, Expanded([], images_per_slice=3), slices, num_classes=2) is parts


@pytest.mark.parametrize("name", ["mr", "strong"])
def test_what_is_drawn_of_one_transform_says_nothing_of_another(name):
    """Seeded alike, all transforms of chance one half come together or not at all."""
    transforms = [albumentations.HorizontalFlip(p=0.5), albumentations.VerticalFlip(p=0.5)]
    both = type(pipeline(name))(transforms, seed=0)
    drawn = [augmented(both, IMAGE, seed=(0, epoch)).tobytes() for epoch in range(400)]
    kinds = [image.tobytes() for image in (IMAGE, IMAGE[:, ::-1], IMAGE[::-1], IMAGE[::-1, ::-1])]
    counts = [drawn.count(kind) for kind in kinds]
    assert sum(counts) == 400
    assert min(counts) > 70  # of 100 expected; 3.5 standard errors


@pytest.mark.parametrize("transforms", [["albumentations.HorizontalFlip"], [RandomHorizontalFlip()], "word"])
def test_a_pipeline_takes_transforms_of_albumentations_alone(transforms):
    with pytest.raises(ConfigError, match=r"augmentation\.transforms: must be transforms of albumentations"):
        Pipeline(transforms, seed=0)
