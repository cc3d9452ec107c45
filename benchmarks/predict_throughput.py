"""Batch prediction against decoding every slice and passing it through the network, in processor time.

    python benchmarks/predict_throughput.py --run RUN --source DIR

Processor time, as other work on the machine does not change it. Prints slices a second each way and their ratio.
"""

import argparse
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

import fistula
from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode
from fistula.learning.data.slices import as_batch
from fistula.predict.predictor import Predictor
from fistula.predict.runs.network import network_of


@torch.inference_mode()
def bare(predictor: Predictor, paths: list[Path]) -> float:
    """Processor seconds of the least that has to be done."""
    run = predictor.runs[0]
    # As it was trained: what a run is loaded as has its batch norms folded.
    plain = network_of(run.folder, run.config, run.record, run.cohort).eval()
    size = run.cohort.pixels.shape[1]
    started = time.process_time()
    for path in paths:
        list(decode(read_dataset(BytesIO(path.read_bytes()), limit=1 << 30), [0]))
    for start in range(0, len(paths), 64):
        pixels = np.zeros((len(paths[start : start + 64]), 1, size, size), np.uint8)
        plain(as_batch(pixels, run.resize))
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # waiting threads would count as work
    predictor = fistula.load(arguments.run)
    predictor.prepare()
    paths = sorted(arguments.source.rglob("*.dcm"))
    least = bare(predictor, paths)
    started = time.process_time()
    count = len(predictor.predict(arguments.source).slices)
    whole = time.process_time() - started
    print(f"decode and bare forward pass: {len(paths) / least:.1f} slices a second of one core")
    print(f"batch prediction:             {count / whole:.1f} slices a second of one core")
    print(f"ratio: {(count / whole) / (len(paths) / least):.2f}")


if __name__ == "__main__":
    main()
