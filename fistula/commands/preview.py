"""`fistula preview`: what an augmentation does to slices of a cohort."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from fistula.cohort.manifest import read_cohort
from fistula.errors import ConfigError, refuse_outside
from fistula.folder import refuse_existing


def run(cfg: DictConfig) -> None:
    """Write the sheet."""
    for key, low, high in (("slices", 1, 1000), ("draws", 1, 1000), ("image_size", 1, 4096), ("seed", 0, 2**32 - 1)):
        refuse_outside(key, cfg[key], low, high)
    out = Path(cfg.out)
    refuse_existing(out)
    if out.suffix != ".png":
        raise ConfigError("out", "must end in .png", found=out, remedy="For example out=preview.png")
    if not out.parent.is_dir():
        raise ConfigError("out", "must be in an existing folder", found=out)
    cohort = read_cohort(Path(cfg.cohort))
    from fistula.learning.building.making import make, try_pipeline
    from fistula.learning.data.preview import draw_sheet, rows_to_show  # here, because it imports torch
    from fistula.learning.data.slices import Resize

    pipeline = make(cfg.augmentation)
    try_pipeline(pipeline, cfg.image_size)
    slices = cohort.labelled[rows_to_show(cohort.labelled["label"].to_numpy(), cfg.slices)]
    beside = cohort.beside(slices["slice_key"])
    images: dict[str, dict[str, np.ndarray]] = {}
    for rows, key in ((slices, "slice_key"), *([(beside, "grid_key")] if cohort.sequences else [])):
        for of, name, row in rows.select(key, "sequence", "row").iter_rows():
            images.setdefault(of, {})[f"{name} as it is".strip()] = cohort.pixels[row]
    resize = Resize(cfg.image_size, cfg.interpolation)
    draw_sheet(list(images.values()), pipeline, out, draws=cfg.draws, resize=resize, seed=cfg.seed)
    print(f"look at {out}")
