"""Time `fistula ingest` against a plain pydicom loop, at several numbers of files.

    python benchmarks/ingest.py FOLDER 1000 10000 [--side 128] [--syntax native|rle|j2k] [--rounds 3]

The loop does the same work slice by slice in one process: read, decode, rescale, percentiles, resample, hash. The two
take turns, and the middle one of the rounds is shown, because other programs slow both down. Ingest counts its
start-up, the loop does not.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_modality_lut
from pydicom.uid import JPEG2000Lossless, RLELossless

from fistula.dicom.out.write import Series, write_mr_slice

SLICES = 20  # of a patient


def write_tree(folder: Path, files: int, *, side: int, syntax: str) -> None:
    """Write `files` small slices, 20 a patient, and labels.csv beside them."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((side, side))
    lines = ["sop_instance_uid,label"]
    for number in range(files):
        patient, place = divmod(number, SLICES)
        scanner = {"manufacturer": "Philips", "model": "Ingenia", "tesla": 3.0, "contrast_agent": "Gd"}
        sizes = {"pixel_mm": 1.0, "thickness_mm": 3.0, "spacing_mm": 3.0, "tilt_degrees": 0.0}
        series = Series(f"{patient:05d}", "F", 40, patient % 3000, **scanner, **sizes, slope=2.0, scale_slope=0.007)
        shape = 900 * np.sin(rows / 9 + place) * np.cos(columns / 7 + patient) + 1500
        pixels = (shape + random.normal(0, 60, (side, side))).astype(np.uint16)
        path = folder / "tree" / f"{patient:05d}" / f"{place}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = (0.0, 0.0, 3.0 * place)
        uid = write_mr_slice(path, pixels, series, origin=origin, instance_number=place + 1, window=(500, 900), seed=0)
        if syntax != "native":
            dataset = pydicom.dcmread(path)
            dataset.compress({"rle": RLELossless, "j2k": JPEG2000Lossless}[syntax], generate_instance_uid=False)
            dataset.save_as(path)
        lines.append(f"{uid},{patient % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))


def plain_loop(folder: Path, size: int) -> float:
    """Seconds of a loop over all files in one process."""
    started = time.perf_counter()
    for path in sorted((folder / "tree").rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        values = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float32)
        shape = tuple(round(side * float(mm)) for side, mm in zip(values.shape, dataset.PixelSpacing, strict=True))
        values = np.asarray(Image.fromarray(values).resize(shape[::-1], Image.Resampling.BILINEAR))[:size, :size]
        low, high = np.percentile(values, [0.5, 99.5])
        unit = np.clip((values - low) / (high - low), 0, 1)
        hashlib.sha256(np.rint(unit * 255).astype(np.uint8).tobytes()).hexdigest()
    return time.perf_counter() - started


def run_ingest(folder: Path, name: str, *more: str) -> float:
    """Seconds of one `fistula ingest` in a process of its own."""
    paths = f"source={folder / 'tree'}", f"labels={folder / 'labels.csv'}", f"out={folder / name}"
    started = time.perf_counter()
    environment = os.environ | {"FISTULA_PSEUDONYM_KEY_FILE": str(folder / "key")}
    command = [sys.executable, "-m", "fistula.cli", "ingest", *paths, *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def one_round(folder: Path, side: int, options: tuple[str, ...]) -> dict[str, float]:
    """Milliseconds a file of the loop and of an ingest; and their ratio."""
    files = sum(1 for _ in (folder / "tree").rglob("*.dcm"))
    loop, name = plain_loop(folder, side), f"cohort-{time.time_ns()}"
    ingest = run_ingest(folder, name, *options)
    shutil.rmtree(folder / name)
    return {"loop_ms": 1000 * loop / files, "ingest_ms": 1000 * ingest / files, "speedup": loop / ingest}


def main() -> None:
    """Print one JSON line a number of files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=int, nargs="+")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--syntax", choices=("native", "rle", "j2k"), default="native")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    options = (f"size={asked.side}", "spacing_mm=1.0")
    for files in asked.files:
        folder = asked.folder / f"{asked.syntax}-{asked.side}-{files}"
        if not folder.exists():
            write_tree(folder, files, side=asked.side, syntax=asked.syntax)
        rounds = [one_round(folder, asked.side, options) for _ in range(asked.rounds)]
        result = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        result["peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        rounded = {key: round(value, 3) for key, value in result.items()}
        print(json.dumps({"files": files, "syntax": asked.syntax, "side": asked.side} | rounded), flush=True)


if __name__ == "__main__":
    main()
