"""Cohorts in memory whose patients have similar anatomy, and copies of their slices to plant."""

import hashlib

import cv2
import numpy as np
import polars as pl

from fistula.cohort.manifest import SCHEMA, Cohort, manifest_fingerprint

SIZE = 128


def draw_patient(seed, *, slices=4):
    """Neighbouring slices of one pelvis: the outline that all patients share, and vessels and texture of its own."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    width, height = random.normal([0.8, 0.6], 0.03)
    body = 90.0 * ((columns / width) ** 2 + (rows / height) ** 2 < 1)
    for x in (-0.4, 0.4):
        body += 60 * ((columns - x + random.normal(0, 0.02)) ** 2 + rows**2 < 0.03)
    canal = (columns + random.normal(0, 0.03)) ** 2 + (rows - 0.15) ** 2
    body += 70 * ((canal < 0.02) & (canal > 0.008))
    for x, y, radius in np.column_stack([random.uniform(-0.6, 0.6, (14, 2)), random.uniform(0.02, 0.07, 14)]):
        body += random.uniform(-50, 60) * ((columns - x) ** 2 + (rows - y * 0.7) ** 2 < radius**2)
    texture = cv2.GaussianBlur(random.normal(0, 60, (SIZE, SIZE)), (0, 0), 3) * (body > 0)
    images = [body + texture + random.normal(0, 6, body.shape) for _ in range(slices)]
    return np.stack(images).clip(0, 255).astype(np.uint8)


def make_cohort(pixels, patients, labels, **columns):
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


def shift(image, x, y):
    return cv2.warpAffine(image, np.float32([[1, 0, x], [0, 1, y]]), image.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def crop(image, border):
    return cv2.resize(image[border:-border, border:-border], image.shape[::-1], interpolation=cv2.INTER_AREA)


def noisy(image):
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


COPIES = {
    "equal": np.copy,
    "as JPEG of quality 50": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 50])[1], 0),
    "noisy, 5 % of the range": noisy,
    "brighter, with more contrast": lambda image: (image * 1.25 + 15).clip(0, 255).astype(np.uint8),
    "shifted by 3 % of the side": lambda image: shift(image, 4, -4),
    "cropped by 2 % on each side": lambda image: crop(image, 2),
    "at half the resolution": lambda image: cv2.resize(cv2.resize(image, (64, 64)), image.shape[::-1]),
}
