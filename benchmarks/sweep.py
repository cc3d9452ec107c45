"""Time a sweep of eight runs on this machine against the bare loops in it; adds to results.json beside this file.

    python benchmarks/sweep.py [--epochs 12] [--slices 256] [--size 96]

Two slots of one core each: the sweep's wall time over that of four waves of two bare loops, which are timed before it
and after it; their mean counts.

Beside it what a process of one thread is worth: two of them at once against one of two threads in turn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training import RESULTS, write_cohort

RUNS, SLOTS = 8, 2
TARGET = 1.10
BARE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import training
cohort, run, epochs = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
epoch = training.bare_loop(training.build_experiment(cohort, run, "epochs=1", "logger=csv", *sys.argv[5:]))
print("ready", flush=True)
sys.stdin.readline()
started = time.perf_counter()
for _ in range(epochs):
    epoch()
print(time.perf_counter() - started, flush=True)
"""


def bare_seconds(folder: Path, overrides: list[str], *, processes: int, threads: int, epochs: int) -> float:
    """Seconds of the slower of so many bare loops that begin together, in processes of so many threads."""
    here = str(Path(__file__).parent)
    count = str(threads)
    environment = os.environ | {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BARE, here, "cohort", f"bare-{time.time_ns()}-{number}", str(epochs), *overrides],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(processes)
    ]
    for process in started:
        while process.stdout and process.stdout.readline() != "ready\n":
            if process.poll() is not None:
                raise RuntimeError("a bare loop ended before it began")
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0].splitlines()[-1]) for process in started)


def sweep_seconds(folder: Path, overrides: list[str], *, epochs: int) -> float:
    """Seconds of the whole command, from an empty folder to the last of eight runs."""
    runs = f"seed={','.join(map(str, range(RUNS)))}"
    command = ["train", "-m", "cohort=cohort", "hydra/launcher=local", f"epochs={epochs}", runs, *overrides]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fistula.cli", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--architecture", default="resnet18")
    options = parser.parse_args()
    overrides = [
        f"model.architecture={options.architecture}",
        "learning=end_to_end",
        "split=patient_holdout",
        f"image_size={options.size}",
        "trainer=cpu",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "cohort", slices=options.slices, size=options.size)
        before = bare_seconds(folder, overrides, processes=SLOTS, threads=1, epochs=options.epochs)
        print(f"two bare loops of one thread each: {before:.1f} s", flush=True)
        together = bare_seconds(folder, overrides, processes=1, threads=SLOTS, epochs=options.epochs)
        print(f"one bare loop of two threads: {together:.1f} s", flush=True)
        sweep = sweep_seconds(folder, overrides, epochs=options.epochs)
        after = bare_seconds(folder, overrides, processes=SLOTS, threads=1, epochs=options.epochs)
        print(f"the bare loops again: {after:.1f} s", flush=True)
        bare = (before + after) / 2
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results["sweep of 8 runs, local"] = {
        "ratio": sweep / (bare * RUNS / SLOTS),
        "sweep_s": round(sweep, 1),
        "bare_s": round(bare, 1),
        "settings": vars(options),
    }
    results["two jobs of one thread"] = {"ratio": SLOTS * together / bare, "bare_two_threads_s": round(together, 1)}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(f"sweep of 8 runs: {results['sweep of 8 runs, local']['ratio']:.3f} of the bare loops (target <= {TARGET})")
    print(
        f"two jobs of one thread: {results['two jobs of one thread']['ratio']:.3f} times as fast as one of two threads"
    )


if __name__ == "__main__":
    main()
