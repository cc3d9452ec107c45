"""A cohort of spots on disk, for what learns places: each positive slice has one where its table says."""

import json

import numpy as np
import polars as pl
from conftest import write_cohort

from fistula.cohort.manifest import manifest_fingerprint


def write_places(folder, *, canal=True, age=None, **given):
    """A cohort whose positive slices have a bright spot where the table says that an opening is."""
    write_cohort(folder, **given)
    random = np.random.default_rng(5)
    pixels, manifest = np.load(folder / "pixels.npy") // 2, pl.read_parquet(folder / "manifest.parquet")
    size = pixels.shape[1]
    places = random.uniform(size * 0.2, size * 0.8, (len(pixels), 2))
    rows, columns = np.mgrid[:size, :size]
    positive = (manifest["label"] == 1).to_numpy()
    for image, (row, column), found in zip(pixels, places, positive, strict=True):
        if found:
            spot = 150 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)
            image[:] = np.clip(image + spot, 0, 255)
    names = [name for kind in ("opening", "canal") for name in (f"{kind}_row", f"{kind}_col")]
    opening = [np.where(positive, values, np.nan) for values in places.T]
    middle = [np.full(len(pixels), size / 2 if canal else np.nan)] * 2
    columns = [pl.Series(name, values).fill_nan(None) for name, values in zip(names, opening + middle, strict=True)]
    manifest = manifest.with_columns(*columns, pixel_spacing_mm=pl.lit(0.5), age=age)
    np.save(folder / "pixels.npy", pixels)
    manifest.write_parquet(folder / "manifest.parquet")
    record = json.loads((folder / "ingest.json").read_text())
    record |= {"fingerprint": manifest_fingerprint(manifest), "spacing_mm": 0.5}
    (folder / "ingest.json").write_text(json.dumps(record))
    return folder
