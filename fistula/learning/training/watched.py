"""The metrics that an epoch ends with, by which the best one is chosen or training is ended."""

from collections.abc import Sequence

from fistula.errors import ConfigError

WATCHED = ("val/auroc", "val/loss", "val/sensitivity", "val/specificity", "train/loss")
TIE_BREAKER = "val/loss"  # a dozen validation patients have few distinct AUROCs


def check_watched(key: str, monitor: str, metrics: Sequence[str]) -> None:
    """Raise ConfigError unless `monitor` is one of the metrics that an epoch ends with."""
    if monitor not in metrics:
        raise ConfigError(key, f"must be one of {', '.join(metrics)}", found=monitor, remedy="Try val/auroc")


def better(monitor: str) -> str:
    """Which value of a metric is the better one, in Lightning's words.

    Example:
        >>> better("val/auroc"), better("val/loss")
        ('max', 'min')
    """
    return "min" if monitor.endswith("loss") else "max"
