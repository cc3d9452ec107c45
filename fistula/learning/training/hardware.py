"""What a run computes on: how many devices, and what ``auto`` means there."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import joblib
import torch
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator
from pytorch_lightning.plugins import TorchSyncBatchNorm
from pytorch_lightning.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from timm.layers import convert_sync_batchnorm
from torch import nn

from fistula.errors import ConfigError, OutOfMemoryError, TrainingError
from fistula.learning.training.ranks import is_of_srun, num_nodes, tasks_per_node

# What PyTorch's own allocator, CUDA and the libraries on it say: where several runs share a card, any may be the first.
EXHAUSTED = re.compile(r"(?i)cuda.*out of memory|CU(BLAS|DNN)_STATUS_\w*ALLOC\w*_FAILED")
# What PyTorch says when each of cuDNN's ways to compute has failed: for want of memory, or because there is none.
NO_ENGINE = "unable to find an engine"
NEARLY_FULL = 0.02  # of a card's memory, that is free
SHARED = Path("/dev/shm")  # noqa: S108 (where Linux keeps shared memory)
AHEAD = 3  # batches that a process which loads may have there
NO_ROOM = re.compile(r"out of shared memory|shared memory object|</torch_")  # of processes that load, as in a container
LOST = "DataLoader worker"  # and how PyTorch begins where one has ended
INEXACT = "does not have a deterministic implementation"
MOST_WORKERS = 16  # 400 to 1600 images a second each, the more so the less they do to an image

# A processor gives the same numbers bit for bit at a cost of 2%; a card is asked for speed, since its order of
# summing is not fixed anyway unless trainer=reproducible says so.
AUTO = {
    "processor": {"precision": "32-true", "deterministic": True},
    "card": {"precision": "bf16-mixed", "deterministic": False},
}
LONG = 20_000  # steps, which earn back the minute it takes to try cuDNN's algorithms (docs/speed.md)


def auto_workers(*, on_card: bool, augments: bool) -> int:
    """How many processes load: none where the processor trains, else as many as the run's share of cores pays for."""
    share = os.environ.get("OMP_NUM_THREADS") or os.environ.get("SLURM_CPUS_PER_TASK") or ""
    first = share.partition(",")[0]  # OpenMP takes a number for each level of nesting, as in 4,2
    cores = int(first) if first.isdigit() else joblib.cpu_count()
    return min(MOST_WORKERS, cores - 1) if on_card and augments else 0


def with_room(workers: int, *, batch_bytes: int, is_auto: bool) -> int:
    """Those of the processes that load whose batches shared memory has room for: with less, training waits for ever.

    Raises:
        ConfigError: If it has not enough for a number that was asked for.
    """
    need = workers * AHEAD * batch_bytes
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else need
    if (room := free // (AHEAD * batch_bytes)) < workers and not is_auto:
        rule = f"needs {need / 1e6:.0f} MB of shared memory, of which {free / 1e6:.0f} are free"
        remedy = "docker run --shm-size=8g gives a container more; or num_workers=auto"
        raise ConfigError("num_workers", rule, found=workers, remedy=remedy)
    return min(workers, room)


def device_of(name: str) -> torch.device:
    """The device that a finished run computes on: ``auto`` is the first card, the processor where there is none.

    Raises:
        ConfigError: If PyTorch knows no such device, or this machine has none.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # nor is there one without numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        rule, why = "must be auto, cpu, or a device of this machine", f" ({_first(error)})" if "cuda" in name else ""
        raise ConfigError("device", rule, found=name + why, remedy="For example device=cpu") from error
    return device


def is_on_card(trainer: Mapping[str, Any]) -> bool:
    """Whether Lightning will take CUDA's cards, by its keys ``accelerator`` and ``devices``."""
    return trainer["accelerator"] in ("gpu", "cuda", "auto") and CUDAAccelerator.is_available()


class SyncedNorms(TorchSyncBatchNorm):
    """Batch norms over all cards of a run, as timm converts them: PyTorch's way drops activations inside norms.

    They stay so after training, when a network is in use, where they do what they did before.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        return convert_sync_batchnorm(model)

    def revert(self, model: nn.Module) -> nn.Module:
        return model


def environment() -> ClusterEnvironment:
    """How the processes of a run find one another; said, because Lightning's guess goes by the name of Slurm's job."""
    return SLURMEnvironment(auto_requeue=False) if is_of_srun() else LightningEnvironment()


def plugins(trainer: Mapping[str, Any]) -> list[Any]:
    """Lightning's plugins for several devices; a batch norm of two images a card is noise."""
    return [environment(), *([SyncedNorms()] if is_on_card(trainer) and num_processes(trainer) > 1 else [])]


def prepare_card(trainer: Mapping[str, Any]) -> None:
    """Settle before the first use of a card what PyTorch asks once a process: how exact cuBLAS is, and which card.

    Raises:
        ConfigError: If it cannot be used: a card counts, too, whose driver is too old or which another process has.
    """
    # Else a run that has to be exact could not follow one that need not; 24 MB of the card.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not is_on_card(trainer) and trainer["accelerator"] not in ("gpu", "cuda"):
        return
    try:
        # What is done on a card before Lightning takes one be on that: else all would hold memory of the first.
        own = CUDAAccelerator.parse_devices(-1 if trainer["devices"] == "auto" else trainer["devices"])
        torch.cuda.set_device(cast(list[int], own)[environment().local_rank()])
        torch.cuda.synchronize()
    except (RuntimeError, MisconfigurationException) as error:
        rule, remedy = "cannot use a GPU here", "Update its driver, or see who uses it (nvidia-smi); or trainer=cpu"
        raise ConfigError("trainer", rule, found=_first(error), remedy=remedy) from error


def num_processes(trainer: Mapping[str, Any]) -> int:
    """How many processes train together: one a device of each machine, counted as Lightning counts them.

    Its key ``devices`` is a number, its digits, a list, -1 or ``auto`` for all there are.

    Raises:
        ConfigError: If ``devices`` is neither, or names cards that are not there, or Slurm has started other tasks.
    """
    # For machines that are not there this process would wait for ever.
    if "num_nodes" in trainer and trainer["num_nodes"] != num_nodes():
        rule = f"must be left out: it follows from srun, and is {num_nodes()} here"
        raise ConfigError("trainer.num_nodes", rule, found=trainer["num_nodes"], remedy="Start the run through srun")
    number = _num_devices(trainer) * num_nodes()
    if is_of_srun() and (tasks := tasks_per_node()) != str(number // num_nodes()):
        rule = f"must be the {tasks} tasks that srun starts on each of {num_nodes()} machines"
        remedy = "Give srun and fistula the same number: --ntasks-per-node=4, trainer.devices=4"
        raise ConfigError("trainer.devices", rule, found=str(trainer["devices"]), remedy=remedy)
    return number


def _num_devices(trainer: Mapping[str, Any]) -> int:
    """Of this machine."""
    kind = CUDAAccelerator if is_on_card(trainer) else CPUAccelerator
    wanted = trainer["devices"]
    if wanted == "auto" or (kind is CPUAccelerator and wanted in (-1, "-1")):
        return kind.auto_device_count()
    try:
        if isinstance(wanted, bool):
            raise TypeError("neither")
        parsed = kind.parse_devices(wanted)
    except (TypeError, ValueError, MisconfigurationException) as error:
        rule = "must be a number of devices, auto or -1 for all of them, or a list of cards"
        remedy = "A run of a sweep has one card, or two with hydra.launcher.engine.jobs_per_gpu=0.5"
        if is_of_srun():
            remedy = "Let each task see all cards of its machine: srun --gpus-per-node, and not --gpus-per-task"
        raise ConfigError("trainer.devices", rule, found=str(wanted), remedy=remedy) from error
    return len(parsed) if isinstance(parsed, list) else int(parsed or 1)


def check_shares(bags: Mapping[str, int], world: int, *, unit: str) -> None:
    """Refuse more processes than train or val has bags for: one without any would let the others wait for ever.

    Of one slice is no batch, and a last one is left out.

    Raises:
        ConfigError: If there are more.
    """
    for part, number in bags.items():
        fewest = 2 if part == "train" and unit == "slice" else 1
        if number < world * fewest:
            rule = f"must give each process at least {fewest} of {part}, which has {number}"
            raise ConfigError("trainer.devices", rule, found=f"{world} processes")


def settings(trainer: Mapping[str, Any], *, steps: int = 0) -> dict[str, Any]:
    """Arguments for Lightning's trainer that depend on the machine: of each ``auto``, and of several devices.

    `steps` are those of one size that training takes: a card tries out algorithms anew for each size of a batch.
    """
    on_card, world = is_on_card(trainer), num_processes(trainer)
    meant = AUTO["card" if on_card else "processor"] | {"benchmark": on_card and steps >= LONG}
    if on_card and not torch.cuda.is_bf16_supported(including_emulation=False):
        meant["precision"] = "32-true"  # half the range of numbers would want its losses scaled
    found = {key: value for key, value in meant.items() if trainer[key] == "auto"}
    if not on_card:
        found["devices"] = _num_devices(trainer)
        if trainer["accelerator"] == "auto":
            found["accelerator"] = "cpu"  # Lightning may find others, on which nothing here is tried
    final = {**trainer, **found}
    for key in ("deterministic", "benchmark"):
        if not isinstance(final[key], bool):
            raise ConfigError(f"trainer.{key}", "must be true, false or auto", found=str(final[key]))
    if final["deterministic"] is True and final["benchmark"] is True:
        rule = "must be false with trainer.deterministic=true: what a card tries to be the fastest differs between runs"
        raise ConfigError("trainer.benchmark", rule, found="true")
    if world > 1:
        # Layers that a learning mode has frozen for now have no gradient.
        found |= {"strategy": "ddp_find_unused_parameters_true", "num_nodes": num_nodes()}
    return found


@contextmanager
def said_in_one_line() -> Iterator[None]:
    """Say what a device cannot do, whichever library found it out.

    Raises:
        OutOfMemoryError: If a card has too little memory.
        TrainingError: If the network has no order of summing that is always the same, or a process that loads ended.
    """
    try:
        yield
    except RuntimeError as error:
        said = _first(error)
        is_without_engine = NO_ENGINE in str(error).lower()
        if EXHAUSTED.search(str(error)) or (is_without_engine and _is_full()):
            remedy = "micro_batches=2 takes half a batch at a time; gradient_checkpointing=true keeps less of it"
            raise OutOfMemoryError("graphics card", f"out of memory ({said})", remedy=remedy) from error
        if is_without_engine:
            rule, remedy = f"cuDNN cannot compute this network ({said})", "Try trainer.precision=32-true"
            raise TrainingError("graphics card", rule, remedy=remedy) from error
        if (has_no_room := NO_ROOM.search(str(error))) or said.startswith(LOST):
            ended = "a process that loads has ended"
            rule = "too little shared memory for processes that load" if has_no_room else ended
            remedy = "docker run --shm-size=8g, or num_workers=0" if has_no_room else "num_workers=0 shows why"
            raise TrainingError("num_workers", rule, found=said, remedy=remedy) from error
        if INEXACT in str(error):
            found, remedy = said.partition(" ")[0], "trainer.deterministic=false goes without"
            raise TrainingError("trainer.deterministic", "cannot be kept", found=found, remedy=remedy) from error
        raise


def _first(error: BaseException) -> str:
    """The first sentence of what PyTorch says, which goes on for a page."""
    return str(error).strip().partition(". ")[0].partition("\n")[0]


def _is_full() -> bool:
    """Whether the card has refused memory to this process, or has hardly any."""
    free, total = torch.cuda.mem_get_info()
    return torch.cuda.memory_stats()["num_ooms"] > 0 or free < NEARLY_FULL * total
