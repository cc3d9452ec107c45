"""What a graphics card decides; the same is asked of the processor where it can answer."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from lightning_fabric.plugins.environments.lightning import find_free_network_port

from fistula.cohort.manifest import read_cohort
from fistula.errors import ConfigError
from fistula.learning import experiment as module
from fistula.learning.data.slices import KeptDataset
from fistula.learning.experiment import build

from ..conftest import TINY_RUN, write_cohort

DEVICES = ["cpu", pytest.param("gpu", marks=pytest.mark.cuda)]
MODES = ["transfer", "end_to_end", "linear_probe", "gradual", "warm_head", "layer_decay"]
ANY = [text for text in TINY_RUN if not text.startswith("trainer")]


@pytest.fixture
def make(compose_train, tmp_path):
    """Build a tiny run on a device, in a folder by name."""
    folder = write_cohort(tmp_path / "cohort")
    cohort = read_cohort(folder)

    def made(*overrides, name="run"):
        cfg = compose_train(*ANY, "optimizer.lr=0.01", *overrides, cohort=folder)
        cfg.output_dir = str(tmp_path / name)
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))
        experiment.folder.mkdir(exist_ok=True)
        return experiment

    return made


def scores(experiment):
    return pl.read_parquet(experiment.folder / "predictions.parquet")["score"].to_numpy()


@pytest.mark.parametrize("device", DEVICES)
def test_slices_are_scored_where_the_run_has_trained_and_as_it_was_validated(make, monkeypatch, device):
    experiment = make(f"trainer={device}", "epochs=2", "checkpoint.monitor=val/loss")
    seen = []
    score = module.score_parts

    def watched(classifier, data, **rest):
        asked = classifier.device.type
        seen.append((asked, torch.is_autocast_enabled(asked)))
        return score(classifier, data, **rest)

    monkeypatch.setattr(module, "score_parts", watched)
    summary = experiment.train(description={})
    mixed = experiment.trainer.precision != "32-true"
    assert seen == [(experiment.trainer.strategy.root_device.type, mixed)]
    assert (device == "gpu") == (experiment.trainer.precision == "bf16-mixed")
    history = pl.read_csv(experiment.folder / "history.csv")
    value = summary["metrics"]["val"]["slice"]["auroc"]["value"]
    assert value == pytest.approx(history["val/auroc"][summary["best_epoch"]], abs=1e-6)


# Of the processor: test_experiment.py.
@pytest.mark.cuda
@pytest.mark.parametrize("augmentation", ["none", "color_jitter"])
def test_the_same_seed_gives_the_same_scores_bit_for_bit_where_that_is_promised(make, augmentation):
    asked = ["trainer=reproducible", "trainer.accelerator=gpu", f"augmentation={augmentation}", "epochs=2"]
    once, again = make(*asked, name="once"), make(*asked, "num_workers=2", name="again")
    for experiment in (once, again):
        experiment.train(description={})
    np.testing.assert_array_equal(scores(once), scores(again))


# Of the processor: test_resume.py.
@pytest.mark.cuda
def test_a_training_that_was_interrupted_ends_as_one_that_was_not(make):
    asked = ["trainer=reproducible", "trainer.accelerator=gpu", "epochs=3", "ema=0.9"]
    whole = make(*asked, name="whole")
    whole.train(description={})
    broken = make(*asked, name="broken")
    step = broken.classifier.training_step

    def cut(batch, batch_idx):
        if broken.trainer.global_step == 8:
            raise SystemExit
        return step(batch, batch_idx)

    broken.classifier.training_step = cut
    with pytest.raises(SystemExit):
        broken.train(description={})
    mended = make(*asked, name="broken")
    mended.train(description={})
    np.testing.assert_array_equal(scores(whole), scores(mended))


@pytest.mark.parametrize("device", DEVICES)
def test_what_nothing_augments_lies_on_a_card_as_a_whole_and_the_rest_is_pinned(make, device):
    experiment = make(f"trainer={device}", "augmentation=color_jitter")
    experiment.data.trainer = experiment.trainer
    train, val = experiment.data.train_dataloader(), experiment.data.val_dataloader()
    on_card = device == "gpu"
    assert isinstance(val.dataset, KeptDataset) == on_card
    assert train.pin_memory == on_card
    assert not val.num_workers
    assert (train.num_workers > 0) <= on_card


def test_parts_of_one_slice_are_refused_before_a_batch_norm_meets_them(make):
    rule = r"^batch_size: must give each of 8 parts 2 slices, .*, found 8\. Lower micro_batches"
    with pytest.raises(ConfigError, match=rule):
        make("trainer=cpu", "micro_batches=8")


@pytest.mark.cuda
def test_a_card_without_enough_memory_is_one_line_that_a_study_goes_on_from(make, monkeypatch):
    from fistula.errors import OutOfMemoryError

    experiment = make("trainer=gpu", "image_size=512", "batch_size=64")
    torch.cuda.set_per_process_memory_fraction(0.005)
    try:
        with pytest.raises(OutOfMemoryError, match=r"graphics card: out of memory .*micro_batches=2"):
            experiment.train(description={})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_memory_that_runs_out_is_one_line_that_a_study_goes_on_from(make, monkeypatch):
    from fistula.errors import OutOfMemoryError

    experiment = make("trainer=cpu")

    def exhaust(batch, batch_idx):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1 GiB free")

    monkeypatch.setattr(experiment.classifier, "training_step", exhaust)
    with pytest.raises(
        OutOfMemoryError, match=r"graphics card: out of memory \(CUDA out of memory\)\. micro_batches=2"
    ):
        experiment.train(description={})


def as_of_two_nodes(rank, port):
    """What `srun --nodes=2` tells a task; to NCCL its one card is the other's as little as if it lay elsewhere."""
    of_slurm = {"JOB_ID": port, "STEP_ID": 0, "STEP_NUM_TASKS": 2, "STEP_NUM_NODES": 2, "NTASKS": 2}
    of_slurm |= {"NNODES": 2, "NTASKS_PER_NODE": 1, "PROCID": rank, "NODEID": rank, "LOCALID": 0}
    of_nccl = {"NCCL_HOSTID": f"node{rank}", "NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": 1}
    told = {f"SLURM_{name}": value for name, value in of_slurm.items()} | of_nccl
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_in_two_processes(fistula, tmp_path, mode, device):
    """Of one command, or, where there is one card, of two commands, as Slurm starts them on two machines."""
    cohort = write_cohort(tmp_path / "cohort")
    tiny = [text for text in ANY if not text.startswith("learning")]
    command = ["train", f"cohort={cohort}", *tiny, f"learning={mode}", "model.pretrained=false", "hydra.run.dir=run"]
    command += [f"trainer={device}", "epochs=3"]
    if device == "gpu" and torch.cuda.device_count() == 1:
        port = find_free_network_port()
        with ThreadPoolExecutor() as pool:
            tasks = [pool.submit(fistula, *command, **as_of_two_nodes(rank, port)) for rank in range(2)]
            done = [task.result() for task in tasks]
    else:
        done = [fistula(*command, "trainer.devices=2")]
    assert not any(one.returncode for one in done), [one.stdout + one.stderr for one in done]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["processes"]) == ("done", 2)
