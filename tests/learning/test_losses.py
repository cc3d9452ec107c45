import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchvision.ops import sigmoid_focal_loss

from fistula.errors import ConfigError, DataError
from fistula.learning.losses import CrossEntropy, Focal, Ordinal, class_weights

LOGITS = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1] * 3 + [1] * 6)
EVEN = [6, 6]


def plain(**options):
    return CrossEntropy(EVEN, **{"class_balance": 0.0, "label_smoothing": 0.0} | options)


def test_with_two_classes_it_is_the_binary_cross_entropy_of_the_difference():
    binary = binary_cross_entropy_with_logits(LOGITS[:, 1] - LOGITS[:, 0], LABELS.float())
    torch.testing.assert_close(plain()(LOGITS, LABELS), binary)


def test_without_options_it_is_torchs_to_the_last_bit():
    assert plain()(LOGITS, LABELS) == cross_entropy(LOGITS, LABELS)


def test_smoothed_labels_are_those_worked_by_hand():
    logs = LOGITS.log_softmax(dim=1)
    right, wrong = logs[range(12), LABELS], logs[range(12), 1 - LABELS]
    expected = -(0.95 * right + 0.05 * wrong).mean()  # a tenth of the label spread over two classes
    torch.testing.assert_close(plain(label_smoothing=0.1)(LOGITS, LABELS), expected)


def test_the_loss_of_grades_is_the_one_worked_by_hand():
    # Probabilities 0.5, 0.3, 0.2 and grade 1: it is 1 or higher (0.5), and not 2 or higher (0.8).
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    expected = -(math.log(0.5) + math.log(0.8)) / 2
    assert Ordinal([1, 1, 1], class_balance=0.0)(logits, torch.tensor([1])).item() == pytest.approx(expected)


def test_a_grade_further_off_costs_more_where_cross_entropy_makes_no_difference():
    near, far = (torch.tensor([probabilities]).log() for probabilities in ([0.1, 0.8, 0.1], [0.1, 0.1, 0.8]))
    label, counts = torch.tensor([0]), [1, 1, 1]
    assert cross_entropy(near, label) == cross_entropy(far, label)
    loss = Ordinal(counts, class_balance=0.0)
    assert loss(far, label) > loss(near, label)


def test_the_loss_of_grades_and_its_slopes_stay_finite_however_sure_the_network_is():
    logits = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
    value = Ordinal([1, 1, 1], class_balance=1.0)(logits, torch.tensor([2]))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_two_classes_are_no_grades():
    with pytest.raises(ConfigError, match="loss=ordinal: is for three or more grades"):
        Ordinal([5, 5], class_balance=0.0)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_is_torchvisions(gamma):
    expected = sigmoid_focal_loss(LOGITS[:, 1] - LOGITS[:, 0], LABELS.float(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Focal(EVEN, class_balance=0.0, gamma=gamma)(LOGITS, LABELS), expected)


@pytest.mark.parametrize(
    "loss",
    [CrossEntropy([3, 9], class_balance=1.0, label_smoothing=0.0), Focal([3, 9], class_balance=1.0, gamma=2.0)],
    ids=["cross-entropy", "focal"],
)
def test_balanced_every_class_counts_the_same(loss):
    """Twelve slices, three of them of class 0: the mean of the two classes' own means."""
    single = type(loss)([6, 6], **{"class_balance": 0.0} | ({"gamma": 2.0} if "Focal" in str(loss) else SMOOTHING))
    each = [single(LOGITS[label == LABELS], LABELS[label == LABELS]) for label in (0, 1)]
    torch.testing.assert_close(loss(LOGITS, LABELS), sum(each) / 2)


SMOOTHING = {"label_smoothing": 0.0}


def test_weights_are_inverse_counts_with_mean_one_over_the_slices():
    weights = class_weights([30, 10], 1.0)
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))
    assert class_weights([30, 10], 0.0) is None
    torch.testing.assert_close(class_weights([30, 10], 0.5)[1] / class_weights([30, 10], 0.5)[0], torch.tensor(3**0.5))


def test_a_loss_leaves_nothing_in_a_checkpoint():
    assert not CrossEntropy([3, 9], class_balance=1.0, label_smoothing=0.0).state_dict()


def test_a_class_without_a_slice_cannot_be_balanced():
    with pytest.raises(DataError, match=r"every class needs one .* found counts \[3, 0\]"):
        class_weights([3, 0], 1.0)
