"""Time the search for near-duplicates, and count the copies of each kind that it finds and the false ones.

    python benchmarks/near_duplicates.py [--slices 10000 50000 200000] [--fields 6000]

Slices are drawn, 20 a patient, and copies of 20 of them stand under names of their own, for each kind 20. Seconds are
of the processor; peak memory is the search's own, without the pixels, which a cohort keeps on the disk (Linux only).
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fistula.audit.near_duplicates import find_near_duplicates

SIZE, A_PATIENT, COPIES = 64, 20, 20
DISTANCE, CORRELATION = 72, 0.92  # as in conf/audit/stop.yaml
Image = NDArray[np.uint8]


def _clipped(image: NDArray) -> Image:
    return np.rint(image).clip(0, 255).astype(np.uint8)


def _cropped(image: Image) -> Image:
    border = round(0.02 * len(image)) or 1
    return cv2.resize(image[border:-border, border:-border], image.shape[::-1], interpolation=cv2.INTER_AREA)


def _shifted(image: Image) -> Image:
    by = round(0.05 * len(image))
    return cv2.warpAffine(
        image, np.array([[1, 0, by], [0, 1, -by]], np.float32), image.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )


KINDS: dict[str, Callable[[Image], Image]] = {
    "equal": np.copy,
    "JPEG of quality 50": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 50])[1], 0),
    "noise of 5 % of the range": lambda image: _clipped(image + np.random.default_rng(0).normal(0, 12, image.shape)),
    "more contrast": lambda image: _clipped(image * 1.25 + 15),
    "gamma 0.7": lambda image: _clipped(255 * (image / 255) ** 0.7),
    "inverted": lambda image: 255 - image,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "a quarter turn": lambda image: np.rot90(image),
    "half a turn": lambda image: np.rot90(image, 2),
    "half the resolution": lambda image: cv2.resize(cv2.resize(image, None, fx=0.5, fy=0.5), image.shape[::-1]),
    "shifted by 5 %": _shifted,
    "cropped by 2 % a side": _cropped,
}


def draw_textures(random: np.random.Generator, number: int) -> Image:
    """Bodies of one outline, ``(number, SIZE, SIZE)``, each with structures of its own."""
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    body = (columns / 0.85) ** 2 + (rows / 0.7) ** 2 < 1
    fine = random.normal(0, 1, (number, SIZE, SIZE)).astype(np.float32)
    inside = [cv2.GaussianBlur(image, (0, 0), 1.5) * 90 + cv2.GaussianBlur(image, (0, 0), 5) * 250 for image in fine]
    return _clipped((110 + np.stack(inside)) * body)


def draw_fields(random: np.random.Generator, number: int) -> Image:
    """Smooth blobs in a round field of view, ``(number, 2 SIZE, 2 SIZE)``: little but the field's edge is sharp."""
    side = 2 * SIZE
    radius = np.hypot(*(np.indices((side, side)) - side / 2 + 0.5))
    fields = np.empty((number, side, side), np.uint8)
    for field in fields:
        blobs = cv2.GaussianBlur(random.normal(0, 1, (side, side)), (0, 0), random.uniform(15, 35))
        edge = 1 / (1 + np.exp(radius - 0.42 * side + random.uniform(-2, 2)))
        blobs = (blobs - blobs.mean()) / blobs.std()
        field[:] = _clipped((120 + 35 * blobs) * edge + random.normal(0, 1, blobs.shape))
    return fields


def _own_memory() -> float:
    """MiB of this process that no file backs."""
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024


def _measure(pixels: Path, patients: NDArray[np.int64], answer: multiprocessing.SimpleQueue) -> None:
    stored = np.load(pixels, mmap_mode="r")
    seen, is_done = [_own_memory()], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.05):
            seen.append(_own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.process_time()
    found = find_near_duplicates(stored, patients, distance=DISTANCE, correlation=CORRELATION)
    seconds = time.process_time() - started
    is_done.set()
    watcher.join()
    answer.put((seconds, max(seen) - seen[0], [(pair.first, pair.second) for pair in found.pairs]))


def search(pixels: Image, patients: NDArray[np.int64]) -> tuple[float, float, set[tuple[int, int]]]:
    """Seconds, MiB and pairs of a search in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "pixels.npy", pixels)
        answer = context.SimpleQueue()
        process = context.Process(target=_measure, args=(path, patients, answer))
        process.start()
        seconds, peak, pairs = answer.get()
        process.join()
    return seconds, peak, set(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="*", default=[10_000, 50_000, 200_000])
    parser.add_argument("--fields", type=int, default=6000)
    arguments = parser.parse_args()
    for number in arguments.slices:
        random = np.random.default_rng(0)
        pixels = np.concatenate([draw_textures(random, min(5000, number - at)) for at in range(0, number, 5000)])
        originals = np.linspace(0, number - 1, COPIES).astype(int)
        copies = np.stack([kind(pixels[row]) for kind in KINDS.values() for row in originals])
        patients = np.concatenate([np.arange(number) // A_PATIENT, number + np.arange(len(copies))])
        seconds, peak, found = search(np.concatenate([pixels, copies]), patients)
        print(f"{number} slices: {seconds:.0f} s, {peak:.0f} MiB")
        for place, name in enumerate(KINDS):
            at = number + place * COPIES
            hits = sum((int(row), at + k) in found for k, row in enumerate(originals))
            print(f"  {name}: {hits} of {COPIES}")
        # Copies of one slice are copies of each other as well; any other pair is false.
        source = np.concatenate([np.arange(number), np.tile(originals, len(KINDS))])
        print(f"  false: {sum(source[one] != source[other] for one, other in found)}")
    if arguments.fields:
        fields = draw_fields(np.random.default_rng(1), arguments.fields)
        seconds, peak, found = search(fields, np.arange(len(fields)))
        print(f"{len(fields)} smooth round fields: {seconds:.0f} s, {peak:.0f} MiB, false: {len(found)}")


if __name__ == "__main__":
    main()
