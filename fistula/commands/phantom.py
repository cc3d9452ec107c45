"""`fistula phantom`: write a synthetic cohort as DICOM files with their labels."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from fistula.errors import as_typed, count
from fistula.phantom.cohort import CLASSES, Size, write_cohort


def run(cfg: DictConfig) -> None:
    """Write the cohort, say what is in it, and what to do with it."""
    out = Path(str(cfg.out))
    size = Size(
        patients=cfg.patients,
        controls=cfg.controls,
        positive=cfg.slices.positive,
        negative=cfg.slices.negative,
        control=cfg.slices.control,
        step_mm=cfg.slices.step_mm,
        supersampling=cfg.supersampling,
    )
    design = instantiate(cfg.phantom, _convert_="all")
    labels = write_cohort(out, size, design, seed=cfg.seed, workers=cfg.workers)
    positive = int(labels["label"].sum())
    sites = ", ".join(f"{site} {number}" for site, number in labels["site"].value_counts().sort("site").iter_rows())
    print(f"{out}: {count(cfg.patients, 'patient')} with a fistula, {count(cfg.controls, 'control')}")
    print(f"{len(labels)} slices: {positive} positive, {len(labels) - positive} negative; by site: {sites}")
    told = (f"source={out}", f"labels={out / 'labels.csv'}", f"classes=[{','.join(CLASSES)}]")
    print("next: fistula ingest", *map(as_typed, told), "out=data/cohort")
