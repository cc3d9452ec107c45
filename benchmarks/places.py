"""Is the lesion where `head=locate` says, in real images, and what does it cost the score? BUSI, breast ultrasound.

    python benchmarks/places.py BUSI out=DIR [--heads locate classify] [--folds 5] [--epochs 15] [head.weight=0.1 ...]

`BUSI` holds `images/`, `masks/` of the same names and `labels.csv` (path, label, patient_id, opening_row, opening_col).
A lesion, benign or malignant, is told from none. The set has copies of images under several ids: what the audit takes
for near-duplicates is made one patient first, so that no copy stands in training and in test. What is left over on the
line goes to `fistula train`. The same command goes on where it stopped. Nothing here is tuned on the test sets: the
table gives the validation sets too, which are what to choose by.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

SIDE = 128  # pixels of the grid, of the network's input, and so of the masks here


def command(*words: str) -> None:
    """Run the program; its output is not of interest here."""
    subprocess.run([sys.executable, "-m", "fistula.cli", *words], check=True, stdout=subprocess.DEVNULL)


def make_cohort(source: Path, out: Path) -> None:
    """Ingest a lesion against none, with the patients joined who share near-duplicates."""
    lines = joined_lines(source, out)
    for line in lines:
        line["label"] = "normal" if line["label"] == "normal" else "lesion"
    ingest(source, write(out / "cohort.csv", lines), out / "cohort", "classes=[normal,lesion]")


def joined_lines(source: Path, out: Path, size: int = SIDE) -> list[dict[str, str]]:
    """The lines of the table of labels, with the patients joined who share near-duplicates at a size."""
    from fistula.audit.audit import Audit
    from fistula.audit.near_duplicates import find_near_duplicates
    from fistula.cohort.manifest import read_cohort

    if not (out / "as_it_is" / "ingest.json").exists():
        ingest(source, source / "labels.csv", out / "as_it_is", "classes=[normal,benign,malignant]", size)
    lines = list(csv.DictReader((source / "labels.csv").open(encoding="utf-8")))
    cohort, limits = read_cohort(out / "as_it_is"), Audit()
    pairs = find_near_duplicates(
        cohort.pixels,
        np.unique(cohort.manifest["patient_key"].to_numpy(), return_inverse=True)[1],
        distance=limits.near_duplicate_distance,
        correlation=limits.near_duplicate_correlation,
    ).pairs
    files, whose = files_of(source), {line["path"]: line["patient_id"] for line in lines}
    patient = [whose[files[key].relative_to(source).as_posix()] for key in cohort.manifest["slice_key"]]
    leader = {one: one for one in patient}
    for pair in pairs:
        first, second = leader[patient[pair.first]], leader[patient[pair.second]]
        leader = {one: first if of == second else of for one, of in leader.items()}
    print(f"{len(pairs)} near-duplicate pairs: {len(leader)} ids are {len(set(leader.values()))} patients")
    return [line | {"patient_id": leader[line["patient_id"]]} for line in lines]


def ingest(source: Path, table: Path, out: Path, classes: str, size: int = SIDE) -> None:
    """A cohort of a grid, that of this page or another."""
    command("ingest", f"source={source}", f"labels={table}", f"out={out}", classes, f"size={size}")


def write(table: Path, lines: list[dict[str, str]]) -> Path:
    """A table of labels."""
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return table


def files_of(source: Path) -> dict[str, Path]:
    """The file of each slice, by its key."""
    from fistula.dicom.identity import read_pseudonyms
    from fistula.dicom.look import Look
    from fistula.source.survey import survey_source
    from fistula.source.workers import Workers

    survey = survey_source(source, Look(read_pseudonyms(create=False), "", 2048, 60.0), Workers(1), kind=None)
    return {
        row["slice_key"]: survey.paths[row["file"]]
        for row in survey.facts.iter_rows(named=True)
        if row["outcome"] == "image"
    }


def is_inside(places: pl.DataFrame, source: Path, files: dict[str, Path]) -> np.ndarray:
    """Whether each point lies in a pixel of its image's mask, brought to the grid as the image was."""
    from fistula.source.grid import Grid, place

    grid, found = Grid(SIDE, 1.0), []
    for key, row, column in places.select("slice_key", "row", "col").iter_rows():
        mask = np.asarray(Image.open(source / "masks" / files[key].name).convert("L"), np.float32)
        inside = place(mask, grid, spacing=None).values >= 127.5
        found.append(row is not None and bool(inside[round(row), round(column)]))
    return np.array(found)


def judge(study: Path, source: Path, heads: list[str]) -> None:
    """Print a line per head and part; then what places cost the AUROC, in test."""
    from fistula.evidence.design.compare import clustered_auroc_test
    from fistula.evidence.ranking.area import clustered_auroc
    from fistula.evidence.rates.clustered import clustered_rate

    files, tested = files_of(source), {}
    for head in heads:
        runs = sorted(
            one.parent for one in study.glob("*/run.json") if ("locate" in one.parent.name) == (head == "locate")
        )
        tables = [pl.read_parquet(run / "predictions.parquet").with_columns(run=pl.lit(run.name)) for run in runs]
        scored = pl.concat(tables)
        for part in ("val", "test"):
            own = scored.filter(pl.col("part") == part).sort("fold", "slice_key")
            arrays = own["label"], own["score"], own["patient_key"].to_numpy(), own["fold"]
            print(f"{head}, {part}: {len(own)} images, AUROC {said(clustered_auroc(*arrays))}", end="")
            if head == "locate":
                places = pl.concat([pl.read_parquet(run / "places.parquet") for run in runs])
                places = places.filter((pl.col("part") == part) & pl.col("row_true").is_not_null())
                inside = is_inside(places, source, files)
                share = clustered_rate(inside.astype(int), places["patient_key"].to_numpy())
                print(f"; of {len(places)} lesions with the point inside: {said(share)}", end="")
            print()
        tested[head] = own
    if len(tested) == 2:
        one, two = (tested[head] for head in heads)
        assert one["slice_key"].equals(two["slice_key"])
        whom = one["patient_key"].to_numpy()
        test = clustered_auroc_test(one["label"], one["score"], two["score"], whom, one["fold"])
        print(f"AUROC, {heads[0]} less {heads[1]}: {said(test.difference)}")


def said(estimate: Any, sign: str = "") -> str:
    """The value with its interval."""
    shown = [f"{one:{sign}.3f}".replace("-", "\N{MINUS SIGN}") for one in (estimate.value, estimate.low, estimate.high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=lambda text: Path(text.removeprefix("out=")))
    parser.add_argument("--heads", nargs="+", default=["locate", "classify"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    options, overrides = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = options.out / "cohort"
    if not (cohort / "ingest.json").exists():
        make_cohort(options.source, options.out)
    study = options.out / "-".join(["study", str(options.epochs), *overrides]).replace("/", "_")
    command(
        "train", "-m", f"cohort={cohort}", "model=efficientnet_lite0", f"head={','.join(options.heads)}",
        f"split.fold={','.join(map(str, range(options.folds)))}", f"image_size={SIDE}", f"epochs={options.epochs}",
        "logger=csv", f"hydra.sweep.dir={study}", *overrides,
    )  # fmt: skip
    judge(study, options.source, options.heads)


if __name__ == "__main__":
    main()
