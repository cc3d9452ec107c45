"""The metrics that an epoch ends with, by which the best one is chosen or training is ended."""

WATCHED = ("val/auroc", "val/loss", "val/sensitivity", "val/specificity", "train/loss")
TIE_BREAKER = "val/loss"  # a dozen validation patients have few distinct AUROCs


def better(monitor: str) -> str:
    """Which value of a metric is the better one, in Lightning's words.

    Example:
        >>> better("val/auroc"), better("val/loss")
        ('max', 'min')
    """
    return "min" if monitor.endswith("loss") else "max"
