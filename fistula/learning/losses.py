"""What training minimises: losses of logits against labels, with or without a balance of the classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fistula.errors import ConfigError, DataError


class CrossEntropy(nn.Module):
    """Cross-entropy of the softmax; with two classes the binary cross-entropy of the difference of the logits.

    Args:
        class_counts: Training slices of each class, ``(K,)``.
        class_balance: Power of a class's rarity that weighs its slices: 0 counts every slice alike, 1 every class.
        label_smoothing: Part of a label, in [0, 1), that is spread evenly over all classes.

    Raises:
        DataError: If the balance is wanted and a class has no training slice.
    """

    weight: Tensor | None

    def __init__(self, class_counts: Sequence[int], *, class_balance: float, label_smoothing: float) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", class_weights(class_counts, class_balance), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, weighted by class, of logits ``(B, K)`` and labels ``(B,)``."""
        return cross_entropy(logits, labels, weight=self.weight, label_smoothing=self.label_smoothing)


class Focal(nn.Module):
    """Cross-entropy in which a slice counts the less, the surer the network already is of its label.

    `gamma` is at least 0, which is cross-entropy; the rest as for `CrossEntropy`.

    Raises:
        DataError: If the balance is wanted and a class has no training slice.

    Source:
        Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 5.
    """

    weight: Tensor | None

    def __init__(self, class_counts: Sequence[int], *, class_balance: float, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", class_weights(class_counts, class_balance), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, weighted by class, of logits ``(B, K)`` and labels ``(B,)``."""
        losses = cross_entropy(logits, labels, reduction="none")
        return _mean((-torch.expm1(-losses)) ** self.gamma * losses, self.weight, labels)


class Ordinal(nn.Module):
    """For classes that are grades: the cross-entropy of each question whether the grade is k or higher.

    The probability of that is the softmax's over the grades from k on; scores stay those of the classes.

    There are at least 3 classes; arguments as for `CrossEntropy`.

    Raises:
        ConfigError: If there are two classes.
        DataError: If the balance is wanted and a class has no training slice.

    Source:
        Frank & Hall (2001), A simple approach to ordinal classification, ECML, LNCS 2167, 145-156; here the K - 1
        probabilities are those of one softmax, and so cannot contradict one another.
    """

    weight: Tensor | None

    def __init__(self, class_counts: Sequence[int], *, class_balance: float) -> None:
        super().__init__()
        if len(class_counts) < 3:
            rule = "is for three or more grades: with two, it equals the cross-entropy"
            raise ConfigError("loss=ordinal", rule, found=len(class_counts), remedy="Use loss=cross_entropy")
        self.register_buffer("weight", class_weights(class_counts, class_balance), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch and the K - 1 questions, of logits ``(B, K)`` and labels ``(B,)``."""
        logs = logits.log_softmax(dim=1)
        below = logs.logcumsumexp(dim=1)[:, :-1]  # of k = 1, ..., K - 1
        above = logs.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:]
        is_above = labels[:, None] >= torch.arange(1, logits.shape[1], device=labels.device)
        return _mean(-torch.where(is_above, above, below).mean(dim=1), self.weight, labels)


def are_grades(target: str) -> bool:
    """Whether the loss of this ``_target_`` takes classes for grades."""
    return target.rpartition(".")[2] == Ordinal.__name__


def class_weights(counts: Sequence[int], balance: float) -> Tensor | None:
    """Weights ``(K,)`` by the rarity of a class, with mean 1 over the slices; None where all would be alike.

    Raises:
        DataError: If the balance is wanted and a class has no slice.
    """
    if balance == 0:
        return None
    number = torch.tensor(counts, dtype=torch.float64)
    if (number == 0).any():
        rule = "loss.class_balance weighs by the number of slices, so every class needs one in the training set"
        raise DataError("split", rule, found=f"counts {list(counts)}", remedy="Use another split or loss=cross_entropy")
    weights = number**-balance
    return (weights * number.sum() / (weights * number).sum()).float()


def _mean(losses: Tensor, weight: Tensor | None, labels: Tensor) -> Tensor:
    """The mean over the batch, weighted by class where there are weights."""
    if weight is None:
        return losses.mean()
    weights = weight[labels]
    return (weights * losses).sum() / weights.sum()
