"""Damage DICOM files at random and see that each gives a slice or a reason: no traceback, no hang, no unbounded memory.

    nice -n 19 python benchmarks/fuzz.py --mutants 50000 [--first 0]

A mutant is one of pydicom's small test files, or an enhanced object, with a few of its elements given another value
representation, length or value, deleted, doubled or nested, and its bytes flipped, cut or repeated. It goes the way of
`doctor`, `ingest` and `predict`: header, table, volumes, decoding, names. Ends with 1 if anything but an outcome came;
stopped by Ctrl+C or SIGTERM, it says what was found until then.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from fistula.cohort.look.examine import series_table, suspicions
from fistula.cohort.look.stacks import plane_notes, volume_notes
from fistula.dicom.container import Part
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.look import Look, look_at
from fistula.dicom.out.reference import read_reference
from fistula.source.grid import Grid
from fistula.source.rules import KeepRules
from fistula.source.slices import RESULTS, Plan, Slice, read_volumes
from fistula.source.survey import FACTS, Survey
from fistula.source.volumes import with_volumes

SOURCES = Path(pydicom.__file__).parent / "data" / "test_files"
LARGEST = 60_000  # bytes of a file to damage
LOOK = Look(Pseudonyms(b"0123456789abcdef"), max_object_mb=64, seconds=5.0)
KEEP = KeepRules(None, None, None, None, description="gd", localizers=True, burned_in=True)
HUNG = 300  # seconds; a decoder in C may compute for 8 of them, each time it is asked, and the machine may be busy
REPRESENTATIONS = (
    *(b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()),
    b"ZZ", b"\0\0", b"??", b"us",
)  # fmt: skip
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
VALUES = (
    b"", b" ", b"\0\0", b"\\", b"\\\\\\", b"x ", b"1e999 ", b"-1", b"2,5 ", b"nan ", b"1_0 ", b"99999999999999999999",
    b"-99999999999999999999", b"\xff\xff", b"\xff\xff\xff\xff", b"\x00\x80", b"\xc3\x28", b"\x1b$B", b"0" * 70_000,
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"20250230", b"00000000", b"YES ", b"MONOCHROME1 ", b"RGB ",
)  # fmt: skip
LENGTHS = (0, 1, 3, 0xFFFE, 0xFFFF, 0x7FFFFFFE, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
CHARACTER_SETS = (b"ISO_IR 100", b"ISO 2022 IR 87", b"GB18030 ", b"NONSENSE", b"\\ISO 2022 IR 149")


class Piece(NamedTuple):
    """An element to write: tag, representation, value or items, and the length to claim; None for the true one."""

    tag: int
    vr: bytes
    value: Any
    length: int | None = None


def pieces(dataset: Dataset) -> list[Piece]:
    """A data set's elements, those of sequences as lists of lists."""
    found = []
    for tag in sorted(dataset.keys()):
        raw = dataset.get_item(tag)
        value, vr = getattr(raw, "value", b""), str(raw.VR or "UN").encode()
        if vr == b"SQ":
            found.append(Piece(int(tag), vr, [pieces(item) for item in dataset[tag].value]))
        elif isinstance(value, bytes | None):
            found.append(Piece(int(tag), vr, value or b""))
    return found


def written(elements: Sequence[Piece]) -> bytes:
    """Elements in explicit VR little endian, whatever they claim."""
    out = b""
    for piece in elements:
        value = piece.value
        if isinstance(value, list):
            items = [written(item) for item in value]
            value = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)
        length = len(value) if piece.length is None else piece.length
        head = struct.pack("<HH2s", piece.tag >> 16, piece.tag & 0xFFFF, piece.vr)
        size = struct.pack("<HI", 0, length) if piece.vr in LONG else struct.pack("<H", length & 0xFFFF)
        out += head + size + value
    return out


def mutated(elements: Sequence[Piece], chance: random.Random) -> list[Piece]:
    """Elements with one of them changed; one inside a sequence as likely as any other."""
    result = list(elements)
    if not result:
        return result
    at = chance.randrange(len(result))
    piece = result[at]
    if isinstance(piece.value, list) and piece.value and chance.random() < 0.8:
        items = list(piece.value)
        which = chance.randrange(len(items))
        items[which] = mutated(items[which], chance)
        result[at] = piece._replace(value=items)
        return result
    kind = chance.randrange(10)
    if kind == 0:
        result[at] = piece._replace(vr=chance.choice(REPRESENTATIONS))
    elif kind == 1:
        result[at] = piece._replace(vr=chance.choice(REPRESENTATIONS), value=b"")
    elif kind <= 4:
        result[at] = piece._replace(value=chance.choice(VALUES))
    elif kind == 5:
        result[at] = piece._replace(length=chance.choice(LENGTHS))
    elif kind == 6:
        del result[at]
    elif kind == 7:
        result.insert(at, piece._replace(value=chance.choice(VALUES)))
    elif kind == 8:
        nested: Any = [[piece]]
        for _ in range(chance.choice((1, 5, 60))):
            nested = [[Piece(piece.tag, b"SQ", nested)]]
        result[at] = Piece(piece.tag, b"SQ", nested)
    else:
        result.insert(0, Piece(0x00080005, b"CS", chance.choice(CHARACTER_SETS)))
    return result


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bytes with a few bits flipped, stretches overwritten, deleted or repeated, or the end cut off."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + chance.randint(1, 8)] = chance.randbytes(chance.randint(1, 8))
        elif kind == 2 and chance.random() < 0.3:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randint(1, 200)]
        elif kind == 4:
            del data[at : at + chance.randint(1, 50)]
    return bytes(data)


def enhanced() -> bytes:
    """A small enhanced object with private elements, as a file."""
    dataset = pydicom.dcmread(SOURCES / "MR_small.dcm")
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedMRImageStorage, "2"
    frames = []
    for index in range(2):
        frame = Dataset()
        for group, attributes in (
            ("PlanePositionSequence", {"ImagePositionPatient": [0, 0, 3.0 * index]}),
            ("PixelValueTransformationSequence", {"RescaleSlope": "2.5", "RescaleIntercept": "0"}),
            ("FrameVOILUTSequence", {"WindowCenter": "40", "WindowWidth": "400"}),
            ("MRDiffusionSequence", {"DiffusionBValue": 800.0}),
        ):
            item = Dataset()
            for name, value in attributes.items():
                setattr(item, name, value)
            setattr(frame, group, [item])
        own = Dataset()
        own.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.5)
        frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [own])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.PixelData = dataset.PixelData * 2
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@cache
def sources() -> tuple[tuple[str, bytes, tuple[Piece, ...] | None], ...]:
    """Name, bytes, and elements where the file is one in explicit VR little endian."""
    paths = [path for path in sorted(SOURCES.glob("*.dcm")) if path.stat().st_size < LARGEST]
    contents = [("enhanced", enhanced())] * 8 + [(path.name, path.read_bytes()) for path in paths]
    found: list[tuple[str, bytes, tuple[Piece, ...] | None]] = []
    for name, content in contents:
        try:
            dataset = pydicom.dcmread(BytesIO(content))
            is_plain = (
                dataset.original_encoding == (False, True) and not dataset.file_meta.TransferSyntaxUID.is_deflated
            )
            found.append((name, content, tuple(pieces(dataset)) if is_plain else None))
        except Exception:  # some of them are damaged to begin with
            found.append((name, content, None))
    return tuple(found)


def mutant(seed: int) -> bytes:
    """The mutant with this number: always the same."""
    chance = random.Random(seed)
    _, content, elements = sources()[seed % len(sources())]
    if elements is not None and chance.random() < 0.8:
        changed = list(elements)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            changed = mutated(changed, chance)
        start = content.index(b"DICM") + 4
        head = content[: start + 12 + int.from_bytes(content[start + 8 : start + 12], "little")]
        content = head + written(changed)
        if chance.random() < 0.8:
            return content
    return damaged(content, chance)


def _plain(values: Any, inside: Any, windows: Any) -> Any:
    return np.zeros_like(values)


_plain.units = "signal"  # type: ignore[attr-defined]
PLAN = Plan(Grid(16, 1.0), _plain, LOOK)  # type: ignore[arg-type]


def judge(seeds: range, folder: str, out: Connection) -> None:
    """Send (seed, outcome or traceback, seconds, peak memory of this process in MiB) for each mutant, one by one."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", category=RuntimeWarning)
    for stop in (signal.SIGINT, signal.SIGTERM):  # the process that started this one ends it
        signal.signal(stop, signal.SIG_IGN)
    with Path(os.devnull).open("w") as nowhere:  # decoders in C and Rust write of damage
        os.dup2(nowhere.fileno(), 2)
    for seed in seeds:
        path = Path(folder) / f"{seed}.dcm"
        path.write_bytes(mutant(seed))
        started = time.monotonic()
        try:
            outcome = _outcome(path)
        except BaseException:
            outcome = traceback.format_exc()
        path.unlink()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        out.send((seed, outcome, time.monotonic() - started, memory))


def _outcome(path: Path) -> str:
    """What doctor, ingest and predict make of one file."""
    records = [record | {"file": 0} for record in look_at(path, LOOK)]
    rows = [tuple(record.get(column) for column in FACTS) for record in records[:8]]
    facts = pl.DataFrame(rows, schema=FACTS, orient="row")
    facts.write_parquet(BytesIO())
    survey = Survey(path.parent, [path], facts)
    series_table(survey, KEEP, LOOK)
    suspicions(survey, labels=None, look=LOOK)
    part = Part(path, records[0]["member"])
    read_reference(part, limit=LOOK.limit)
    if records[0]["outcome"] != "image":
        return f"{records[0]['outcome']} {records[0]['reason']}"
    volumes = with_volumes(facts)
    volume_notes(volumes), plane_notes(volumes)
    rows = facts.select("frame", "turned", "plain").rows()[:2]
    slices = [Slice(row, part, frame, turned, plain) for row, (frame, turned, plain) in enumerate(rows)]
    read, pixels = read_volumes([slices], PLAN)
    again, same = read_volumes([[item._replace(plain="") for item in slices]], PLAN)
    assert (read, pixels.tobytes()) == (again, same.tobytes()), "not the same without a second look at the header"
    reasons = [dict(zip(RESULTS, row, strict=True))["reason"] for row in read]
    assert len(pixels) == reasons.count(None)
    return "slice" if None in reasons else f"decoded {reasons[0]}"


def fuzz(folder: str, seeds: range) -> Iterator[tuple[int, str, float, float]]:
    """Outcomes of mutants; each is read in a forked process, for some end a decoder in C and its process with it."""
    context = multiprocessing.get_context("fork")
    here = seeds.start
    while here < seeds.stop:
        inlet, outlet = context.Pipe(duplex=False)
        process = context.Process(target=judge, args=(range(here, seeds.stop), folder, outlet))
        process.start()
        outlet.close()
        try:
            while here < seeds.stop:
                if not inlet.poll(HUNG):
                    yield here, f"hangs for {HUNG} s", float(HUNG), 0.0
                    break
                yield inlet.recv()
                here += 1
        except EOFError:
            yield here, "lost", 0.0, 0.0
        finally:
            process.kill()
            process.join()
        here += 1


def is_outcome(text: str) -> bool:
    """Whether it is what a damaged file may come to; that a decoder in C ends its process is one as well."""
    return text.startswith(("slice", "refused", "skipped", "decoded")) or text == "lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    counts: Counter[str] = Counter()
    faults: dict[str, int] = {}
    slowest, memory = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        for seed, outcome, seconds, used in fuzz(folder, range(asked.first, asked.first + asked.mutants)):
            counts[outcome if is_outcome(outcome) else "FAULT"] += 1
            slowest, memory = max(slowest, seconds), max(memory, used)
            if not is_outcome(outcome):
                faults.setdefault("\n".join(outcome.splitlines()[-3:]), seed)
    for text, seed in faults.items():
        print(f"mutant {seed}:\n{text}\n")
    for outcome, count in counts.most_common():
        print(f"{count:7} {outcome}")
    print(f"{counts.total()} mutants from {asked.first} on, {counts['FAULT']} faults")
    print(f"slowest {slowest:.1f} s, peak memory {memory:.0f} MiB")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
