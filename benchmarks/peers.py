"""Do the defaults do better than what others' tutorials do? A peer trains on what finished runs trained on.

    python benchmarks/recipes.py busi default
    python -m venv data/fastai && data/fastai/bin/pip install -r benchmarks/peer_fastai.txt
    python benchmarks/peers.py data/recipes/busi/default-256 --peer fastai --python data/fastai/bin/python
    python benchmarks/peers.py data/recipes/busi/default-256 --peer lightning
    git clone -b v1.0.28 https://github.com/huggingface/pytorch-image-models data/timm
    python benchmarks/peers.py data/recipes/busi/default-256 --peer timm

A peer is a script beside this one that knows nothing of this project. It is given a folder of images of the network's
size, `train/CLASS/*.png`, `val/...` and `test/...`, and the ImageNet weights that a run began with; it writes a score
for each image of the test set. Differences are paired by patient, within the folds. Scores are kept in `--out`, and the
same command goes on where it stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
from PIL import Image
from recipes import judge


def lay_out(run: Path, folder: Path) -> None:
    """The images of a run's parts, and the weights that it began with."""
    import timm
    import torch

    from fistula.cohort.manifest import read_cohort
    from fistula.learning.data.slices import Resize
    from fistula.learning.weights.finding import find_weights

    record, cohort = json.loads((run / "run.json").read_text()), read_cohort(run.parent / "cohort")
    (split,) = run.parent.glob("split-*.parquet")
    parts = pl.read_parquet(split).filter(pl.col("fold") == record["fold"])
    rows = cohort.labelled.join(parts.filter(pl.col("part") != "none"), on="slice_key")
    resize = Resize(record["image_size"], record["interpolation"])
    for row, key, label, part in rows.select("row", "slice_key", "label", "part").iter_rows():
        to = folder / part / f"{label}-{cohort.classes[label]}"  # in the order of their names, as peers number them
        to.mkdir(parents=True, exist_ok=True)
        Image.fromarray(resize(cohort.pixels[row])).save(to / f"{key}.png")
    name = "tf_efficientnet_lite0"
    overlay = find_weights(name, timm.create_model(name), download=False).overlay
    torch.save(
        timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay).state_dict(), folder / "start.pt"
    )


def scores_of(run: Path, options: argparse.Namespace) -> pl.DataFrame:
    """Of the test set of a run, by the run and by each way of the peer to score."""
    record = json.loads((run / "run.json").read_text())
    folder = options.out / options.peer / record["fingerprint"]
    scored, own = folder / "scores.csv", pl.read_parquet(run / "predictions.parquet").filter(pl.col("part") == "test")
    if not scored.exists():
        lay_out(run, folder)
        script = Path(__file__).with_name(f"peer_{options.peer}.py")
        began = time.perf_counter()
        told = [str(folder), "--seed", str(record["seed"]), "--epochs", str(options.epochs)]
        subprocess.run([options.python, str(script), *told], check=True)
        (folder / "seconds").write_text(f"{time.perf_counter() - began:.0f}")
    seconds = pl.lit(float((folder / "seconds").read_text()))
    both = own.join(pl.read_csv(scored), on="slice_key", validate="1:1")
    if both.height != own.height:
        raise SystemExit(f"{scored}: not every slice of the test set has a score")
    return both.sort("slice_key").with_columns(run=pl.lit(f"{record['fold']}-{record['seed']}"), seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--python", default=sys.executable, help="of an environment that has the peer")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--runs", type=int, default=5, help="the first so many, by fold and seed")
    parser.add_argument("--out", type=Path, default=Path("data/peers"))
    options = parser.parse_args()
    runs = sorted(path.parent for path in options.study.glob("*/predictions.parquet"))[: options.runs]
    tables = pl.concat([scores_of(run, options) for run in runs])
    for way in [name for name in tables.columns if name.startswith("by_")]:
        cells, _ = judge(tables.with_columns(score=way), tables)
        print(f"{options.study} | {options.peer}, {way} ({len(runs)}) | {' | '.join(cells)}", flush=True)
    own = judge(tables, tables)[0]
    print(f"{options.study} | default ({len(runs)}) | {' | '.join(own[:-1])}")


if __name__ == "__main__":
    main()
