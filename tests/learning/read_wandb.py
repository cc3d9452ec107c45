"""Read an offline .wandb log back without a network: W&B itself ships no reader of it."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_wandb(path: Path) -> dict[str, Any]:
    """Give ``run`` (id, group, ...), ``config``, ``history``, ``summary``, files of ``artifacts``, ``exit`` code."""
    found: dict[str, Any] = {"run": {}, "config": {}, "history": [], "summary": {}, "artifacts": {}, "exit": None}
    for raw in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found["run"] = {"id": run.run_id, "project": run.project, "name": run.display_name, "group": run.run_group}
            found["run"]["host"] = run.host
            found["config"] |= _items(run.config.update)
        elif kind == "config":
            found["config"] |= _items(record.config.update)
        elif kind == "history":
            found["history"].append(_items(record.history.item))
        elif kind == "summary":
            found["summary"] |= _items(record.summary.update)
        elif kind == "artifact":
            found["artifacts"][record.artifact.name] = [entry.path for entry in record.artifact.manifest.contents]
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def _items(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    """Join the chunks of a LevelDB-style log, checking each one's sum."""
    if data[:4] != b":W&B":
        raise ValueError("not a .wandb file")
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        checksum, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if length == 0 and kind == 0:
            return
        chunk = data[position + HEADER : position + HEADER + length]
        if len(chunk) < length:
            return
        if zlib.crc32(chunk, zlib.crc32(bytes([kind]))) != checksum:
            raise ValueError(f"damaged at byte {position}")
        position += HEADER + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield parts
