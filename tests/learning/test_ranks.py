"""Several processes that train one run."""

import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from spots import write_places

from fistula.cohort.manifest import read_cohort
from fistula.errors import FistulaError, TrainingError
from fistula.learning.experiment import build
from fistula.learning.sampling import EpochShuffle, ProcessSampler
from fistula.learning.training.checkpoints import load_best
from fistula.learning.training.ranks import followers, is_follower
from fistula.learning.training.results import summarize
from fistula.learning.training.scoring import score_parts

from ..conftest import TINY_RUN, write_cohort
from ..two_sequences import write_two_sequences

DDP = (*(text for text in TINY_RUN if not text.startswith("trainer")), "trainer=ddp", "trainer.accelerator=cpu")


@pytest.mark.parametrize("world", [2, 3])
def test_the_processes_share_an_epoch_out_and_have_as_much_each(world):
    whole = EpochShuffle(pl.DataFrame({"label": range(11)}), seed=0)
    shares = [ProcessSampler(whole, rank=rank, world=world) for rank in range(world)]
    for share in shares:
        share.set_epoch(3)
    drawn = [list(share) for share in shares]
    assert {len(draws) for draws in drawn} == {11 // world} == {len(share) for share in shares}
    assert len({draw for draws in drawn for draw in draws}) == 11 // world * world
    assert {draw for draws in drawn for draw in draws} <= set(whole)


def never(error):
    raise AssertionError("this process does not wait for another")


@pytest.mark.slow
def test_a_follower_knows_that_it_is_one_and_its_leader_that_it_failed(monkeypatch):
    assert not is_follower()
    failed = r"process 1 of this run: ended with exit code 2 \(trian: is not a command\. Did you mean train\?\)"
    with pytest.raises(TrainingError, match=failed), followers(2, ["trian"], give_up=never):
        assert not is_follower()
    code = "from fistula.learning.training.ranks import is_follower; print(is_follower())"
    monkeypatch.setenv("LOCAL_RANK", "1")
    for is_ours in (False, True):  # and not one of torchrun's, of which the variable may be left
        if is_ours:
            monkeypatch.setenv("FISTULA_FOLLOWS", "1")
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == f"{is_ours}\n"


@pytest.mark.parametrize("is_ours", [False, True])
def test_ranks_that_another_program_left_in_the_environment_are_forgotten(fistula_here, monkeypatch, is_ours):
    """Lightning would take this run for a part of that program's, train it, and write nothing."""
    left = {"LOCAL_RANK": "1", "RANK": "3", "WORLD_SIZE": "4"}
    for name, value in (left | ({"FISTULA_FOLLOWS": "1"} if is_ours else {})).items():
        monkeypatch.setenv(name, value)
    assert fistula_here("train", "cohort=x", "--cfg", "job")[0] == 0
    assert {name for name in left if name in os.environ} == (set(left) if is_ours else set())


def test_the_leader_that_loses_its_connection_says_what_the_other_process_said():
    with (
        pytest.raises(TrainingError, match=r"Did you mean train\?") as caught,
        followers(2, ["trian"], give_up=never),
    ):
        raise RuntimeError("Connection closed by peer")
    assert "Connection closed" in str(caught.value.__cause__)


def test_a_warning_is_not_why_a_process_failed(monkeypatch, tmp_path):
    says = tmp_path / "python"
    says.write_text("#!/bin/sh\necho error: no luck >&2\necho '[W1 reducer.cpp:1545] Warning: slow' >&2\nexit 1\n")
    says.chmod(0o755)
    monkeypatch.setattr("fistula.learning.training.ranks.sys.executable", str(says))
    failed = r"process 1 of this run: ended with exit code 1 \(no luck\)$"
    with pytest.raises(TrainingError, match=failed), followers(2, ["train"], give_up=never):
        raise RuntimeError("Connection closed by peer")  # as it hears of it; then what the other said is waited for


def test_a_leader_that_waits_for_a_process_that_failed_gives_up_in_seconds(monkeypatch):
    monkeypatch.setattr("fistula.learning.training.ranks.GRACE_S", 0.2)
    given_up = threading.Event()
    with pytest.raises(TrainingError), followers(2, ["trian"], give_up=lambda error: given_up.set()):
        assert given_up.wait(30)


def test_a_process_that_stays_after_the_scores_are_written_is_ended_and_fails_no_run(monkeypatch, tmp_path):
    stays = tmp_path / "python"
    stays.write_text("#!/bin/sh\nexec sleep 60\n")
    stays.chmod(0o755)
    monkeypatch.setattr("fistula.learning.training.ranks.sys.executable", str(stays))
    monkeypatch.setattr("fistula.learning.training.ranks.END_S", 0.1)
    started = time.monotonic()
    with followers(2, ["train"], give_up=never):
        pass
    assert time.monotonic() - started < 20


def test_processes_share_the_cores_out_and_the_one_that_leads_has_no_more_than_the_others(monkeypatch, tmp_path):
    says = tmp_path / "python"
    says.write_text(f"#!/bin/sh\necho $OMP_NUM_THREADS >> {tmp_path}/threads\n")
    says.chmod(0o755)
    monkeypatch.setattr("fistula.learning.training.ranks.sys.executable", str(says))
    monkeypatch.setattr("joblib.cpu_count", lambda: 9)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    with followers(3, ["train"], give_up=never):
        assert (os.environ["OMP_NUM_THREADS"], torch.get_num_threads()) == ("3", 3)
    assert (os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()) == (None, before)
    assert (tmp_path / "threads").read_text().split() == ["3", "3"]


def test_processes_leave_one_another_together_when_training_ends(compose_train, tmp_path):
    """On cards one that leaves later may wait minutes for those that are gone; one in a group of its own shows it."""
    cohort = read_cohort(write_cohort(tmp_path / "cohort"))
    cfg = compose_train(*TINY_RUN, cohort=tmp_path / "cohort")
    experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))
    experiment.folder.mkdir(exist_ok=True)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    experiment.fit()
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_in_seconds_with_its_error(fistula, tmp_path):
    """The loss of the second process alone is no loss; the first would wait for it half an hour, which no test may."""
    (tmp_path / "broken.py").write_text(
        "import os, torch\n"
        "from fistula.learning.losses import CrossEntropy\n"
        "class Loss(CrossEntropy):\n"
        "    def forward(self, logits, labels):\n"
        "        bad = os.environ.get('LOCAL_RANK') == '1' and torch.distributed.is_initialized()\n"
        "        return super().forward(logits, labels) * (float('nan') if bad else 1)\n"
    )
    cohort = write_cohort(tmp_path / "cohort", patients=21)
    run = ["trainer.devices=2", "loss._target_=broken.Loss", "hydra.run.dir=run"]
    done = fistula("train", f"cohort={cohort}", *DDP, *run, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "process 1 of this run: ended with exit code 2 (step 0: the loss must be finite" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("world", "sweep"), [(2, False), (3, True)], ids=["2 processes", "3 in a sweep"])
def test_several_processes_score_every_slice_once_and_as_one_process_does(
    fistula, compose_train, tmp_path, world, sweep
):
    cohort = write_cohort(tmp_path / "cohort", patients=21)  # an odd number of test slices
    mode, where = (
        (["-m"], ["hydra.sweep.dir=study", "epochs=2,3"]) if sweep else ([], ["hydra.run.dir=study/run", "epochs=2"])
    )
    done = fistula("train", *mode, f"cohort={cohort}", *DDP, f"trainer.devices={world}", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "find_unused_parameters" not in done.stderr  # of which PyTorch warns in each process
    folders = [path.parent for path in (tmp_path / "study").glob("*/run.json")]
    assert len(folders) == 1 + sweep
    cfg = compose_train(*TINY_RUN, cohort=cohort)
    one = build(cfg, read_cohort(cohort), instantiate(cfg.split)(read_cohort(cohort).manifest))
    for folder in folders:
        scores = pl.read_parquet(folder / "predictions.parquet")
        weights = torch.load(folder / "best.ckpt", weights_only=True)
        one.classifier.load_state_dict(weights["state_dict"])
        expected = score_parts(one.classifier, one.data, fold=0)[0]
        assert scores["slice_key"].is_unique().all()
        assert scores.drop("score").equals(expected.drop("score"))
        np.testing.assert_allclose(scores["score"], expected["score"], rtol=0, atol=1e-6)
        again = summarize(
            expected, classes=["0", "1"], choose_threshold=one.choose_threshold, aggregation=one.aggregation
        )
        recorded = json.loads((folder / "run.json").read_text())["metrics"]
        for name, estimate in again["metrics"]["test"]["slice"].items():
            assert recorded["test"]["slice"][name]["value"] == pytest.approx(estimate["value"], abs=1e-6), name
        # The metric that chooses the best epoch was summed up over all slices of val, each once, as well.
        history = pl.read_csv(folder / "history.csv")
        best = int(weights["epoch"])
        auroc = again["metrics"]["val"]["slice"]["auroc"]["value"]
        assert history["val/auroc"][best] == pytest.approx(auroc, abs=1e-6)


@pytest.mark.parametrize("content", ["nothing", "half a file", "another network's", "weights alone"])
def test_a_damaged_checkpoint_is_named(compose_train, tmp_path, content):
    cohort = read_cohort(write_cohort(tmp_path / "cohort"))
    cfg = compose_train(*TINY_RUN, cohort=tmp_path / "cohort")
    table = instantiate(cfg.split)(cohort.manifest)
    experiment = build(cfg, cohort, table)
    experiment.folder.mkdir(exist_ok=True)
    last, best = (experiment.folder / f"{name}.ckpt" for name in ("last", "best"))
    states = {"another network's": {"weight": torch.ones(2)}, "weights alone": experiment.classifier.state_dict()}
    if content in states:
        torch.save({"epoch": 0, "state_dict": states[content]}, last)
    else:
        last.write_bytes(b"PK\x03\x04" if content == "half a file" else b"")
    rule = "is not of this run" if content in states else "cannot be read"
    with pytest.raises(FistulaError, match=rf"last\.ckpt: {rule} .*Remove it: the run then starts again"):
        build(cfg, cohort, table)
    last.rename(best)
    if content != "weights alone":  # which is what the best epoch's have to be
        with pytest.raises(
            FistulaError, match=r"best\.ckpt: does not hold this run's weights .*Remove it and last\.ckpt"
        ):
            load_best(experiment.classifier, best)


@pytest.mark.slow
def test_layers_that_thaw_in_turn_and_places_are_learned_in_several_processes_too(fistula, compose_train, tmp_path):
    cohort = write_places(tmp_path / "cohort", patients=21)
    run = ["learning=gradual", "epochs=4", "model.pretrained=false", "head=locate"]
    tiny = [text for text in DDP if not text.startswith(("learning", "epochs"))]
    done = fistula("train", f"cohort={cohort}", *tiny, "trainer.devices=2", *run, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    cfg = compose_train(*TINY_RUN, *run, cohort=cohort)
    one = build(cfg, read_cohort(cohort), instantiate(cfg.split)(read_cohort(cohort).manifest))
    one.classifier.load_state_dict(torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)["state_dict"])
    expected = score_parts(one.classifier, one.data, fold=0)[2]
    places = pl.read_parquet(tmp_path / "run" / "places.parquet")
    assert places.select("slice_key", "kind").equals(expected.select("slice_key", "kind"))
    assert not places.select("slice_key", "kind").is_duplicated().any()
    for name in ("row", "col", "peak"):
        np.testing.assert_allclose(places[name], expected[name], rtol=0, atol=1e-3)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"


@pytest.mark.slow
def test_patients_are_scored_once_by_two_processes_and_as_one_process_does(fistula, compose_train, tmp_path):
    lacking = ("slice3-0", "slice3-1", "slice3-2", "slice5-0")  # a patient and a slice without the second sequence
    cohort = write_two_sequences(tmp_path / "cohort", patients=23, slices=3, size=32, lacking=lacking)
    run = ("unit=patient", "pooling=attention", "slices_per_step=2", "batch_size=4", "ema=0.5", "model.channels=late")
    done = fistula("train", f"cohort={cohort}", *DDP, *run, "trainer.devices=2", "hydra.run.dir=run", "epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    cfg = compose_train(*TINY_RUN, *run, cohort=cohort)
    one = build(cfg, read_cohort(cohort), instantiate(cfg.split)(read_cohort(cohort).labelled))
    one.classifier.load_state_dict(torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)["state_dict"])
    expected, slices, _ = score_parts(one.classifier, one.data, fold=0)
    for name, table in (("predictions", expected), ("slices", slices)):
        scores = pl.read_parquet(tmp_path / "run" / f"{name}.parquet")
        assert scores.drop("score", "weight", strict=False).equals(table.drop("score", "weight", strict=False))
        np.testing.assert_allclose(scores["score"], table["score"], rtol=0, atol=1e-6)
    assert expected["patient_key"].is_unique().all()
    # What chooses the best epoch was summed up over the patients of validation, each once.
    record, history = json.loads((tmp_path / "run" / "run.json").read_text()), pl.read_csv(tmp_path / "run/history.csv")
    best = history["val/auroc"][record["best_epoch"]]
    assert best == pytest.approx(record["metrics"]["val"]["patient"]["auroc"]["value"], abs=1e-6)
