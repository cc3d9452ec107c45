"""Time training through the whole stack against a bare PyTorch loop; writes results.json beside this file.

    python benchmarks/training.py [--slices 256] [--size 224] [--epochs 6] [--architecture resnet18] [--only none mr]

The two take turns, epoch by epoch, in one process: what else the machine does falls on both. A ratio is the median of
bare seconds over the median of the stack's: 1 is as fast. On a CPU they are seconds of processor time, of all threads,
which other programs hardly change. The bare loop does the same work: the same network, batches
of the same size with the pixels in memory, the same loss and optimiser, validation and its scores after each epoch.
Only the ratios mean something; the seconds beside them say how long a measurement took on a machine that may be busy.
Writing `last.ckpt` (the weights and two moments of each) takes a fiftieth of the time at most, in epochs as short as
these in some of them only: a median may leave it out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
AUGMENTATIONS = ("none", "color_jitter", "mr")
TARGETS = {
    "training, none": 0.95,
    "training, color_jitter": 0.95,
    "training, mr": 0.95,
    "linear_probe, 50 epochs": 30.0,
    "to the first step": 1.5,
    "anonymous memory, MB more": 300.0,
    "anonymous memory, 100k slices over 1k, MB more": 100.0,  # the pixels are 406 MB more
}
LOWER_IS_BETTER = (
    "to the first step",
    "anonymous memory, MB more",
    "anonymous memory, 100k slices over 1k, MB more",
)


def write_cohort(folder: Path, *, slices: int, size: int, each: int = 10) -> None:
    """Write a cohort of noise, `each` slices a patient, that `read_cohort` takes."""
    import numpy as np
    import polars as pl

    from fistula.cohort.manifest import FORMAT, SCHEMA, manifest_fingerprint

    patients = np.arange(slices) // each
    columns = {
        "slice_key": [f"s{row}" for row in range(slices)],
        "patient_key": [f"p{one}" for one in patients],
        "study_key": [f"t{one}" for one in patients],
        "series_key": [f"r{one}" for one in patients],
        "label": (patients % 2).tolist(),
        "position_mm": (np.arange(slices) % each).astype(float).tolist(),
        "pixel_hash": [f"h{row}" for row in range(slices)],
        "source_hash": [f"f{row}" for row in range(slices)],
    }
    manifest = pl.DataFrame({name: columns.get(name, [None] * slices) for name in SCHEMA}, schema=SCHEMA)
    folder.mkdir()
    manifest.write_parquet(folder / "manifest.parquet")
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (slices, size, size))
    random = np.random.default_rng(0)
    for row in range(slices):
        pixels[row] = random.integers(0, 256, (size, size), dtype=np.uint8)
    pixels.flush()
    record = {"format": FORMAT, "classes": ["0", "1"], "fingerprint": manifest_fingerprint(manifest), "size": size}
    (folder / "ingest.json").write_text(json.dumps(record))


def build_experiment(cohort_folder: Path, run: Path, *overrides: str) -> Any:
    """An `Experiment` as the command would build it."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate
    from omegaconf import open_dict

    from fistula.cli import config_folder
    from fistula.cohort.manifest import read_cohort
    from fistula.learning.experiment import build
    from fistula.sweep.folder.run import register_run_name

    register_run_name()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        fixed = [f"cohort={cohort_folder}", "split=patient_holdout", "model.pretrained=false"]
        cfg = compose("train", [*fixed, *overrides], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    run.mkdir(parents=True)
    cohort = read_cohort(cohort_folder)
    return build(cfg, cohort, instantiate(cfg.split)(cohort.manifest))


def clock_of(experiment: Any) -> Callable[[], float]:
    """What takes the seconds: on a CPU its own time, of all threads; beside a GPU, which works alone, the wall's."""
    return time.process_time if experiment.trainer.strategy.root_device.type == "cpu" else time.perf_counter


def bare_loop(experiment: Any) -> Callable[[], float]:
    """A plain PyTorch loop over the same slices; gives the seconds of one epoch."""
    import copy

    import numpy as np
    import torch

    data, source, clock = experiment.data, experiment.classifier, clock_of(experiment)
    device = experiment.trainer.strategy.root_device
    on_gpu = device.type == "cuda"
    network = copy.deepcopy(source.backbone).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-4, weight_decay=0.01, fused=on_gpu)
    labels = torch.tensor(data.cohort.manifest["label"].to_numpy())
    pixels = torch.from_numpy(np.array(data.cohort.pixels))[:, None]
    train, val = (torch.tensor(data.bags[part].rows) for part in ("train", "val"))
    loss_of = torch.nn.CrossEntropyLoss()
    precision = experiment.trainer.strategy.precision_plugin.forward_context  # the stack's

    def epoch() -> float:
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)  # the stack may pay for determinism, a plain loop has none
        try:
            return one_epoch()
        finally:
            torch.use_deterministic_algorithms(before)

    def one_epoch() -> float:
        started = clock()
        network.train()
        for rows in train[torch.randperm(len(train))].split(data.batch_size):
            if len(rows) > 1:
                optimizer.zero_grad()
                with precision():
                    loss = loss_of(network(pixels[rows].to(device)), labels[rows].to(device))
                loss.backward()
                optimizer.step()
        network.eval()
        with torch.inference_mode(), precision():
            scores = [network(pixels[rows].to(device)).softmax(1).cpu() for rows in val.split(2 * data.batch_size)]
        torch.cat(scores)  # on the processor, so that a card has done its work
        return clock() - started

    return epoch


def measure_epochs(cohort: Path, folder: Path, *overrides: str, epochs: int) -> dict[str, Any]:
    """Seconds of epochs of the stack and of the bare loop, in turns; the first of each is left out."""
    from pytorch_lightning.callbacks import Callback

    from fistula.learning.training.checkpoints import LastCheckpoint

    experiment = build_experiment(cohort, folder, f"epochs={epochs + 2}", *overrides)
    bare_epoch, clock = bare_loop(experiment), clock_of(experiment)
    stack: list[float] = []
    bare: list[float] = []

    class TakeTurns(Callback):
        started = 0.0

        # Lightning lets the loader begin only after this hook, in all epochs but the first, which is left out.
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if self.started:
                stack.append(clock() - self.started)
            began = time.monotonic()
            # What loads has begun with this epoch: it ends that here and begins anew, else it had the bare loop's time
            # as well. A user's epoch is the shorter by it.
            loader = trainer.train_dataloader
            if loader._begun:
                deque(loader._begun[1], maxlen=0)
                loader._begun = None
            bare.append(bare_epoch())
            for last in (one for one in trainer.callbacks if isinstance(one, LastCheckpoint)):
                last._next += time.monotonic() - began  # it writes so often an hour of training, and this was none
            self.started = clock()

    experiment.trainer.callbacks.insert(0, TakeTurns())
    experiment.trainer.fit(experiment.classifier, experiment.data)
    experiment.tracker.finish(0)
    stack, bare = stack[1:], bare[1 : len(stack)]
    return {
        "ratio": statistics.median(bare) / statistics.median(stack),
        "epochs": len(stack),
        "stack_s": [round(value, 3) for value in stack],
        "bare_s": [round(value, 3) for value in bare],
    }


def measure_probe(cohort: Path, folder: Path, *overrides: str, transfer_epoch_s: float) -> dict[str, Any]:
    """How many times faster 50 epochs of a probe are, features included, than 50 epochs of transfer."""
    experiment = build_experiment(cohort, folder, "epochs=50", "learning=linear_probe", "augmentation=none", *overrides)
    from fistula.learning.data.features import cache_features

    clock = clock_of(experiment)
    started = clock()
    device = experiment.trainer.strategy.root_device
    learning = experiment.classifier.learning
    cache_features(experiment.classifier.backbone, experiment.data, learning=learning, device=device)
    experiment.trainer.fit(experiment.classifier, experiment.data)
    experiment.tracker.finish(0)
    seconds = clock() - started
    return {"ratio": 50 * transfer_epoch_s / seconds, "probe_s": round(seconds, 2), "epochs": 50}


FIRST_STEP = """
import sys, time
started = time.perf_counter()
import os
from fistula.cli import main
from fistula.commands import train
def report(self, *args):
    print("SECONDS", time.perf_counter() - started, flush=True)
    os._exit(0)
import builtins
real = builtins.__import__
def watch(name, *args, **kwargs):
    module = real(name, *args, **kwargs)
    if name == "fistula.learning.experiment":
        from fistula.learning.classifier import FistulaClassifier
        FistulaClassifier.on_train_batch_end = report
    return module
builtins.__import__ = watch
main()
"""
IMPORTS = """
import time
started = time.perf_counter()
import torch, timm, pytorch_lightning
print("SECONDS", time.perf_counter() - started, flush=True)
"""
MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import training
cohort, run, kind, overrides = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5:]
experiment = training.build_experiment(cohort, run, "epochs=1", *overrides)
if kind == "bare":
    training.bare_loop(experiment)()
elif kind == "loader":
    for batch in experiment.data.train_dataloader():
        pass
else:
    experiment.trainer.fit(experiment.classifier, experiment.data)
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print("SECONDS", int(fields["RssAnon"].split()[0]) / 1024)
"""


def measured(code: str, *arguments: str, folder: Path) -> float:
    """The number that a program prints, run in a process of its own."""
    environment = os.environ | {"WANDB_MODE": "offline"}
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    lines = [line for line in shown.stdout.splitlines() if line.startswith("SECONDS")]
    if not lines:
        raise RuntimeError(shown.stderr[-2000:] or shown.stdout[-2000:])
    return float(lines[-1].split()[1])


def measure_start(folder: Path, *, size: int, turns: int) -> dict[str, Any]:
    """Seconds of `fistula train` to its first optimiser step, over those of importing torch, timm and Lightning."""
    write_cohort(folder / "small", slices=200, size=size)
    options = ["split=patient_holdout", "learning=end_to_end", f"image_size={size}", "epochs=1"]
    command = ["train", "cohort=small", *options, "model.architecture=test_resnet"]
    first, imports = [], []
    for turn in range(turns + 1):  # the first of each fills the disk's cache
        imports.append(measured(IMPORTS, folder=folder))
        first.append(measured(FIRST_STEP, *command, f"hydra.run.dir=start{turn}", folder=folder))
    ratio = statistics.median(first[1:]) / statistics.median(imports[1:])
    return {"ratio": ratio, "first_step_s": first[1:], "imports_s": imports[1:]}


def measure_memory(folder: Path, *, size: int, architecture: str) -> dict[str, Any]:
    """Anonymous memory at the end of an epoch, of the stack and of the bare loop with 1 048 slices, in MB.

    Both processes have imported the same; the bare loop holds the pixels in memory, as its description says.
    """
    write_cohort(folder / "paper", slices=1048, size=size)
    here = str(Path(__file__).parent)
    options = [f"image_size={size}", f"model.architecture={architecture}", "logger=csv"]
    kinds = {
        kind: measured(MEMORY, here, "paper", f"memory_{kind}", kind, *options, folder=folder)
        for kind in ("bare", "stack")
    }
    return {"ratio": kinds["stack"] - kinds["bare"], **{f"{kind}_mb": round(mb) for kind, mb in kinds.items()}}


def measure_flatness(folder: Path) -> dict[str, Any]:
    """Anonymous memory after an epoch of the loader over 100 000 slices, less that over 1 000, in MB."""
    here, size = str(Path(__file__).parent), 64
    options = [f"image_size={size}", "model.architecture=test_resnet", "logger=csv"]
    after = {}
    for slices in (1000, 100_000):
        name = f"slices_{slices}"
        write_cohort(folder / name, slices=slices, size=size)
        after[slices] = measured(MEMORY, here, name, f"{name}_run", "loader", *options, folder=folder)
    mb = {f"slices_{slices}_mb": round(value) for slices, value in after.items()}
    return {"ratio": after[100_000] - after[1000], **mb}


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = ["| what | measured | target | |", "| --- | --- | --- | --- |"]
    for name, target in TARGETS.items():
        if name in results:
            value = results[name]["ratio"]
            lower = name in LOWER_IS_BETTER
            met = value <= target if lower else value >= target
            lines.append(
                f"| {name} | {value:.2f} | {'≤' if lower else '≥'} {target:g} | {'met' if met else 'missed'} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--trainer", default="auto")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--skip", nargs="*", default=[], choices=["start", "memory", "probe"])
    parser.add_argument("--only", nargs="*", default=AUGMENTATIONS, choices=AUGMENTATIONS)
    options = parser.parse_args()
    import torch

    settings = [
        f"image_size={options.size}",
        f"model.architecture={options.architecture}",
        f"trainer={options.trainer}",
        f"batch_size={options.batch_size}",
    ]
    on_gpu = options.trainer != "cpu" and torch.cuda.is_available()
    results: dict[str, Any] = {
        "settings": vars(options) | {"threads": torch.get_num_threads(), "torch": torch.__version__},
        "hardware": torch.cuda.get_device_name() if on_gpu else f"{os.cpu_count()} CPU cores",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder / "cohort", slices=options.slices, size=options.size)
        for augmentation in options.only:
            extra = [*settings, f"augmentation={augmentation}", "learning=end_to_end"]
            measurement = measure_epochs(folder / "cohort", folder / augmentation, *extra, epochs=options.epochs)
            results[f"training, {augmentation}"] = measurement
            print(f"training, {augmentation}: {measurement['ratio']:.3f}", flush=True)
        if "probe" not in options.skip and "none" in options.only:
            epoch_s = statistics.median(results["training, none"]["stack_s"])
            probe = measure_probe(folder / "cohort", folder / "probe", *settings, transfer_epoch_s=epoch_s)
            results["linear_probe, 50 epochs"] = probe
        if "start" not in options.skip:
            results["to the first step"] = measure_start(folder, size=64, turns=5)
        if "memory" not in options.skip:
            memory = measure_memory(folder, size=options.size, architecture=options.architecture)
            results["anonymous memory, MB more"] = memory
            results["anonymous memory, 100k slices over 1k, MB more"] = measure_flatness(folder)
    if TARGETS.keys() <= results.keys():
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
