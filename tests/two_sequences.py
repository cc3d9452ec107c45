"""Two sequences of each patient: DICOM volumes of a smooth field, and a cohort made without any DICOM."""

import hashlib
import json

import numpy as np
import polars as pl

from fistula.cohort.manifest import BESIDE, SCHEMA, manifest_fingerprint
from tests.conftest import write_cohort, write_dicom

AXIAL = ((1, 0, 0), (0, 1, 0))
SEQUENCES = "keep.sequences={t1c: {description: T1}, t2: {description: T2}}"
OPTIONS = ("keep=all", SEQUENCES, "size=24", "spacing_mm=2", "workers.count=1", "intensity=window",
           "intensity.center=500", "intensity.width=1000")  # fmt: skip


def stack(folder, name, *, patient=0, slices=5, shape=(24, 24), spacing=(2.0, 2.0), gap=4.0, corner=(-23, -23, 0),
          axes=AXIAL, frame="2.25.77", field=None, shift=(0.0, 0.0), **attributes):  # fmt: skip
    """Write a volume of a smooth field of the patient's coordinates; gives its values, as (slice, row, column)."""
    along, down = np.array(axes, float)
    across = np.cross(along, down)
    values = np.empty((slices, *shape), np.uint16)
    for number in range(slices):
        origin = np.array(corner, float) + number * gap * across + number * shift[0] * along + number * shift[1] * down
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        points = origin + rows[..., None] * spacing[0] * down + columns[..., None] * spacing[1] * along
        values[number] = (field or smooth)(points, patient)
        write_dicom(
            folder / f"P{patient:02d}" / f"{name}-{number}.dcm", values[number],
            SOPInstanceUID=f"2.25.{patient + 1}{sum(map(ord, name))}{number + 1}",
            SeriesInstanceUID=f"2.25.{patient + 1}{sum(map(ord, name))}", StudyInstanceUID=f"2.25.9{patient + 1}",
            PatientID=f"{patient:02d}", PatientBirthDate=f"19{50 + patient}0101", SeriesDescription=name,
            FrameOfReferenceUID=frame, ImagePositionPatient=[round(float(x), 6) for x in origin],
            ImageOrientationPatient=[*along.tolist(), *down.tolist()], PixelSpacing=list(spacing),
            InstanceNumber=number + 1, ImageType=["ORIGINAL", "PRIMARY", "M"], **attributes,
        )  # fmt: skip
    return values


def smooth(points, patient):
    x, y, z = np.moveaxis(points, -1, 0)
    return 500 + 180 * np.sin(x / 9 + patient) + 150 * np.cos(y / 11) + 100 * np.sin(z / 7)


def labels(folder, patients=4, name="T1", slices=5, *, first=0):
    lines = ["sop_instance_uid,label"]
    for patient in range(first, first + patients):
        uid = f"2.25.{patient + 1}{sum(map(ord, name))}"
        lines += [f"{uid}{number + 1},{patient % 2}" for number in range(slices)]
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def tree(folder, *, patients=4, lacking=(), first=0, **of_t2):
    for patient in range(first, first + patients):
        stack(folder / "tree", "T1", patient=patient)
        if patient not in lacking:
            stack(folder / "tree", "T2", patient=patient, **of_t2)
    return labels(folder, patients, first=first)


def write_two_sequences(folder, *, patients=40, slices=2, size=16, lacking=()):
    """Write a cohort whose positive patients have a mark on T1 and one on T2, the others on one of them.

    Of slices with the keys `lacking` there is no T2.
    """
    write_cohort(folder, patients=patients, slices=slices, size=size)
    manifest, pixels = pl.read_parquet(folder / "manifest.parquet"), np.load(folder / "pixels.npy")
    random = np.random.default_rng(1)
    images = random.integers(0, 60, (2, *pixels.shape), dtype=np.uint8)
    for row, (patient, label) in enumerate(manifest.select("patient_key", "label").iter_rows()):
        lacks = int(patient.removeprefix("patient")) // 2 % 2
        for number in range(2):
            if label or lacks != number:
                images[number, row, 4:12, 4:12] += 150
    second = manifest.with_columns(
        slice_key="t2" + pl.col("slice_key"), sequence=pl.lit("t2"), label=pl.lit(None, pl.Int64), grid_key="slice_key",
        covered=pl.lit(1.0), pixel_hash=pl.Series([hashlib.sha256(image).hexdigest() for image in images[1]]),
    )  # fmt: skip
    is_there = (~second["grid_key"].is_in(list(lacking))).to_numpy()
    second = second.filter(is_there)
    both = pl.concat([manifest.with_columns(sequence=pl.lit("t1c")), second], how="diagonal").select(*SCHEMA, *BESIDE)
    both.write_parquet(folder / "manifest.parquet")
    np.save(folder / "pixels.npy", np.concatenate([images[0], images[1, is_there]]))
    record = json.loads((folder / "ingest.json").read_text()) | {"fingerprint": manifest_fingerprint(both)}
    (folder / "ingest.json").write_text(json.dumps(record | {"keep": {"sequences": {"t1c": {}, "t2": {}}}}))
    return folder
