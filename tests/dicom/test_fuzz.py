"""Damaged files: every outcome is pixels or a reason; nothing crashes, hangs or allocates without bound."""

import random
import resource
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fistula.cohort.pixels import Grid
from fistula.cohort.volume import RESULTS, Plan, Slice, read_volumes
from fistula.cohort.workers import Workers, in_parallel
from fistula.dicom.container import Part
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.survey import Look, survey_file

SOURCES = Path(pydicom.__file__).parent / "data" / "test_files"
LARGEST = 200_000  # bytes of a file to damage
LOOK = Look(Pseudonyms(b"0123456789abcdef"), max_object_mb=64, seconds=5.0)
ABSURD = (b"\xff\xff", b"\x00\x00", b"\xff\x7f", b"\x01\x00", b"\x00\x80")
# Tags whose damage could make a reader allocate or loop: frames, rows, columns, bits, samples, syntax, pixel data.
TAGS = tuple(
    bytes.fromhex(tag)
    for tag in (
        [
            "28001000",
            "28001100",
            "28000800",
            "28000001",
            "28000101",
            "28000200",
            "02001000",
            "e07f1000",
            "28000301",
            "ff51",
            "ffc0",
            "fff7",
        ]
    )
)


def _plain(values, inside, windows):
    return np.zeros_like(values)


_plain.units = "signal"
PLAN = Plan(Grid(16, 1.0), _plain, LOOK)


def damaged(content: bytes, generator: random.Random) -> bytes:
    """`content` with a few random changes: bits, absurd values behind telling tags, cuts, repeats and shifts."""
    data = bytearray(content)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(len(data)) if data else 0
        kind = generator.randrange(7)
        if kind == 0 and data:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at : at + generator.randint(1, 8)] = generator.randbytes(generator.randint(1, 8))
        elif kind == 2 and generator.random() < 0.3:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[at : at + generator.randint(1, 200)]
        elif kind == 4:
            del data[at : at + generator.randint(1, 50)]
        elif (place := data.find(tag := generator.choice(TAGS))) >= 0:
            start = place + len(tag) + generator.randint(0, 8)
            data[start : start + 2] = generator.choice(ABSURD)
    return bytes(data)


def read_damaged(batch):
    """For each (seed, path, folder): outcome, seconds, and the peak memory of this process in MiB."""
    results = []
    for seed, path, folder in batch:
        target = Path(folder) / f"{seed}.dcm"
        target.write_bytes(damaged(path.read_bytes(), random.Random(seed)))
        started = time.monotonic()
        outcome = "no record"
        for record in survey_file(target, LOOK)[:3]:
            outcome = f"{record['outcome']} {record['reason']}".strip()
            if record["outcome"] == "image":
                rows, pixels = read_volumes([[Slice(0, Part(target, record["member"]), record["frame"])]], PLAN)
                reason = dict(zip(RESULTS, rows[0], strict=True))["reason"]
                outcome = f"decoded {reason}" if reason else "slice"
                assert reason or pixels.shape == (1, 16, 16)
        target.unlink()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        results.append((seed, path.name, outcome, time.monotonic() - started, memory))
    return results


def _lost(item):
    return [(item[0], item[1].name, "lost", 0.0, 0.0)]


def fuzz(folder: Path, number: int, *, first: int = 0):
    """Outcomes of `number` damaged files; some are read by C code, so none is read in this process."""
    sources = [path for path in sorted(SOURCES.glob("*.*")) if path.suffix in (".dcm", ".gz")]
    sources = [path for path in sources if path.stat().st_size < LARGEST]
    items = [(seed, sources[seed % len(sources)], str(folder)) for seed in range(first, first + number)]
    batches = [items[start : start + 50] for start in range(0, len(items), 50)]
    results = in_parallel(read_damaged, batches, Workers(2), title="fuzz", is_risky=True, seconds=600, lost=_lost)
    return [row for batch in results for row in batch]


def test_a_few_hundred_damaged_files_each_have_an_outcome(tmp_path):
    rows = [row for seed in range(6) for row in read_damaged([(seed, SOURCES / "MR_small.dcm", str(tmp_path))])]
    assert all(outcome.startswith(("slice", "refused", "skipped", "decoded")) for _, _, outcome, _, _ in rows)


@pytest.mark.slow
def test_five_thousand_damaged_files_give_a_slice_or_a_reason_each(tmp_path):
    rows = fuzz(tmp_path, 5000)
    assert len(rows) == 5000
    assert {seed for seed, *_ in rows} == set(range(5000))
    assert [row for row in rows if not row[2].startswith(("slice", "refused", "skipped", "decoded", "lost"))] == []
    assert sum(row[2] == "slice" for row in rows) > 250
    assert sum(row[2] == "lost" for row in rows) < 50
    assert max(row[3] for row in rows) < 10.0
    assert max(row[4] for row in rows) < 2048
