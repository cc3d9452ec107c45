from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from fistula.errors import ConfigError
from fistula.learning.callbacks import LastCheckpoint, Patience, WeightAverage, best_checkpoint


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


def fit(callbacks, *, epochs, folder, checkpoint=None):
    module = Line()
    loader = torch.utils.data.DataLoader(torch.zeros(2, 1), batch_size=1)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
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


def test_the_average_goes_on_where_it_stopped(tmp_path):
    whole, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path)
    fit([WeightAverage(0.25)], epochs=2, folder=tmp_path)
    mended, _ = fit([WeightAverage(0.25)], epochs=3, folder=tmp_path, checkpoint=tmp_path / "state.ckpt")
    assert mended.weight.item() == whole.weight.item()


def patience():
    return Patience(monitor="val/auroc", mode="max", patience=2, min_delta=0.0)


def test_training_ends_when_patience_does_and_is_known_to_have_ended(tmp_path):
    _, trainer = fit([patience()], epochs=10, folder=tmp_path)
    assert trainer.current_epoch == 3  # one that was best, two that were no better
    module, _ = fit([patience()], epochs=10, folder=tmp_path, checkpoint=tmp_path / "state.ckpt")
    assert module.after_steps == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightAverage(1.0), r"ema: must be 0 \(off\) or in \(0, 1\), found 1\.0"),
        (lambda: Patience("epoch", "max", 2, 0.0), r"stopping\.monitor: must be one of val/auroc, .* found epoch"),
        (
            lambda: best_checkpoint(None, monitor="auc", mode="max"),
            r"checkpoint\.monitor: .* found auc\. Try val/auroc",
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

    monkeypatch.setattr("fistula.learning.callbacks.time.monotonic", lambda: clock[0])
    trainer, last = Trainer(), LastCheckpoint(tmp_path)
    for trainer.current_epoch in range(4):
        clock[0] += 5.0
        last.on_train_epoch_end(trainer, None)
    assert epochs == written
