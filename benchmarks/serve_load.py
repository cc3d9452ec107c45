"""Load a running `fistula serve`: latency against decode and bare forward pass, errors, memory.

    fistula serve run=RUN port=8080 &
    python benchmarks/serve_load.py --run RUN --file SLICE.dcm --pid $! --requests 10000

Prints the median of decoding and one forward pass in turn with the answers, the median and 95% of these, how
many failed, and the server's resident memory after a tenth of the requests and at the end.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import torch

from fistula.dicom.parse import read_dataset
from fistula.dicom.pixels.decode import decode
from fistula.predict.runs.model import load_run
from fistula.predict.runs.network import network_of


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def bare_pass(run: Path, content: bytes) -> Callable[[], float]:
    """What takes the seconds of decoding one slice and passing one through the network."""
    loaded = load_run(run)
    # As it was trained: what a run is loaded as has its batch norms folded.
    plain = network_of(run, loaded.config, loaded.record, loaded.cohort).eval()
    first = np.zeros(1, dtype=np.int64)

    @torch.inference_mode()
    def measure() -> float:
        started = time.perf_counter()
        list(decode(read_dataset(BytesIO(content), limit=1 << 30), [0]))
        plain(loaded.images(first))
        return time.perf_counter() - started

    return measure


async def load(
    address: str, content: bytes, bare: Callable[[], float], *, requests: int, clients: int, pid: int | None
) -> tuple[list[float], list[float], int, list[float]]:
    """Seconds of each answer and of bare passes between them, failures, memory after a tenth and at the end."""
    taken: list[float] = []
    alone: list[float] = []
    memory: list[float] = []
    failed = 0
    waiting = iter(range(requests))

    async def client() -> None:
        nonlocal failed
        async with httpx.AsyncClient(trust_env=False, timeout=120) as link:
            for number in waiting:
                # In turn with the answers, so that both meet the same state of the machine.
                if number % 5 == 0:
                    alone.append(bare())
                started = time.perf_counter()
                try:
                    failed += (await link.post(f"{address}/predict", content=content)).status_code != 200
                except httpx.HTTPError:
                    failed += 1
                taken.append(time.perf_counter() - started)
                if pid and number == requests // 10:
                    memory.append(resident_mb(pid))

    await asyncio.gather(*(client() for _ in range(clients)))
    if pid:
        memory.append(resident_mb(pid))
    return taken, alone, failed, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:8080")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    arguments = parser.parse_args()
    content = arguments.file.read_bytes()
    bare = bare_pass(arguments.run, content)
    loaded = load(
        arguments.address, content, bare, requests=arguments.requests, clients=arguments.clients, pid=arguments.pid
    )
    taken, passes, failed, memory = asyncio.run(loaded)
    alone = statistics.median(passes)
    print(f"decode and bare forward pass: median {1000 * alone:.1f} ms")
    middle, high = np.quantile(taken, [0.5, 0.95])
    print(f"{len(taken)} answers, {failed} failed: median {1000 * middle:.1f} ms, 95% within {1000 * high:.1f} ms")
    print(f"median over bare: {middle / alone:.2f}")
    if memory:
        print("resident memory: " + ", then ".join(f"{value:.0f} MB" for value in memory))


if __name__ == "__main__":
    main()
