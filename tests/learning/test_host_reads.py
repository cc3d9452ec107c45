"""A step on a card reads nothing back: tried without one, on tensors that are said to lie there and have no numbers.

Whatever a step looks at (a truth value, a count that decides a shape) has to wait for the card; here it is an error.
"""

import polars as pl
import pytest
import torch
from hydra.utils import instantiate
from spots import write_places
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fistula.cohort.manifest import read_cohort
from fistula.learning.building.judging import features_of
from fistula.learning.classifier import FistulaClassifier
from fistula.learning.experiment import build
from fistula.learning.heads import marks_of

from ..conftest import TINY_RUN

PATIENT = ("unit=patient", "slices_per_step=2", "slice_weight=0.5")


@pytest.fixture
def make(compose_train, tmp_path, monkeypatch):
    """A classifier as at some step of its training, and a batch."""
    folder = write_places(tmp_path / "cohort", age=pl.int_range(pl.len()) // 3 + 20.0)
    cohort = read_cohort(folder)
    monkeypatch.setattr(FistulaClassifier, "global_step", 1)
    for name in ("log", "log_dict"):
        monkeypatch.setattr(FistulaClassifier, name, lambda *args, **rest: None)

    def made(*overrides):
        cfg = compose_train(*TINY_RUN, *overrides, cohort=folder)
        experiment = build(cfg, cohort, instantiate(cfg.split)(cohort.labelled))
        return experiment.classifier, next(iter(experiment.data.train_dataloader()))

    return made


class Copies(TorchDispatchMode):
    """Refuse what is copied to the card while the host waits."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu" and given.get("device"):
            assert given.get("non_blocking"), f"waits for a copy of {tuple(args[0].shape)}"
        return func(*args, **given)


def send(mode, classifier, batch):
    """Say of everything that it lies on a card."""

    def there(value):
        return mode.from_tensor(value.detach()).to("cuda")

    for module in classifier.modules():
        for name, value in module._parameters.items():
            module._parameters[name] = None if value is None else nn.Parameter(there(value))
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else there(value)
    for metric in (classifier.val_metrics, classifier.val_loss, classifier.train_loss):
        metric.to("cuda")
    return {key: there(value) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param((), id="slices"),
        pytest.param(("loss=focal", "loss.class_balance=1"), id="a balanced loss"),
        pytest.param(("mixup=0.2", "loss=focal", "covariates=[age]"), id="mixed images"),
        pytest.param(("head=locate",), id="places"),
        pytest.param(("covariates=[age]",), id="covariates"),
        *(pytest.param((*PATIENT, f"pooling={name}"), id=name) for name in ("mean", "max", "attention", "transformer")),
        pytest.param((*PATIENT, "head=locate", "covariates=[age]"), id="places of patients, with covariates"),
    ],
)
def test_a_step_looks_at_nothing_that_lies_on_the_card(make, overrides):
    classifier, batch = make(*overrides)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        batch = send(mode, classifier, batch)
        with Copies(), torch.autocast("cuda", torch.bfloat16):
            assert classifier.training_step(batch, 0).device.type == "cuda"
            classifier.validation_step(batch, 0)
            with torch.inference_mode():
                marks_of(features_of(classifier, batch["image"])[1], size=32)
