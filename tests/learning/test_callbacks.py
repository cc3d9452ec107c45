from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from fistula.errors import ConfigError
from fistula.learning.callbacks import Patience, WeightAverage
from fistula.learning.training.checkpoints import BestWeights, LastCheckpoint


class Line(LightningModule):
    """One weight that a step raises by one, and what val saw of it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.after_steps = [], []

    def training_step(self, batch, batch_idx):
        self.after_steps.append(self.weight.item())
        return -self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.seen.append(self.weight.item())
        self.log("val/auroc", 0.5)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(callbacks, *, epochs, folder, checkpoint=None, parts=1, module=None, sanity=0, **options):
    module = module or Line()
    loader = torch.utils.data.DataLoader(torch.zeros(2 * parts, 1), batch_size=1)
    trainer = Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=parts,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=any(isinstance(callback, BestWeights) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=sanity,
        accelerator="cpu",
        **options,
    )
    val = torch.utils.data.DataLoader(torch.zeros(1, 1))
    trainer.fit(module, loader, val, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / "state.ckpt")
    return module, trainer


def test_the_average_is_the_one_worked_by_hand_and_stands_in_the_network_at_validation(tmp_path):
    module, _ = fit([WeightAverage(0.25)], epochs=2, folder=tmp_path)
    assert module.after_steps == [0.0, 1.0, 2.0, 3.0]  # training goes on from the weights, not from the averages
    expected, average = [], 0.0
    for step in (1, 2, 3, 4):
        decay = min(0.25, step / (step + 9))
        average = decay * average + (1 - decay) * step
        expected.append(average)
    assert module.seen == pytest.approx([expected[1], expected[3]])
    assert module.weight.item() == pytest.approx(expected[3])


def test_the_average_is_over_steps_in_however_many_parts_a_batch_is_worked_through(tmp_path):
    whole, _ = fit([WeightAverage(0.25)], epochs=2, folder=tmp_path)
    parts, _ = fit([WeightAverage(0.25)], epochs=2, folder=tmp_path, parts=4)
    assert parts.seen == pytest.approx(whole.seen, abs=2e-9)
    assert parts.weight.item() == pytest.approx(whole.weight.item(), abs=2e-9)


def test_a_validation_before_training_finds_no_average_and_changes_none(tmp_path):
    whole, _ = fit([WeightAverage(0.25)], epochs=2, folder=tmp_path)
    tried, _ = fit([WeightAverage(0.25)], epochs=2, folder=tmp_path, sanity=1)
    assert tried.seen == [0.0, *whole.seen]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"val_check_interval": 0.5}, id="twice an epoch"),
        pytest.param({"check_val_every_n_epoch": 2}, id="not after the last epoch"),
    ],
)
def test_the_average_is_the_same_however_often_is_validated(tmp_path, options):
    whole, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path)
    other, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path, **options)
    assert other.after_steps == whole.after_steps
    assert other.weight.item() == whole.weight.item()


def test_the_average_goes_on_where_it_stopped(tmp_path):
    whole, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path)
    fit([WeightAverage(0.25)], epochs=2, folder=tmp_path)
    mended, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path, checkpoint=tmp_path / "state.ckpt")
    assert mended.weight.item() == whole.weight.item()


def patience():
    return Patience(monitor="val/auroc", patience=2, min_delta=0.0)


def test_training_ends_when_patience_does_and_is_known_to_have_ended(tmp_path):
    _, trainer = fit([patience()], epochs=10, folder=tmp_path)
    assert trainer.current_epoch == 3  # one that was best, two that were no better
    module, _ = fit([patience()], epochs=10, folder=tmp_path, checkpoint=tmp_path / "state.ckpt")
    assert module.after_steps == []


class Told(Line):
    """An epoch of validation ends with what it is told: AUROC, and loss."""

    def __init__(self, *epochs):
        super().__init__()
        self.epochs = epochs

    def validation_step(self, batch, batch_idx):
        auroc, loss = self.epochs[self.current_epoch]
        self.log_dict({"val/auroc": torch.tensor(auroc), "val/loss": torch.tensor(loss)})


EPOCHS = ((0.5, 0.9), (0.75, 0.7), (0.75, 0.4), (0.75, 0.6), (0.6, 0.1))


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        pytest.param("val/auroc", 2, id="of three epochs with the highest AUROC, the one of the lowest loss"),
        pytest.param("val/loss", 4, id="a loss is the better the lower it is"),
        pytest.param("epoch", 4, id="the last one"),
    ],
)
def test_the_metric_decides_which_epoch_is_best_and_the_loss_breaks_ties(tmp_path, monitor, best):
    fit([BestWeights(tmp_path, monitor=monitor)], epochs=5, folder=tmp_path, module=Told(*EPOCHS))
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == best


@pytest.mark.parametrize(("callbacks", "kept"), [((), 9), ((Patience("val/auroc", 2, 0.0),), 4)])
def test_where_the_last_epoch_is_scored_no_other_is_written(tmp_path, callbacks, kept):
    told = Told((0.5, 0.9), (0.75, 0.7), (0.75, 0.4), *[(0.5, 0.9)] * 7)
    best = tmp_path / "best.ckpt"
    found = Callback()
    found.on_train_epoch_start = lambda trainer, module: before.append(best.exists())
    before = []
    fit([*callbacks, found, BestWeights(tmp_path, monitor="epoch")], epochs=10, folder=tmp_path, module=told)
    assert torch.load(best, weights_only=True)["epoch"] == kept
    assert before == [False] * (kept + 1)


@pytest.mark.parametrize("options", [{"val_check_interval": 0.5}, {"check_val_every_n_epoch": 2}], ids=str)
def test_the_last_epoch_is_kept_and_patience_ends_however_often_is_validated(tmp_path, options):
    fit([BestWeights(tmp_path, monitor="epoch"), patience()], epochs=5, folder=tmp_path, **options)
    kept = torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"]
    assert kept == (1 if "val_check_interval" in options else 4)


def test_a_tie_is_known_to_a_resumed_training(tmp_path):
    def best():
        return BestWeights(tmp_path, monitor="val/auroc")

    fit([best()], epochs=3, folder=tmp_path, module=Told(*EPOCHS))
    fit([best()], epochs=5, folder=tmp_path, module=Told(*EPOCHS), checkpoint=tmp_path / "state.ckpt")
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize(
    ("monitor", "ended"),
    [
        pytest.param("val/auroc", 5, id="a lower loss at the same AUROC is better: the third epoch"),
        pytest.param("val/loss", 6, id="the lowest loss is the fourth epoch's"),
    ],
)
def test_patience_counts_from_the_epoch_that_is_best(tmp_path, monitor, ended):
    told = Told((0.5, 0.9), (0.75, 0.7), (0.75, 0.4), (0.5, 0.3), (0.75, 0.5), *[(0.5, 0.9)] * 5)
    _, trainer = fit([Patience(monitor, 2, 0.0)], epochs=10, folder=tmp_path, module=told)
    assert trainer.current_epoch == ended


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Patience("epoch", 2, 0.0), r"stopping\.monitor: must be one of val/auroc, .* found epoch"),
        (
            lambda: BestWeights(None, monitor="auc"),
            r"checkpoint\.monitor: must be one of epoch, .* found auc",
        ),
    ],
)
def test_impossible_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(("writing_s", "written"), [(0.001, [0, 1, 2, 3]), (0.19, [0, 2]), (10.0, [0])])
def test_writing_takes_a_small_share_of_the_time(monkeypatch, tmp_path, writing_s, written):
    clock, epochs = [100.0], []

    class Trainer:
        strategy = SimpleNamespace(broadcast=lambda value: value)

        def save_checkpoint(self, path):
            epochs.append(self.current_epoch)
            clock[0] += writing_s

    monkeypatch.setattr("fistula.learning.training.checkpoints.time.monotonic", lambda: clock[0])
    trainer, last = Trainer(), LastCheckpoint(tmp_path)
    for trainer.current_epoch in range(4):
        clock[0] += 5.0
        last.on_train_epoch_end(trainer, None)
    assert epochs == written
