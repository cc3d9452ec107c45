"""Which way of training is the better one? A row of docs/recipe.md: `python benchmarks/recipes.py SET ROW ...`.

    python benchmarks/recipes.py covid-ct,busi geometric+ema --part val --out data/recipes [--data ../shared/data]

A row is a name of `ROWS`, several joined by `+`, or overrides of `fistula train` joined by commas. `--part val` is what
one may choose by, `--part test` is looked at once, for what was chosen. The folds of a set are by patient, and all rows
have the same: they follow the order of the cohort, and that its pixels, so that rows can be compared at one `--size`
only, which is the cohort's, whatever the image size of the network. COVID-CT has its official test set, and what one
chooses by are two folds of its other patients, whom a network meets for the first time when they are scored. The other
sets have five folds, all patients tested once; what one chooses by are the folds' validation sets. Of several
sets there is a line of all of them: the mean difference, each set's weighed by the inverse of its variance.

`--part outside` scores the official test set of COVID-CT by the networks of the two folds of the other patients, or of
`--of` so many, whose mean score is that of an ensemble of folds and seeds.

The same command goes on where it stopped; `--write` puts its rows into docs/recipe.md. `--mirror` scores each image and
its mirror image and takes the mean: test-time augmentation. `--mean` adds the mean score of the rows that are named,
and `--alone` leaves out the default, to which rows are compared otherwise.
"""

import argparse
import csv
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from places import command, joined_lines, said, write

PAGE = Path(__file__).parents[1] / "docs" / "recipe.md"
COLUMNS = ["per-slice AUROC", "minus the default's", "per-patient AUROC", "minus the default's", "seconds a run"]
BEGIN, END = "<!-- written by benchmarks/recipes.py -->", "<!-- end -->"
# The default, for 15 epochs of 128 pixels; a row changes it.
DEFAULT = ("model=efficientnet_lite0", "learning=transfer", "image_size=128", "epochs=15", "logger=csv", "trainer=cpu")
ROWS = {
    "default": "",
    "224": "image_size=224",
    "geometric": "augmentation=geometric",
    "moderate": "augmentation=moderate",
    "strong": "augmentation=strong",
    "mr": "augmentation=mr",
    "color": "augmentation=color_jitter",
    "mixup": "mixup=0.2",
    "cutmix": "cutmix=1.0",
    "long": "epochs=30",
    "short": "epochs=6",
    "ema": "ema=0.98",
    "best": "checkpoint.monitor=val/auroc",
    "smooth": "loss=label_smoothing",
    "decay": "learning=layer_decay",
    "probe": "learning=linear_probe,optimizer.lr=0.01,epochs=50",
    "fast": "optimizer.lr=0.001",
    "slow": "optimizer.lr=0.0001",
    "warm": "schedule.warmup=0.3",
    "batch8": "batch_size=8",
    "batch32": "batch_size=32",
    "drop": "model.options={drop_rate:0.3\\,drop_path_rate:0.2}",
    "lite1": "model=efficientnet_lite1",
    "lite2": "model=efficientnet_lite2",
    "locate": "head=locate",
}


@dataclass(frozen=True)
class Images:
    """A set: how it becomes a cohort, and what its runs are told besides.

    Attributes:
        prepare: Given its folder and one to write into; the arguments of ingest but `out` and `size`, for `part`.
        train: Overrides of its own.
        folds: Of each part.
    """

    prepare: Callable[[Path, Path, str], list[str]]
    train: tuple[str, ...] = ()
    folds: int = 5


def covid(source: Path, out: Path, part: str) -> list[str]:
    """All slices for the test; to choose by, those that are not in it; for networks of these, those that are."""
    lines = list(csv.DictReader((source / "labels.csv").open(encoding="utf-8")))
    table = source / "labels.csv"
    if part != "test":
        is_test = part == "outside"
        table = write(out / f"{part}.csv", [line for line in lines if (line["split"] == "test") == is_test])
    return [f"source={source}", f"labels={table}"]


def busi(source: Path, out: Path, part: str) -> list[str]:
    """Malignant against the rest, copies of an image being one patient's."""
    lines = joined_lines(source, out, size=256)  # as the audit of the cohort sees them
    for line in lines:
        line["label"] = "malignant" if line["label"] == "malignant" else "rest"
    return [f"source={source}", f"labels={write(out / 'malignant.csv', lines)}", "classes=[rest,malignant]"]


def contrast(source: Path, out: Path, part: str) -> list[str]:
    """CT with contrast against without."""
    return [f"source={source}/dicom", f"labels={source}/labels.csv", "classes=[plain,contrast]", "keep=all"]


def icu(source: Path, out: Path, part: str) -> list[str]:
    """Chest radiographs: was the patient ever in intensive care?"""
    return [f"source={source}", f"labels={source}/table.csv", "columns.label=icu", "other_columns=ignore"]


def phantom(source: Path, out: Path, part: str) -> list[str]:
    """The cohort of `make study`."""
    made = out / "dicom"
    if not made.exists():
        command("phantom", f"out={made}", "patients=40", "controls=32")
    return [f"source={made}", f"labels={made}/labels.csv", "classes=[normal,fistula]", "spacing_mm=0.65"]


SETS = {
    "covid-ct": Images(covid, ("audit=warn",), folds=2),
    "busi": Images(busi),
    "ct-contrast": Images(contrast, ("audit=warn",)),
    "cxr-icu": Images(icu, ("audit=warn",)),
    "phantom": Images(phantom),
}


def overrides_of(row: str) -> list[str]:
    """Those that a row's name stands for."""
    return [one for name in row.split("+") for one in split_row(ROWS.get(name, name)) if one]


def split_row(text: str) -> list[str]:
    """At commas, but not those that are escaped."""
    return [one.replace("\0", ",") for one in text.replace("\\,", "\0").split(",")]


def train(name: str, row: str, options: argparse.Namespace) -> Path:
    """Train all folds and seeds of a row; gives the folder of its runs."""
    images, told = SETS[name], overrides_of(row)
    cohort = ingested(name, "val" if options.part == "outside" else options.part, options)
    out = cohort.parent
    divided = options.of or images.folds
    number = min(divided, options.folds)
    numbers = ",".join(map(str, range(number)))
    folds = [f"split.folds={divided}", f"split.fold={numbers}"]
    if name == "covid-ct" and options.part == "test":
        folds = ["split=predefined"]
    study, seeds = out / f"{row.replace('/', '_')}-{options.size}", ",".join(map(str, range(options.seeds)))
    if divided != images.folds:
        study = study.with_name(f"{study.name}-{divided}")
    fixed = (f"cohort={cohort}", *DEFAULT, *images.train, *folds, f"seed={seeds}", f"hydra.sweep.dir={study}")
    done = [path for path in study.glob("*/run.json") if json.loads(path.read_text())["state"] == "done"]
    if len(done) < options.seeds * (1 if folds == ["split=predefined"] else number):
        command("train", "-m", *fixed, *told)
    return study


def ingested(name: str, part: str, options: argparse.Namespace) -> Path:
    """The cohort of a set, or of a part of COVID-CT; elsewhere the same runs have both parts."""
    out = options.out / name / (part if name == "covid-ct" else "")
    out.mkdir(parents=True, exist_ok=True)
    cohort = out / f"cohort-{options.size}"
    if not (cohort / "ingest.json").exists():
        made = SETS[name].prepare(options.data / name, out, part)
        command("ingest", *made, f"out={cohort}", f"size={options.size}")
    return cohort


def scores_of(name: str, study: Path, options: argparse.Namespace, *, mirror: bool) -> pl.DataFrame:
    """Of the slices of the part that is judged, with the run that gave each."""
    part = "test" if name == "covid-ct" else options.part  # what one chooses by on COVID-CT are the folds' own tests
    tables = []
    for path in sorted(study.glob("*/run.json")):
        record = json.loads(path.read_text())
        if record["state"] != "done" or record["fold"] >= options.folds or record["seed"] >= options.seeds:
            continue
        if options.part == "outside":
            scores = outside(path.parent, ingested(name, "outside", options))
        else:
            scores = pl.read_parquet(path.parent / "predictions.parquet").filter(pl.col("part") == part)
        if mirror:
            cohort = ingested(name, "outside", options) if options.part == "outside" else None
            scores = scores.with_columns(score=mirrored(path.parent, scores["slice_key"].to_list(), cohort))
        run, seconds = f"{record['fold']}-{record['seed']}", record["seconds"]
        fold = -1 if options.part == "outside" else record["fold"]  # there the networks of all folds are one ensemble
        tables.append(scores.with_columns(run=pl.lit(run), seconds=pl.lit(seconds), fold=pl.lit(fold)))
    return pl.concat(tables).sort("run", "slice_key")


def outside(run: Path, folder: Path) -> pl.DataFrame:
    """Scores of a cohort that a run never saw, as `fistula evaluate` gives them."""
    from fistula.cohort.manifest import read_cohort
    from fistula.predict.outside import score_cohort
    from fistula.predict.predictor import of_runs
    from fistula.predict.runs.ensemble import load_ensemble

    cohort, kept = read_cohort(folder), run / "outside.parquet"
    if not kept.exists():
        predictor = of_runs(load_ensemble([run], where=str(run)))
        patients = cohort.manifest["patient_key"].unique().to_list()
        score_cohort(predictor, cohort, patients).predictions.drop("run").write_parquet(kept)
    return pl.read_parquet(kept)


def mirrored(run: Path, keys: list[str], cohort: Path | None = None) -> np.ndarray:
    """Mean scores of slices and their mirror images, of the run's own cohort or another."""
    import torch

    from fistula.cohort.manifest import read_cohort
    from fistula.predict.runs.model import load_run

    loaded = load_run(run)
    loaded = replace(loaded, cohort=read_cohort(cohort)) if cohort else loaded
    rows = dict(loaded.cohort.manifest.with_row_index().select("slice_key", "index").iter_rows())
    with torch.inference_mode():
        images = [loaded.images(np.array([rows[key]])) for key in keys]
        return np.array([loaded.classifier(torch.cat([one, one.flip(-1)]))[:, 1].mean().item() for one in images])


def by_patient(scores: pl.DataFrame) -> pl.DataFrame:
    """The patients of each run, the mean of their slices."""
    means = pl.col("label").max(), pl.col("score").mean()
    return scores.group_by("run", "patient_key").agg(*means).sort("run", "patient_key")


def ensemble(scores: pl.DataFrame) -> pl.DataFrame:
    """In the place of each run's scores the mean of all runs that scored a slice, which so pairs with each of them.

    Of all of its fold: a slice may be in the validation sets of several, where it would have the mean of more networks
    than it has in a test set.
    """
    return scores.with_columns(pl.col("score").mean().over("fold", "slice_key"))


def judge(scores: pl.DataFrame, default: pl.DataFrame | None) -> tuple[list[str], list[Any]]:
    """Slices and patients with intervals, how much more than the default's, and seconds of a run; and the tests."""
    from fistula.evidence.design.compare import clustered_auroc_test
    from fistula.evidence.ranking.area import clustered_auroc

    cells, tests = [], []
    base = scores if default is None else default
    for own, other in ((scores, base), (by_patient(scores), by_patient(base))):
        patients, runs = own["patient_key"].to_numpy(), own["run"].to_numpy()
        cells.append(said(clustered_auroc(own["label"], own["score"], patients, runs)))
        paired = own.height == other.height and own["patient_key"].equals(other["patient_key"])
        if paired and not own["score"].equals(other["score"]):
            test = clustered_auroc_test(own["label"], own["score"], other["score"], patients, runs)
            cells.append(said(test.difference, sign="+") if test.standard_error > 0 else "same ranks")
            tests.append(test)
        else:
            cells.append("")
    seconds = scores.group_by("run").agg(pl.col("seconds").first())["seconds"]
    return [*cells, f"{seconds.median():.0f}"], tests


def pooled(tests: Sequence[Any]) -> str:
    """The mean difference of several sets, each weighed by the inverse of its variance, and do they agree?

    Source:
        Fixed-effect mean and Q: Cochran (1954), The combination of estimates from different experiments, Biometrics 10.
    """
    from scipy.stats import chi2, norm

    from fistula.evidence.estimate import Estimate

    told = [test for test in tests if test.standard_error > 0]  # where both rank alike, nothing is known of the spread
    if len(told) < 2:
        return ""
    values = np.array([test.difference.value for test in told])
    weights = np.array([test.standard_error**-2 for test in told])
    mean, half = np.average(values, weights=weights), norm.ppf(0.975) / np.sqrt(weights.sum())
    agree = chi2.sf(np.sum(weights * (values - mean) ** 2), len(told) - 1)
    return f"{said(Estimate(mean, mean - half, mean + half, ''), sign='+')}, P for heterogeneity {agree:.2f}"


def put(lines: list[list[str]]) -> None:
    """Into the page, in the place of older lines of the same set, part and row."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in old.splitlines() if line.startswith("| 2")]
    kept = {tuple(line[2:5]): line for line in table}
    for line in lines:  # a newer one takes the place of an older one, unless it says the same
        if kept.get(tuple(line[2:5]), [])[2:] != line[2:]:
            kept[tuple(line[2:5])] = line
    heads = ["date", "commit", "set", "judged on", "row", *COLUMNS]
    rows = [heads, ["---"] * len(heads), *sorted(kept.values(), key=lambda line: line[2:4])]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says, or words in its place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=lambda text: text.split(","), help=f"joined by commas: {','.join(SETS)}")
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--part", choices=("val", "test", "outside"), default="val")
    parser.add_argument("--size", type=int, default=256, help="pixels, of the cohort; image_size is the network's")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5, help="the first so many of the set's")
    parser.add_argument("--of", type=int, help="folds to divide the patients into, instead of the set's own number")
    parser.add_argument("--out", type=Path, default=Path("data/recipes"))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--mean", action="store_true", help="also the mean score of the rows that are named")
    parser.add_argument("--alone", action="store_true", help="without the default to compare with")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(words)
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"no set: {', '.join(sorted(unknown))}")
    if options.part == "outside" and options.sets != ["covid-ct"]:
        parser.error("--part outside is for covid-ct, the only set with a test set of its own")
    options.rows = list(dict.fromkeys(options.rows))
    if options.mean and len(options.rows) < 2:
        parser.error("--mean is of two rows or more: name them, the default too if it is one")
    return options


def main() -> None:
    options = asked()
    named = options.rows
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=PAGE.parent
    ).stdout.strip()
    stamp = [date.today().isoformat(), commit]
    lines, tests, members = [], defaultdict(list), defaultdict(list)
    for name, row in product(options.sets, dict.fromkeys(named if options.alone else ["default", *named])):
        study = train(name, row, options)
        found = {}
        for suffix in ("", ", mirrored")[: 1 + options.mirror]:
            scores = scores_of(name, study, options, mirror=bool(suffix))
            if options.alone:
                default = None
            elif row == "default" and not suffix:
                default = scores
            found[row + suffix] = scores, default
            if row in named:
                members[name, suffix].append(scores.with_columns(pl.col("run") + f"-{row}"))
            if options.mean and len(members[name, suffix]) == len(named):
                every = pl.concat(members[name, suffix]).sort("run", "slice_key")
                together, rows, first = ensemble(every), " and ".join(named) + suffix, f"-{named[0]}"
                found[f"mean of {rows}, minus each"] = together, every
                own = together.filter(pl.col("run").str.ends_with(first))
                found[f"mean of {rows}"] = own.with_columns(pl.col("run").str.strip_suffix(first)), default
        if scores["slice_key"].is_duplicated().all():
            of_runs = {of: pair for of, pair in found.items() if not of.startswith("mean of")}
            found |= {f"{of}, mean of runs": (ensemble(one), other) for of, (one, other) in of_runs.items()}
        for of, (one, other) in found.items():
            told = f"{of} ({one['run'].n_unique()}{f', {options.of} folds' if options.of else ''})"
            cells, made = judge(one, other)
            lines.append([*stamp, f"{name}, {options.size} px", options.part, told, *cells])
            print(" | ".join(lines[-1]), flush=True)
            if made:
                tests[of].append(made)
    for of, made in tests.items():
        if len(options.sets) > 1:
            by_slice, of_patients = map(pooled, zip(*made, strict=True))
            place = f"{' + '.join(options.sets)}, {options.size} px"
            lines.append([*stamp, place, options.part, f"{of} ({len(made)} sets)", "", by_slice, "", of_patients, ""])
            print(" | ".join(lines[-1]), flush=True)
    if options.write:
        put(lines)


if __name__ == "__main__":
    main()
