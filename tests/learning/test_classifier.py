from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import binary_auroc

from fistula.errors import TrainingError
from fistula.learning.classifier import FistulaClassifier, MeanLoss, training_metrics
from fistula.learning.modes import AllLayers
from fistula.learning.schedule import constant


class Exploding(nn.Module):
    """A network whose logits overflow."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return self.weight * torch.full((len(image), 2), float("inf"))


def classifier(backbone):
    optimizer = partial(torch.optim.SGD, lr=0.1)
    return FistulaClassifier(
        backbone,
        num_classes=2,
        learning=AllLayers(False),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        schedule=constant,
    )


def test_the_loss_of_an_epoch_is_the_mean_of_its_images_however_they_are_batched():
    whole, parts = MeanLoss(), MeanLoss()
    of_images = torch.arange(10.0) ** 2
    whole.update(of_images.mean(), 10)
    for batch in of_images.split(4):  # the last has 2
        parts.update(batch.mean(), len(batch))
    assert whole.compute() == parts.compute() == of_images.mean()


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step():
    batch = {"image": torch.zeros(2, 1, 4, 4), "label": torch.tensor([0, 1])}
    with pytest.raises(TrainingError, match=r"step 0: the loss must be finite, found nan\. Lower optimizer\.lr"):
        classifier(Exploding()).training_step(batch, 0)


def test_a_loss_is_of_single_precision_whatever_the_network_computes_in():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).bfloat16()
    made = classifier(network)
    made.log = lambda *_, **__: None
    made._trainer = SimpleNamespace(global_step=0)
    images = torch.rand(5, 1, 4, 4).bfloat16()
    loss = made.training_step({"image": images, "label": torch.tensor([0, 1, 0, 1, 1])}, 0)
    assert loss.dtype == torch.float32


def test_forward_gives_probabilities():
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    probabilities = classifier(network)(torch.rand(5, 1, 4, 4))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
    assert probabilities.dtype == torch.float32


def test_training_metrics_of_two_classes_are_of_the_positive_one():
    scores, labels = torch.tensor([0.1, 0.4, 0.6, 0.9, 0.7]), torch.tensor([0, 1, 0, 1, 1])
    values = training_metrics(2)(scores, labels)
    # Worked by hand at 0.5: two of three positives, one of two negatives; four of the six pairs in order, one not.
    assert values["sensitivity"].item() == pytest.approx(2 / 3)
    assert values["specificity"].item() == pytest.approx(1 / 2)
    assert values["auroc"].item() == pytest.approx(5 / 6)
    torch.testing.assert_close(values["auroc"], binary_auroc(scores, labels))


def test_training_metrics_of_more_classes_are_averaged_over_them():
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])
    values = training_metrics(3)(probabilities, torch.tensor([0, 1, 2, 2]))
    assert values["sensitivity"].item() == pytest.approx((1 + 1 + 0.5) / 3)


@pytest.mark.parametrize(
    ("optimizer", "given", "fused"),
    [
        (torch.optim.AdamW, {}, True),
        (torch.optim.SGD, {}, True),
        (torch.optim.AdamW, {"fused": False}, False),
        (torch.optim.AdamW, {"foreach": True}, None),
        (torch.optim.Adagrad, {}, None),  # whose state is made at once, on the processor
    ],
)
def test_weights_on_a_card_are_moved_by_one_kernel_where_the_optimizer_may_still_choose(
    monkeypatch, optimizer, given, fused
):
    monkeypatch.setattr("fistula.learning.classifier.parameter_groups", lambda *_: [])
    made = classifier(nn.Linear(2, 2))
    made.head.weight, made.make_optimizer = nn.Parameter(torch.ones(2)), partial(optimizer, **given)
    made._trainer, made._device = SimpleNamespace(estimated_stepping_batches=3), torch.device("cuda", 0)
    assert made.configure_optimizers()["optimizer"].param_groups[0]["fused"] is fused
    made._device = torch.device("cpu")
    assert made.configure_optimizers()["optimizer"].param_groups[0]["fused"] is given.get("fused")
