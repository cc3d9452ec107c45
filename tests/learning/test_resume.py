"""A run that is killed and called again ends with the very scores of one that was not."""

import json
import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import polars as pl
import pytest
import timm
import torch
from hydra.utils import instantiate

from fistula.cohort.manifest import read_cohort
from fistula.learning.experiment import build
from fistula.learning.training.checkpoints import epoch_of

from ..conftest import TINY_RUN, write_cohort
from ..two_sequences import write_two_sequences

RUN = (*TINY_RUN, "epochs=4", "augmentation=color_jitter", "optimizer.lr=0.01")


class PowerCut(BaseException):
    """Ends a training without anyone being asked."""


@pytest.fixture
def train(compose_train, tmp_path, monkeypatch):
    """Train into a folder by name, with dropout; optionally lose power at a step, or be told to end."""
    write_cohort(tmp_path / "cohort")
    write_two_sequences(
        tmp_path / "two", patients=20, slices=3, lacking=("slice0-1", "slice7-0", "slice7-1", "slice7-2")
    )
    # Dropout: without it nothing is drawn while the network trains, and nothing could go wrong.
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, drop_rate=0.5))

    def into(name, *overrides, until=None, is_told=False):
        cohort = read_cohort(tmp_path / ("two" if "model.channels" in " ".join(overrides) else "cohort"))
        cfg = compose_train(*RUN, *overrides, cohort=cohort.folder)
        cfg.output_dir = str(tmp_path / name)
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))
        experiment.folder.mkdir(exist_ok=True)
        if until is not None:
            step = experiment.classifier.training_step

            def cut(batch, batch_idx):
                if experiment.trainer.global_step == until and not is_told:
                    raise PowerCut
                if experiment.trainer.global_step == until:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step(batch, batch_idx)

            experiment.classifier.training_step = cut
            with pytest.raises(SystemExit if is_told else PowerCut) as end:
                experiment.train(description={})
            return end.value
        return experiment.train(description={})

    return into


@pytest.fixture
def nobody_else_hears():
    """Commands, which other tests give in this process, answer SIGTERM themselves from then on."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("nobody_else_hears")
def test_a_run_that_is_told_to_end_is_no_success_and_resumes(train):
    end = train("told", until=6, is_told=True)
    assert (end.code, str(end)) == (128 + signal.SIGTERM, "ended by SIGTERM: the same command resumes it")
    assert train("told")["metrics"] == train("whole")["metrics"]


EXTRAS = [
    (),
    ("optimizer=sgd", "sampler=class_balanced", "ema=0.9", "mixup=0.4", "cutmix=1.0"),
    ("learning=gradual", "model.pretrained=false", "loss=focal"),
    ("learning=linear_probe", "model.pretrained=false", "augmentation=none", "sampler=patient_balanced"),
    ("unit=patient", "pooling=attention", "slices_per_step=2", "batch_size=3", "ema=0.9", "sampler=class_balanced"),
    ("unit=patient", "pooling=transformer", "learning=linear_probe", "model.pretrained=false", "augmentation=none",
     "batch_size=3"),
    ("model.channels=sequences", "ema=0.9"),
    ("unit=patient", "model.channels=late", "pooling=attention", "slices_per_step=2", "batch_size=3", "ema=0.9"),
]  # fmt: skip


@pytest.mark.parametrize(
    "extra", [EXTRAS[0], *(pytest.param(extra, marks=pytest.mark.slow) for extra in EXTRAS[1:])], ids=" ".join
)
def test_an_interrupted_training_ends_as_if_nothing_had_happened(train, tmp_path, extra):
    whole = train("whole", *extra)
    train("broken", *extra, until=2)  # in the first epoch: begins anew
    train("broken", *extra, until=8)  # in the middle of the second
    train("broken", *extra, "num_workers=2", until=13)
    assert (tmp_path / "broken" / "last.ckpt").exists()
    mended = train("broken", *extra)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert mended == whole
    assert not (tmp_path / "broken" / "last.ckpt").exists()


def test_epochs_after_the_last_checkpoint_are_trained_again_to_the_same_end(train, tmp_path, monkeypatch):
    whole = train("whole")
    monkeypatch.setattr("fistula.learning.training.checkpoints.WRITING_SHARE", 1e9)
    train("broken", until=18)  # in the fourth epoch, with the first one's checkpoint
    assert torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)["epoch"] == 0
    assert pl.read_csv(tmp_path / "broken" / "history.csv")["epoch"].to_list() == [0, 1, 2]
    train("broken", until=8)  # in the second one again
    assert pl.read_csv(tmp_path / "broken" / "history.csv")["epoch"].to_list() == [0]
    assert train("broken") == whole
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_what_training_goes_on_from_is_data_and_not_code(train, tmp_path):
    train("run", until=8)
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 0
    assert {"state_dict", "optimizer_states", "lr_schedulers", "callbacks"} <= state.keys()


def test_what_a_card_has_written_a_processor_goes_on_from(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
        held = {"epoch": 3, "state_dict": torch.nn.Linear(2, 1).state_dict(), "optimizer_states": [{}]}
        torch.save(held, tmp_path / "last.ckpt")
    assert epoch_of(tmp_path / "last.ckpt", torch.nn.Linear(2, 1)) == 3


def test_the_checksum_in_the_summary_is_that_of_the_checkpoint(train, tmp_path):
    summary = train("run", "epochs=1")
    shown = subprocess.run(["sha256sum", tmp_path / "run" / "best.ckpt"], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == summary["checkpoint_sha256"]


KILLED = """
import os, signal, sys
from functools import partial
import timm
timm.create_model = partial(timm.create_model, drop_rate=0.5)
moment = os.environ.get("MOMENT")
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "within an epoch":
    from fistula.learning.classifier import FistulaClassifier
    step = FistulaClassifier.training_step
    FistulaClassifier.training_step = lambda self, batch, i: die() if self.global_step == 8 else step(self, batch, i)
elif moment == "after the best weights, before the rest":
    from fistula.learning.training.checkpoints import LastCheckpoint
    end = LastCheckpoint.on_train_epoch_end
    LastCheckpoint.on_train_epoch_end = lambda self, t, m: die() if t.current_epoch == 2 else end(self, t, m)
elif moment == "before the scores":
    import fistula.learning.experiment as experiment
    experiment.score_parts = die
from fistula.cli import main
main()
"""


OF_PATIENTS = ("unit=patient", "pooling=attention", "slices_per_step=2", "batch_size=3", "ema=0.9")


@pytest.mark.slow
@pytest.mark.parametrize("unit", [(), OF_PATIENTS], ids=["slices", "patients"])
def test_kill_9_at_three_moments_changes_no_bit(tmp_path, cohort_folder, unit):
    def call(folder, moment=""):
        arguments = ["train", f"cohort={cohort_folder}", *RUN, *unit, f"hydra.run.dir={tmp_path / folder}"]
        return subprocess.run(
            [sys.executable, "-c", KILLED, *arguments],
            cwd=tmp_path,
            env=os.environ | {"MOMENT": moment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    whole = call("whole")
    assert whole.returncode == 0, whole.stderr
    for moment in ("within an epoch", "after the best weights, before the rest", "before the scores"):
        assert call("broken", moment).returncode == -signal.SIGKILL, moment
    left = torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)["epoch"] + 1
    mended = call("broken")
    assert mended.returncode == 0, mended.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    once, again = (json.loads((tmp_path / folder / "run.json").read_text()) for folder in ("whole", "broken"))
    assert once["metrics"] == again["metrics"]
    assert (once["epochs_before"], again["epochs_before"]) == (0, left)
    assert once["checkpoint_sha256"] == again["checkpoint_sha256"]


def assert_same_run(one, other):
    for column in ("slice_key", "patient_key", "score"):
        values = [pl.read_parquet(folder / "predictions.parquet")[column].to_numpy() for folder in (one, other)]
        np.testing.assert_array_equal(*values)
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()
