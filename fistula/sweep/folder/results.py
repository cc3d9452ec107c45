"""What a finished run has to show, in one line."""

from typing import Any


def one_line(metrics: dict[str, Any]) -> str:
    """AUROC of the test part, by what was scored and by patient, of the `metrics` in `run.json`; for each class."""
    if "test" not in metrics:
        return "; ".join(f"{name}: {one_line(node)}" for name, node in metrics.items())
    values = {level: found["auroc"]["value"] for level, found in metrics["test"].items()}
    return "test " + "  ".join(
        f"per-{level} AUROC " + ("n/a" if value is None else f"{value:.3f}") for level, value in values.items()
    )
