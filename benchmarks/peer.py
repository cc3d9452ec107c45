"""What every peer is told, and how its scores are written; for the `peer_*.py` beside this file."""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def arguments(description: str | None) -> argparse.Namespace:
    """The folder of images, with a seed and the number of epochs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    return parser.parse_args()


def write(folder: Path, ways: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write `scores.csv`: a line for each test image, its name and a score for each of `ways`."""
    with (folder / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("slice_key", *ways), *lines])
