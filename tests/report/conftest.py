"""A small study on disk: two configurations over three folds, with seeded scores."""

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fistula.evidence.operating_point import youden
from fistula.learning.training.results import summarize
from fistula.report.contents import Settings
from fistula.report.page import write_report
from fistula.report.study import read_study

from ..conftest import write_cohort

STRENGTH = {"transfer": 1.5, "end_to_end": 0.1}
RESAMPLES = 200


def write_study(
    folder: Path,
    *,
    patients=30,
    slices=3,
    size=32,
    classes=("normal", "fistula"),
    learnings=("transfer", "end_to_end"),
    folds=3,
    seeds=(0,),
    site="A",
    split="patient_kfold",
    leaky=False,
    aggregation="mean",
    labels="given",
    changes=None,
):
    """Write a study as `fistula train -m` would; `changes` go into `run.json` by the run's name."""
    if not (folder / "cohort").exists():
        write_cohort(folder / "cohort", patients=patients, slices=slices, size=size, classes=classes)
        _add_facts(folder / "cohort", site)
    record = json.loads((folder / "cohort" / "ingest.json").read_text())
    manifest = pl.read_parquet(folder / "cohort" / "manifest.parquet").drop_nulls("label")
    tables = [_parts(manifest, fold, folds) for fold in range(folds)]
    pl.concat(tables).write_parquet(folder / f"split-{split}.parquet")
    for learning in learnings:
        for seed in seeds:
            for fold, parts in enumerate(tables):
                name = f"resnet18-{learning}-{split}-fold{fold}-seed{seed}" + ("" if labels == "given" else "-permuted")
                facts = {"learning": learning, "seed": seed, "fold": fold, "split": split, "leaky": leaky}
                facts |= {"aggregation": aggregation, "labels": labels}
                _write_run(folder / name, facts, manifest, parts, record, classes, (changes or {}).get(name, {}))
    return folder


def _add_facts(cohort: Path, site: str) -> None:
    from fistula.cohort.manifest import manifest_fingerprint

    manifest = pl.read_parquet(cohort / "manifest.parquet").with_columns(
        site=pl.lit(site),
        orientation=pl.lit("axial"),
        image_number=pl.col("position_mm").cast(pl.Int64) + 1,
        opening_row=pl.when(pl.col("label") == 1).then(7.5),
        opening_col=pl.when(pl.col("label") == 1).then(23.5),
        age=pl.col("patient_key").str.slice(7).cast(pl.Float64) + 30,
        sex=pl.when(pl.col("patient_key").str.slice(7).cast(pl.Int64) % 3 == 0)
        .then(pl.lit("F"))
        .otherwise(pl.lit("M")),
    )
    manifest.write_parquet(cohort / "manifest.parquet")
    record = json.loads((cohort / "ingest.json").read_text())
    flow = [
        {"stage": "found", "unit": "files", "count": 100, "excluded": {}},
        {"stage": "kept", "unit": "slices", "count": len(manifest), "excluded": {"localizer <b>": 10}},
    ]
    record |= {"fingerprint": manifest_fingerprint(manifest), "flow": flow}
    (cohort / "ingest.json").write_text(json.dumps(record))


def _parts(manifest: pl.DataFrame, fold: int, folds: int) -> pl.DataFrame:
    group = pl.col("patient_key").str.slice(7).cast(pl.Int64) // manifest["label"].n_unique() % folds
    part = pl.when(group == fold).then(pl.lit("test")).when(group == (fold + 1) % folds).then(pl.lit("val"))
    return manifest.select("slice_key", fold=pl.lit(fold, pl.Int64), part=part.otherwise(pl.lit("train")))


def _write_run(folder, facts, manifest, parts, record, classes, change):
    random = np.random.default_rng([facts["seed"], facts["fold"], len(facts["learning"])])
    logits = _logits(manifest, classes, STRENGTH.get(facts["learning"], len(facts["learning"]) / 16), random)
    odds = np.exp(logits)
    scores = odds / odds.sum(axis=1, keepdims=True)
    names = (
        {"score": scores[:, 1]}
        if len(classes) == 2
        else dict(zip([f"score_{c}" for c in classes], scores.T, strict=True))
    )
    table = manifest.select("slice_key", "patient_key", "label").with_columns(
        *[pl.Series(name, column) for name, column in names.items()]
    )
    table = table.join(parts, on="slice_key", maintain_order="left").filter(pl.col("part") != "train")
    if facts["labels"] != "given":
        other = pl.col("patient_key").str.slice(7).cast(pl.Int64) // (2 * len(classes)) % len(classes)
        table = table.with_columns(label=other)
    folder.mkdir(parents=True)
    table.write_parquet(folder / "predictions.parquet")
    pl.DataFrame({"epoch": [0, 1], "train/loss": [0.7, 0.5], "val/loss": [0.7, 0.6]}).write_csv(folder / "history.csv")
    summary = summarize(
        pl.read_parquet(folder / "predictions.parquet"),
        classes=list(classes),
        choose_threshold=youden,
        aggregation=facts["aggregation"],
    )
    factors = {
        "model": "resnet18",
        "learning": facts["learning"],
        "epochs": 50,
        "augmentation": "none",
        "split": facts["split"],
        "labelling": facts["labels"],
    }
    run = {
        "state": "done",
        "name": folder.name,
        "fingerprint": hashlib.sha256(folder.name.encode()).hexdigest(),
        "identity": {
            "learning": facts["learning"],
            "seed": facts["seed"],
            "split.fold": facts["fold"],
            "split": facts["split"],
            "aggregation": facts["aggregation"],
            "labelling": facts["labels"],
        },
        "factors": factors,
        "fold": facts["fold"],
        "seed": facts["seed"],
        "leaky_by_design": facts["leaky"],
        "cohort_fingerprint": record["fingerprint"],
        "split_fingerprint": facts["split"],
        **summary,
        "best_epoch": 1,
        "seconds": 1.0,
    }
    (folder / "run.json").write_text(json.dumps(run | change))


def write_external(study: Path, learning: str, *, patients=40, name="there") -> Path:
    """List an external cohort of `outside0`, `outside1`, ... under a study, as `fistula evaluate` does."""
    folder = study / "external" / name
    folder.mkdir(parents=True)
    keys = [f"outside{number}" for number in range(patients)]
    random = np.random.default_rng(7)
    facts = {"patient_key": keys, "slice_key": [f"{key}-0" for key in keys], "label": np.arange(patients) % 2}
    tables, runs = [], sorted(study.glob(f"resnet18-{learning}-*"))
    for run in runs:
        scores = np.clip(0.3 + 0.3 * facts["label"] + 0.2 * random.normal(size=patients), 0, 1)
        tables.append(
            pl.DataFrame(facts | {"score": scores}).with_columns(run=pl.lit(run.name), part=pl.lit("external"))
        )
    pl.concat(tables).write_parquet(folder / "predictions.parquet")
    nothing = dict.fromkeys(("site", "manufacturer", "scanner"), pl.lit(None, pl.String))
    said = {"possible": pl.lit("normal"), "answer": pl.lit("normal")}
    pl.DataFrame({"patient_key": keys}).with_columns(**nothing, **said).write_parquet(folder / "patients.parquet")
    record = {
        "runs": [{"name": run.name, "fingerprint": hashlib.sha256(run.name.encode()).hexdigest()} for run in runs],
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
    }
    (folder / "evaluate.json").write_text(json.dumps(record))
    return folder


def _logits(manifest, classes, strength, random):
    labels = manifest["label"].to_numpy()
    patients = manifest["patient_key"].cast(pl.Categorical).to_physical().to_numpy()
    noise = random.normal(size=(patients.max() + 1, len(classes)))[patients]
    noise += random.normal(size=noise.shape) * 0.5
    return noise + strength * np.eye(len(classes))[labels]


@pytest.fixture
def study_folder(tmp_path):
    return write_study(tmp_path / "study")


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """A study with its report, for tests that only read it: hostile names, one failed run, one constant prediction."""
    failed = {"state": "failed", "error": "the loss is not finite at step 7 <i>"}
    folder = write_study(
        tmp_path_factory.mktemp("reported") / "quick & <em>dirty",
        classes=("normal", "<script>alert(1)</script>"),
        site="</script><img src=x onerror=alert(2)>",
        changes={
            "resnet18-end_to_end-patient_kfold-fold2-seed0": failed,
            "resnet18-transfer-patient_kfold-fold0-seed0": {"warnings": ["constant prediction: all <u>positive</u>"]},
        },
    )
    write_report(read_study(folder), Settings(resamples=RESAMPLES, prevalence=0.2))
    return folder
