import subprocess
import sys
from dataclasses import replace

import albumentations
import numpy as np
import polars as pl
import pytest

from fistula.cohort.manifest import read_cohort
from fistula.learning.callbacks import silence_lightning
from fistula.learning.data.datamodule import FistulaDataModule
from fistula.learning.data.slices import Resize
from fistula.learning.sampling import EpochShuffle

from ..conftest import write_cohort


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path / "cohort", patients=6, slices=3))


def datamodule(cohort, parts, *, batch_size=4):
    table = pl.DataFrame({"slice_key": cohort.manifest["slice_key"], "copy": 0, "part": parts})
    return FistulaDataModule(
        cohort,
        table.sample(fraction=1, shuffle=True, seed=1),  # the order of the table must not matter
        augmentation=albumentations.Compose([], seed=0),
        sampler=EpochShuffle,
        resize=Resize(32, "bicubic"),
        num_slices=1,
        batch_size=batch_size,
        num_workers=0,
        seed=0,
    )


def rows_of(cohort, loader):
    """Rows of the cohort whose pixels a loader serves, in order; no two slices of noise are alike."""
    rows = {pixels.tobytes(): row for row, pixels in enumerate(cohort.pixels)}
    return [rows[image.numpy().tobytes()] for batch in loader for image in batch["image"]]


def test_each_part_serves_its_slices_and_no_others(cohort):
    parts = ["train"] * 9 + ["val"] * 3 + ["test"] * 6
    data = datamodule(cohort, parts)
    served = {part: rows_of(cohort, data.part_dataloader(part)) for part in data.bags}
    assert served == {"train": list(range(9)), "val": [9, 10, 11], "test": list(range(12, 18))}


def test_a_training_epoch_sees_every_slice_once(cohort):
    loader = datamodule(cohort, ["train"] * 14 + ["val"] * 2 + ["test"] * 2).train_dataloader()
    assert sorted(rows_of(cohort, loader)) == list(range(14))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no library promises to work after a fork")
def test_processes_that_load_share_the_slices(cohort):
    data = datamodule(cohort, ["train"] * 14 + ["val"] * 2 + ["test"] * 2)
    assert data.train_dataloader().multiprocessing_context is None
    data.num_workers = 1
    assert data.train_dataloader().multiprocessing_context.get_start_method() == "fork"
    assert sorted(rows_of(cohort, data.train_dataloader())) == list(range(14))


def test_more_processes_than_cores_are_said_once_and_by_no_library(cohort, caplog, recwarn):
    silence_lightning()
    data = datamodule(cohort, ["train"] * 14 + ["val"] * 2 + ["test"] * 2)
    data.num_workers = 1000
    data.prepare_data()
    assert data.train_dataloader().num_workers == data.val_dataloader().num_workers == 1000
    (said,) = caplog.messages
    assert said.startswith("num_workers=1000: more processes than the ")
    assert recwarn.list == []


def test_a_last_batch_of_one_is_left_out_because_batch_norm_cannot_take_it(cohort):
    loader = datamodule(cohort, ["train"] * 13 + ["val"] * 2 + ["test"] * 3).train_dataloader()
    assert [len(batch["label"]) for batch in loader] == [4, 4, 4]


def test_labels_belong_to_their_pixels(cohort):
    batch = next(iter(datamodule(cohort, ["train"] * 9 + ["val"] * 3 + ["test"] * 6).train_dataloader()))
    rows = rows_of(cohort, [batch])
    np.testing.assert_array_equal(batch["label"], cohort.manifest["label"].to_numpy()[rows])


def test_the_classes_of_the_training_part_are_counted(cohort):
    data = datamodule(cohort, ["train"] * 9 + ["val"] * 3 + ["test"] * 6)
    assert data.class_counts == [6, 3]  # patients 0 and 2 against patient 1, three slices each


def test_what_training_is_given_does_not_depend_on_the_pixels_of_val_and_test(cohort):
    """Nothing is normalised by other slices than those of training: here, by none at all."""
    parts = ["train"] * 9 + ["val"] * 3 + ["test"] * 6
    brighter = np.array(cohort.pixels)
    brighter[9:] = 255 - brighter[9:]
    batches = [
        [batch["image"] for batch in datamodule(replace(cohort, pixels=pixels), parts).train_dataloader()]
        for pixels in (cohort.pixels, brighter)
    ]
    assert all((one == other).all() for one, other in zip(*batches, strict=True))


def test_what_test_is_given_does_not_depend_on_the_other_slices(cohort):
    parts = ["train"] * 9 + ["val"] * 3 + ["test"] * 6
    brighter = np.array(cohort.pixels)
    brighter[:12] = 255 - brighter[:12]
    batches = [
        [batch["image"] for batch in datamodule(replace(cohort, pixels=pixels), parts).part_dataloader("test")]
        for pixels in (cohort.pixels, brighter)
    ]
    assert all((one == other).all() for one, other in zip(*batches, strict=True))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort(tmp_path):
    """100 000 slices are 100 MB of pixels; after a tenth of an epoch the process's own memory grows no more."""
    code = """
import sys
from pathlib import Path
import albumentations, polars as pl
from fistula.cohort.manifest import read_cohort
from fistula.learning.data.datamodule import FistulaDataModule
from fistula.learning.sampling import EpochShuffle
from fistula.learning.data.slices import Resize

def anonymous_mb():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

cohort = read_cohort(Path(sys.argv[1]))
parts = pl.DataFrame({"slice_key": cohort.manifest["slice_key"], "copy": 0, "part": "train"})
empty = albumentations.Compose([], seed=0)
data = FistulaDataModule(cohort, parts, augmentation=empty, sampler=EpochShuffle,
                         resize=Resize(32, "bicubic"), num_slices=1, batch_size=64, num_workers=0, seed=0)
slices = 0
for batch in data.train_dataloader():
    slices += len(batch["label"])
    if slices == 9984:  # 156 batches
        before = anonymous_mb()
print(slices, anonymous_mb() - before)
"""
    folder = write_cohort(tmp_path / "large", patients=10_000, slices=10)
    shown = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=500)
    slices, grown = shown.stdout.split()
    assert int(slices) == 100_000, shown.stderr
    assert float(grown) < 5
