"""Cohorts in memory, of patients with similar anatomy."""

import hashlib

import cv2
import numpy as np
import polars as pl
import pytest

from fistula.cohort.manifest import SCHEMA, Cohort, manifest_fingerprint

SIZE = 128


def _draw_patient(seed, *, slices=4):
    """Neighbouring slices of one pelvis: the outline that all patients share, and vessels and texture of its own."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    width, height = random.normal([0.8, 0.6], 0.05)
    body = 90.0 * ((columns / width) ** 2 + (rows / height) ** 2 < 1)
    for x in (-0.4, 0.4):
        body += 60 * ((columns - x + random.normal(0, 0.04)) ** 2 + rows**2 < 0.03)
    canal = (columns + random.normal(0, 0.03)) ** 2 + (rows - 0.15) ** 2
    body += 70 * ((canal < 0.02) & (canal > 0.008))
    for x, y, radius in np.column_stack([random.uniform(-0.6, 0.6, (14, 2)), random.uniform(0.02, 0.07, 14)]):
        body += random.uniform(-50, 60) * ((columns - x) ** 2 + (rows - y * 0.7) ** 2 < radius**2)
    texture = cv2.GaussianBlur(random.normal(0, 60, (SIZE, SIZE)), (0, 0), 3) * (body > 0)
    images = [body + texture + random.normal(0, 6, body.shape) for _ in range(slices)]
    return np.stack(images).clip(0, 255).astype(np.uint8)


def _make_cohort(pixels, patients, labels, **columns):
    """Give slices ``(N, H, W)`` their manifest: a study and a series a patient, unless `columns` says otherwise."""
    rows = {
        "slice_key": [f"slice{row}" for row in range(len(pixels))],
        "patient_key": [f"patient{patient}" for patient in patients],
        "study_key": [f"study{patient}" for patient in patients],
        "series_key": [f"series{patient}" for patient in patients],
        "label": list(labels),
        "pixel_hash": [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels],
    } | columns
    manifest = pl.DataFrame(rows).with_columns(
        pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items() if name not in rows
    )
    manifest = manifest.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    return Cohort(None, manifest, pixels, {"classes": ["0", "1"], "fingerprint": manifest_fingerprint(manifest)})


@pytest.fixture(scope="session")
def draw_patient():
    return _draw_patient


@pytest.fixture(scope="session")
def make_cohort():
    return _make_cohort
