"""What it costs to learn places: an epoch of `head=locate` against one of `head=classify`, in turns; medians.

    python benchmarks/locating.py [--slices 256] [--size 128] [--rounds 3] [--architecture efficientnet_lite0]

Both train through the whole stack, with validation, on the same slices, half of which have an opening and all a canal.
Processor time, so that other programs count for little. Ends with 1 if an epoch of `locate` takes more than 1.35 times
as long.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

TARGET = 1.35
EPOCHS = 3  # of a training; the first, which warms up, is left out


def write_spots(folder: Path, *, slices: int, size: int) -> None:
    """A cohort of noise as `training.write_cohort` makes it, whose manifest says where openings and canals are."""
    import numpy as np
    import polars as pl
    from training import write_cohort

    from fistula.cohort.manifest import manifest_fingerprint

    write_cohort(folder, slices=slices, size=size)
    random, manifest = np.random.default_rng(1), pl.read_parquet(folder / "manifest.parquet")
    points = {
        f"{kind}_{axis}": random.uniform(0, size - 1, slices)
        for kind in ("opening", "canal")
        for axis in ("row", "col")
    }
    is_open = pl.col("label") == 1
    manifest = manifest.with_columns(
        pl.when(is_open | pl.lit(name.startswith("canal"))).then(pl.Series(values)).alias(name)
        for name, values in points.items()
    ).select(manifest.columns)
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text())
    (folder / "ingest.json").write_text(json.dumps(record | {"fingerprint": manifest_fingerprint(manifest)}))


def epochs_of(cohort: Path, run: Path, *overrides: str, epochs: int) -> list[float]:
    """Processor seconds of each epoch of a training through the whole stack, but for the first."""
    from pytorch_lightning.callbacks import Callback
    from training import build_experiment

    experiment = build_experiment(cohort, run, *overrides, f"epochs={epochs}")
    turns: list[float] = []

    class Clock(Callback):
        # Lightning validates an epoch before it begins the next.
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            turns.append(time.process_time())

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            turns.append(time.process_time())

    experiment.trainer.callbacks.insert(0, Clock())
    experiment.trainer.fit(experiment.classifier, experiment.data)
    experiment.tracker.finish(0)
    return [after - before for before, after in pairwise(turns)][1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--architecture", default="efficientnet_lite0")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {"locate": [], "classify": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_spots(folder / "cohort", slices=options.slices, size=options.size)
        settings = (
            f"model={options.architecture}", f"image_size={options.size}", "trainer=cpu", "logger=csv",
            "learning=end_to_end",
        )  # fmt: skip
        for turn in range(options.rounds):
            for head, seconds in taken.items():
                run = folder / f"{head}{turn}"
                seconds += epochs_of(folder / "cohort", run, *settings, f"head={head}", epochs=EPOCHS)
    medians = {head: statistics.median(seconds) for head, seconds in taken.items()}
    ratio = medians["locate"] / medians["classify"]
    for head, seconds in taken.items():
        print(
            f"{head}: median {medians[head]:.2f} s of {len(seconds)} epochs, {min(seconds):.2f} to {max(seconds):.2f}"
        )
    print(f"an epoch of locate takes {ratio:.2f} times as long (at most {TARGET})")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
