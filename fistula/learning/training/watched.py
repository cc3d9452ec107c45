"""The metrics that an epoch ends with, by which the best one is chosen or training is ended."""

from collections.abc import Mapping
from typing import Any

WATCHED = ("val/auroc", "val/loss", "val/sensitivity", "val/specificity", "train/loss")
TIE_BREAKER = "val/loss"  # a dozen validation patients have few distinct AUROCs


def better(monitor: str) -> str:
    """Which value of a metric is the better one, in Lightning's words.

    Example:
        >>> better("val/auroc"), better("val/loss")
        ('max', 'min')
    """
    return "min" if monitor.endswith("loss") else "max"


def decisive(metrics: Mapping[str, Any], monitor: str) -> Any:
    """A metric, moved by so little of the loss on validation that the loss decides between equal values alone.

    Example:
        >>> import torch
        >>> float(decisive({"val/auroc": torch.tensor(0.5), "val/loss": torch.tensor(torch.inf)}, "val/auroc"))
        0.499999999
    """
    # On the CPU, for Apple's chips have no numbers of 64 bits.
    value, loss = (metrics.get(name, metrics[monitor]).cpu().double() for name in (monitor, TIE_BREAKER))
    share = (1 - 1 / (1 + loss)).nan_to_num(1)  # from 0, of no loss, to 1, of an endless one
    return value + (1e-9 if better(monitor) == "min" else -1e-9) * share
