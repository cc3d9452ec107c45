import albumentations
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch.utils.data import DataLoader

from fistula.errors import DataError
from fistula.learning.data.datamodule import already_a_batch
from fistula.learning.data.resized import ResizedAnew
from fistula.learning.data.slices import Resize, SliceDataset, as_batch, on_card

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 16, 16), dtype=np.uint8)
LABELS = np.arange(10, dtype=np.int64) % 2
ALONE = np.arange(10)[:, None]
ROWS = np.array([7, 2, 5, 4], dtype=np.int64)


def dataset(augmentation=None, *, size=16, seed: int | None = 0, copies=(0, 0, 0, 0), channels=ALONE):
    return SliceDataset(
        ResizedAnew(PIXELS, Resize(size, "bicubic")),
        LABELS,
        channels,
        ROWS,
        np.array(copies),
        augmentation=augmentation,
        seed=seed,
    )


def jitter():
    return albumentations.Compose([albumentations.ColorJitter(p=1.0)], seed=0)


def test_a_batch_holds_the_rows_asked_for():
    batch = dataset().__getitems__([0, 3])
    assert batch["label"].tolist() == [1, 0]
    torch.testing.assert_close(batch["image"], torch.from_numpy(PIXELS[[7, 4]]).unsqueeze(1))


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_follows_from_seed_epoch_and_row_whoever_draws_it(workers):
    whole = dataset(jitter()).__getitems__([4, 5, 6, 7])["image"]
    loader = DataLoader(
        dataset(jitter()), batch_size=1, sampler=[7, 5, 6, 4], num_workers=workers, collate_fn=already_a_batch
    )
    torch.testing.assert_close(torch.cat([batch["image"] for batch in loader]), whole[[3, 1, 2, 0]])


def test_augmentation_changes_with_the_epoch_and_with_the_seed():
    first, next_epoch = dataset(jitter())[0], dataset(jitter())[0 + len(ROWS)]
    other_seed = dataset(jitter(), seed=1)[0]
    assert not (first == next_epoch).all()
    assert not (first == other_seed).all()


def test_hue_and_saturation_do_nothing_to_a_grey_slice():
    """Half of the paper's colour jittering has no effect on its images."""
    colour = albumentations.ColorJitter(
        brightness=(1, 1), contrast=(1, 1), saturation=(0.2, 0.3), hue=(0.3, 0.4), p=1.0
    )
    drawn = dataset(albumentations.Compose([colour], seed=0))[0]
    np.testing.assert_array_equal(drawn[0], PIXELS[ROWS[0]])


def test_resizing_averages_areas_and_keeps_an_image_of_the_right_size():
    np.testing.assert_array_equal(Resize(16, "bicubic")(PIXELS[0]), PIXELS[0])
    blocks = PIXELS[0].reshape(8, 2, 8, 2).mean(axis=(1, 3))
    for interpolation in ("bilinear", "bicubic"):
        assert np.abs(Resize(8, interpolation)(PIXELS[0]) - blocks).max() <= 0.5


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_slice_grows_as_timm_would_have_it(interpolation):
    resize = Resize(24, interpolation)
    np.testing.assert_array_equal(resize(np.full((16, 16), 9, np.uint8)), 9)
    judge = create_transform((1, 24, 24), interpolation=interpolation, crop_pct=1.0, normalize=False)
    grown = judge(Image.fromarray(PIXELS[0])).numpy()
    np.testing.assert_array_equal(dataset(size=24)[0].shape, grown.shape)
    np.testing.assert_array_equal(as_batch(PIXELS[:1, None], resize)[0].numpy(), grown)


def test_an_unknown_interpolation_is_refused():
    with pytest.raises(DataError, match=r"interpolation: must be one of nearest, .*bicubic.*, found cubic"):
        Resize(24, "cubic")


def test_a_copy_made_before_the_split_is_the_same_in_every_epoch_and_run_and_no_copy_is_the_slice_itself():
    copies = dataset(jitter(), seed=None, copies=(0, 1, 2, 1))
    np.testing.assert_array_equal(copies[0][0], PIXELS[ROWS[0]])
    assert not (copies[1][0] == PIXELS[ROWS[1]]).all()
    np.testing.assert_array_equal(copies[1], copies[1 + len(ROWS)])
    assert not (copies[1] == dataset(jitter(), seed=None, copies=(0, 2, 2, 1))[1]).all()


@pytest.mark.parametrize(
    ("seed", "copies"), [(0, (0, 0, 0, 0)), (None, (1, 1, 1, 1))], ids=["drawn anew", "a copy made beforehand"]
)
def test_neighbours_are_augmented_by_the_same_draw_as_the_slice_between_them(seed, copies):
    neighbours = np.stack([np.arange(10) - 1, np.arange(10), np.arange(10) + 1], axis=1).clip(0, 9)
    image = dataset(jitter(), channels=neighbours, seed=seed, copies=copies)[0]
    assert image.shape == (3, 16, 16)
    np.testing.assert_array_equal(image[1], dataset(jitter(), seed=seed, copies=copies)[0][0])
    thrice = dataset(jitter(), channels=np.repeat(ALONE, 3, axis=1), seed=seed, copies=copies)[0]
    assert (thrice == thrice[1]).all()
    unchanged = dataset(channels=neighbours)[0]
    np.testing.assert_array_equal(unchanged, PIXELS[[6, 7, 8]])


@pytest.mark.parametrize("copies", [(0, 0, 0, 0), (0, 1, 2, 1)], ids=["as they are", "copies made beforehand"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_slices_that_lie_on_the_device_are_served_as_others_are(device, copies, monkeypatch):
    monkeypatch.setattr("fistula.learning.data.slices.AT_ONCE", 3)
    neighbours = np.stack([np.arange(10) - 1, np.arange(10), np.arange(10) + 1], axis=1).clip(0, 9)
    slices = dataset(jitter(), channels=neighbours, seed=None, copies=copies)
    there = on_card(slices, torch.device(device))
    draws = [3, 0, 5, 2**24 * 4 + 1]  # of several epochs
    found, expected = there.__getitems__(draws), slices.__getitems__(draws)
    assert len(there) == len(ROWS)
    for name, value in expected.items():
        assert found[name].device.type == device
        assert torch.equal(found[name].cpu(), value), name
