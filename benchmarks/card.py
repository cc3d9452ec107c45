"""What a graphics card does with this package; writes a table with the card's name to benchmarks/cards.

    python benchmarks/card.py [--device cuda] [--slices 5400] [--size 224] [--epochs 3] [--quick]

Images a second of training against the bare loop of `training.py`, in turns and in the same precision; what
`trainer=reproducible` costs; seconds to score a cohort; runs an hour with 1 to 4 runs a card; and the 40 runs of
`study=paper` on as many slices as the paper had. On a processor (`--device cpu --quick`) it tries its own logic on a
tiny network, and writes nothing unless `--out` names a file.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from training import build_experiment, measure_epochs, write_cohort

FOLDER = Path(__file__).with_name("cards")
ARCHITECTURES = ("resnet18", "resnet34", "densenet121", "convnext_tiny", "vit_small_patch16_224")
BATCHES = (16, 64, 256)
AUGMENTATIONS = ("none", "color_jitter", "mr")
TARGET = 0.90  # of the bare loop, at batches of 64 and above
PAPER_SLICES, PAPER_MINUTES = 1048, 12.0


def training_rows(cohort: Path, folder: Path, options: argparse.Namespace) -> list[list[str]]:
    """Images a second and the ratio to the bare loop, for each network, batch and augmentation."""
    rows = []
    for architecture in options.architectures:
        for batch in options.batches:
            for augmentation in AUGMENTATIONS:
                name = f"{architecture}-{batch}-{augmentation}"
                settings = [f"model.architecture={architecture}", f"image_size={options.size}", f"batch_size={batch}"]
                extra = [
                    f"augmentation={augmentation}",
                    "learning=end_to_end",
                    f"trainer={options.trainer}",
                    "logger=csv",
                ]
                try:
                    measured = measure_epochs(cohort, folder / name, *settings, *extra, epochs=options.epochs)
                except torch.OutOfMemoryError:
                    rows.append([architecture, str(batch), augmentation, "out of memory", "", ""])
                    continue
                images = options.slices / statistics.median(measured["stack_s"])
                met = "" if batch < 64 else "met" if measured["ratio"] >= TARGET else "missed"
                rows.append([architecture, str(batch), augmentation, f"{images:.0f}", f"{measured['ratio']:.2f}", met])
                print(*rows[-1], flush=True)
    return rows


def reproducible_ratio(cohort: Path, folder: Path, options: argparse.Namespace) -> float:
    """Images a second of `trainer=reproducible` over those of the bare loop in the same precision, so in turns."""
    name, batch = options.architectures[0], options.batches[0]
    settings = [f"model.architecture={name}", f"image_size={options.size}", f"batch_size={batch}", "logger=csv"]
    settings += ["trainer=reproducible", f"trainer.accelerator={options.trainer}", "learning=end_to_end"]
    return float(measure_epochs(cohort, folder, *settings, epochs=options.epochs)["ratio"])


def scoring_seconds(cohort: Path, folder: Path, options: argparse.Namespace) -> float:
    """Seconds to score as many slices as the cohort has, in the run's precision, where it trains."""
    from fistula.learning.training.scoring import seen

    settings = [f"model.architecture={options.architectures[0]}", f"image_size={options.size}", "logger=csv"]
    experiment = build_experiment(cohort, folder, f"trainer={options.trainer}", *settings)
    strategy, data = experiment.trainer.strategy, experiment.data
    data.trainer = experiment.trainer
    classifier = experiment.classifier.to(strategy.root_device)
    parts = ("train", "val", "test")
    with strategy.precision_plugin.forward_context():
        seen(classifier, data, "val")  # warms up
        started = time.perf_counter()
        for part in parts:
            seen(classifier, data, part)[0].cpu()  # waits for the card
    return time.perf_counter() - started


def train(folder: Path, *arguments: str) -> float:
    """Seconds of `fistula train` on one card, the first of several."""
    one = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    command = [sys.executable, "-m", "fistula.cli", "train", *arguments]
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | one, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def runs_an_hour(folder: Path, options: argparse.Namespace, *, together: int) -> float:
    """Of a sweep of as many runs as fit into three turns, with so many a card."""
    runs = 3 * together
    settings = [f"model.architecture={options.architectures[0]}", f"image_size={options.size}", "learning=end_to_end"]
    command = ["-m", "cohort=cohort", "split=patient_holdout", "hydra/launcher=local", *settings]
    command += [f"seed=range({runs})", f"epochs={options.run_epochs}", f"trainer={options.trainer}", "logger=csv"]
    command += [f"hydra.launcher.engine.jobs_per_gpu={together}", f"hydra.sweep.dir=runs-{together}"]
    return 3600 * runs / train(folder, *command)


def paper_minutes(folder: Path, options: argparse.Namespace) -> float:
    """Of `study=paper` from random weights, which train as long as others, as many runs a card as it takes."""
    command = ["-m", "cohort=paper", "study=paper", "model.pretrained=false", "hydra/launcher=local"]
    command += [f"trainer={options.trainer}", "logger=csv", f"image_size={options.size}", *options.paper]
    return train(folder, *command) / 60


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--slices", type=int, default=5400)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--run-epochs", type=int, default=50)
    parser.add_argument("--together", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--architectures", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--quick", action="store_true", help="a tiny network and cohort: to try this script")
    parser.add_argument("--out", type=Path, help="file for the table; benchmarks/cards/CARD.md if left out")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no graphics card: `--device cpu --quick` tries the script without one")
    options.paper = ["audit=warn"]
    if options.quick:
        options.architectures, options.batches, options.together = ("test_resnet",), (16,), [1]
        options.slices, options.size, options.epochs, options.run_epochs = 100, 32, 1, 1
        options.paper += [
            "model.architecture=test_resnet",
            "epochs=1",
            "split.fold=0",
            "experiment=paper/1_resnet18_transfer",
        ]
    options.trainer = "gpu" if options.device == "cuda" else "cpu"
    card = torch.cuda.get_device_name() if options.device == "cuda" else f"{os.cpu_count()} CPU cores, no card"
    path = options.out or (None if options.quick else FOLDER / f"{card.replace(' ', '_').replace(',', '')}.md")
    text = f"# {card}\n\ntorch {torch.__version__}, {options.slices} slices of {options.size} pixels.\n"
    with tempfile.TemporaryDirectory() as name:
        for fact in facts(Path(name), options):
            text += f"\n{fact}\n"
            if path:  # now, since what follows takes long, and may fail
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    print(text)


def facts(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """What is measured, as Markdown, the quickest first."""
    each = 2 if options.quick else 10  # of a patient: folds want dozens of patients
    write_cohort(folder / "cohort", slices=options.slices, size=options.size, each=each)
    write_cohort(folder / "paper", slices=min(PAPER_SLICES, options.slices), size=options.size, each=each)
    scoring = scoring_seconds(folder / "cohort", folder / "scoring", options)
    yield f"Scoring {options.slices} slices with {options.architectures[0]}: {scoring:.1f} s."
    reproducible = reproducible_ratio(folder / "cohort", folder / "reproducible", options)
    yield f"`trainer=reproducible`: {reproducible:.2f} of the bare loop, both in single precision."
    yield f"`study=paper`: {paper_minutes(folder, options):.1f} minutes (target {PAPER_MINUTES:g})."
    hourly = {together: runs_an_hour(folder, options, together=together) for together in options.together}
    yield markdown(["runs on a card", "runs an hour"], [[str(key), f"{value:.1f}"] for key, value in hourly.items()])
    rows = training_rows(folder / "cohort", folder, options)
    yield markdown(["network", "batch", "augmentation", "images a second", "of the bare loop", "target 0.90"], rows)


if __name__ == "__main__":
    main()
