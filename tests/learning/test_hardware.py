import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.rank_zero import rank_zero_info

from fistula.errors import ConfigError, OutOfMemoryError, TrainingError
from fistula.learning.callbacks import silence_lightning
from fistula.learning.training import hardware
from fistula.learning.training.hardware import (
    LONG,
    SyncedNorms,
    auto_workers,
    check_shares,
    device_of,
    num_processes,
    plugins,
    prepare_card,
    said_in_one_line,
    settings,
    with_room,
)

AUTO = {"accelerator": "cpu", "devices": 1, "precision": "auto", "deterministic": "auto", "benchmark": "auto"}


@pytest.mark.parametrize(("devices", "number"), [(1, 1), (3, 3), ("4", 4), ("auto", 1), (-1, 1), ("-1", 1)])
def test_one_process_a_device_on_a_processor(devices, number):
    trainer = AUTO | {"devices": devices}
    assert num_processes(trainer) == number
    built = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, **settings(trainer) | {"strategy": "auto"}
    )
    assert built.num_devices == number


@pytest.fixture
def four_cards(monkeypatch):
    monkeypatch.setattr("pytorch_lightning.accelerators.CUDAAccelerator.is_available", lambda: True)
    for module in ("pytorch_lightning.accelerators.cuda", "lightning_fabric.accelerators.cuda"):
        monkeypatch.setattr(f"{module}.num_cuda_devices", lambda: 4)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._get_all_visible_cuda_devices", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.mark.parametrize(
    ("devices", "number"), [(1, 1), (3, 3), ("2", 2), ([0, 2], 2), ("0,3", 2), ("auto", 4), (-1, 4), ("-1", 4)]
)
def test_one_process_a_card(four_cards, devices, number):
    for accelerator in ("auto", "gpu"):
        assert num_processes(AUTO | {"accelerator": accelerator, "devices": devices}) == number
    assert num_processes(AUTO | {"devices": 1}) == 1  # asked for the processor


def test_a_processor_is_exact_and_a_card_fast_unless_told_otherwise(four_cards, monkeypatch):
    card = AUTO | {"accelerator": "auto"}
    exact = {"precision": "32-true", "deterministic": True, "benchmark": False}
    assert settings(AUTO) == exact | {"devices": 1}
    assert settings(card) == {"precision": "bf16-mixed", "deterministic": False, "benchmark": False}
    assert settings(card, steps=LONG)["benchmark"] is True
    assert settings(AUTO, steps=LONG)["benchmark"] is False
    assert settings(card | exact) == {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert settings(card)["precision"] == "32-true"


def test_machines_that_no_srun_has_started_are_not_waited_for():
    rule = r"trainer\.num_nodes: must be left out: it follows from srun, and is 1 here, found 2\. Start the run"
    with pytest.raises(ConfigError, match=rule):
        num_processes(AUTO | {"num_nodes": 2})
    assert num_processes(AUTO | {"num_nodes": 1}) == 1


def test_without_a_card_auto_is_the_processor_and_nothing_else_that_lightning_may_find():
    assert settings(AUTO | {"accelerator": "auto"})["accelerator"] == "cpu"


def test_the_tasks_of_two_machines_are_counted_and_each_has_its_devices(four_cards, monkeypatch):
    trainer = AUTO | {"accelerator": "gpu", "devices": 4}
    assert num_processes(trainer) == 4
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)")  # all that srun --ntasks=8 sets
    assert num_processes(trainer) == 8
    assert os.environ["SLURM_NTASKS_PER_NODE"] == "4"  # for Lightning
    assert settings(trainer)["num_nodes"] == 2
    assert settings(AUTO | {"devices": 4})["devices"] == 4
    rule = r"trainer\.devices: must be the 4 tasks that srun starts on each of 2 machines, found 2\. Give srun"
    with pytest.raises(ConfigError, match=rule):
        num_processes(trainer | {"devices": 2})
    for module in ("pytorch_lightning.accelerators.cuda", "lightning_fabric.accelerators.cuda"):
        monkeypatch.setattr(f"{module}.num_cuda_devices", lambda: 1)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._get_all_visible_cuda_devices", lambda: [0])
    with pytest.raises(ConfigError, match=r"found 4\. Let each task see all cards of its machine: srun --gpus"):
        num_processes(trainer)


@pytest.mark.parametrize(
    ("devices", "rank", "card"),
    [("auto", "2", 2), (2, "1", 1), ([1, 3], "1", 3), (1, None, 0), ([3], None, 3), (2, None, 0)],
)
def test_each_process_begins_on_its_own_card(four_cards, monkeypatch, devices, rank, card):
    """What PyTorch asks of a card while a run is built would be asked of the first one by all."""
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    prepare_card(AUTO | {"accelerator": "gpu", "devices": devices})
    prepare_card(AUTO | {"devices": 2})  # the processor
    assert taken == [card]


def test_a_card_that_cannot_be_used_is_one_line_and_no_reason_to_train_without_it(four_cards, monkeypatch):
    """NVML counts it, and so do PyTorch's own `device_count` and Lightning."""

    def refuse(card):
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040). Please update it")

    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    rule = r"^trainer: cannot use a GPU here, found The NVIDIA driver .* 12040\)\. Update its driver"
    with pytest.raises(ConfigError, match=rule):
        prepare_card(AUTO | {"accelerator": "auto"})
    prepare_card(AUTO)


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_card_that_is_asked_for_and_not_there_is_one_line_with_a_remedy(monkeypatch, accelerator):
    monkeypatch.setattr("pytorch_lightning.accelerators.CUDAAccelerator.is_available", lambda: False)
    for module in ("pytorch_lightning.accelerators.cuda", "lightning_fabric.accelerators.cuda"):
        monkeypatch.setattr(f"{module}.num_cuda_devices", lambda: 0)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda._get_all_visible_cuda_devices", list)
    with pytest.raises(ConfigError, match=r"^trainer: cannot use a GPU here, found .*; or trainer=cpu"):
        prepare_card(AUTO | {"accelerator": accelerator})


@pytest.mark.parametrize("own", [None, ":16:8"])
def test_a_run_that_has_to_be_exact_may_follow_one_that_need_not(monkeypatch, own):
    """PyTorch looks at the variable once, at the first product of matrices on a card, whatever the run is like."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if own:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", own)
    prepare_card(AUTO)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == (own or ":4096:8")


def test_true_is_no_number_of_devices(four_cards):
    for accelerator in ("cpu", "gpu"):
        with pytest.raises(ConfigError, match=r"trainer\.devices: must be a number of devices.*, found True"):
            num_processes(AUTO | {"accelerator": accelerator, "devices": True})


def test_a_process_without_a_patient_of_its_own_is_refused():
    check_shares({"train": 4, "val": 4}, 4, unit="patient")
    with pytest.raises(ConfigError, match=r"must give each process at least 1 of val, which has 4, found 5 processes"):
        check_shares({"train": 20, "val": 4}, 5, unit="patient")
    # A batch of one slice is left out, and a process would have no other.
    check_shares({"train": 8, "val": 4}, 4, unit="slice")
    with pytest.raises(ConfigError, match=r"at least 2 of train, which has 7, found 4 processes"):
        check_shares({"train": 7, "val": 4}, 4, unit="slice")


def test_images_are_loaded_by_as_many_processes_as_the_share_of_cores_pays_for(monkeypatch):
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 64)
    assert auto_workers(on_card=True, augments=True) == 16
    assert auto_workers(on_card=False, augments=True) == auto_workers(on_card=True, augments=False) == 0
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")  # which not every cluster binds a task to
    assert auto_workers(on_card=True, augments=True) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # of a slot
    assert auto_workers(on_card=True, augments=True) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")  # a number for each level of nesting
    assert auto_workers(on_card=True, augments=True) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")  # which OpenMP takes for none
    assert auto_workers(on_card=True, augments=True) == 16


def test_processes_that_load_are_as_many_as_shared_memory_has_room_for(monkeypatch):
    """Docker gives 64 MB; a process that cannot hand over a batch says so, and the training waits for it for ever."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=64_000_000))
    monkeypatch.setattr(hardware, "SHARED", Path("/"))
    assert with_room(8, batch_bytes=2_000_000, is_auto=True) == 8
    assert with_room(8, batch_bytes=6_000_000, is_auto=True) == 3
    assert with_room(8, batch_bytes=60_000_000, is_auto=True) == with_room(0, batch_bytes=1, is_auto=False) == 0
    rule = r"num_workers: needs 72 MB of shared memory, of which 64 are free, found 4\. docker run"
    with pytest.raises(ConfigError, match=rule):
        with_room(4, batch_bytes=6_000_000, is_auto=False)
    monkeypatch.setattr(hardware, "SHARED", Path("/nowhere"))
    assert with_room(4, batch_bytes=60_000_000, is_auto=False) == 4


def test_lightning_says_nothing_of_hardware_at_every_run(caplog):
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.INFO)  # as its import does
    silence_lightning()
    rank_zero_info("You are using a CUDA device that has Tensor Cores.")
    logging.getLogger("lightning_fabric.utilities.distributed").info("Initializing distributed")
    assert caplog.text == ""


def test_batch_norm_is_over_all_cards_of_a_run_and_frozen_layers_stop_no_process(four_cards):
    several = AUTO | {"accelerator": "gpu", "devices": 2}
    assert settings(several)["strategy"] == "ddp_find_unused_parameters_true"
    assert [type(one).__name__ for one in plugins(several)] == ["LightningEnvironment", "SyncedNorms"]
    assert len(plugins(AUTO | {"devices": 2})) == 1  # PyTorch has it for cards alone
    assert len(plugins(several | {"devices": 1})) == 1


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_resnet", "test_byobnet", "densenet121"])
def test_a_network_with_its_batch_norms_over_all_cards_is_the_same_network(architecture):
    network = timm.create_model(architecture, num_classes=2).eval()
    image = torch.rand(2, 3, 64, 64)
    before, norms = network(image), count(network, torch.nn.BatchNorm2d)
    synced = SyncedNorms()
    network = synced.apply(network)
    assert norms == count(network, torch.nn.SyncBatchNorm) > 0
    torch.testing.assert_close(network(image), before, rtol=0, atol=0)
    torch.testing.assert_close(synced.revert(network)(image), before, rtol=0, atol=0)


def count(network, kind):
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1 GiB free",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "NCCL error\nLast error:\nCuda failure 2 'out of memory'",
    ],
)
def test_a_card_that_is_full_is_one_line_whoever_finds_it_out(said):
    with (
        pytest.raises(
            OutOfMemoryError, match=r"^graphics card: out of memory \([^.\n]*\)\. micro_batches=2 takes half"
        ),
        said_in_one_line(),
    ):
        raise RuntimeError(said)
    rule = r"^trainer\.deterministic: cannot be kept, found upsample_bilinear2d_backward_out_cuda\. trainer\.determ"
    with pytest.raises(TrainingError, match=rule), said_in_one_line():
        raise RuntimeError(
            "upsample_bilinear2d_backward_out_cuda does not have a deterministic implementation, but ..."
        )
    with pytest.raises(RuntimeError, match=r"^$"), said_in_one_line():
        raise RuntimeError
    rule = r"^num_workers: too little shared memory for processes that load, found .*\. docker run --shm-size=8g"
    with pytest.raises(TrainingError, match=rule), said_in_one_line():
        raise RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit."
        )
    with pytest.raises(TrainingError, match=rule), said_in_one_line():
        raise RuntimeError("unable to write to file </torch_12_34_5>: No space left on device (28)")
    for how in ("(pid 7) is killed by signal: Killed. ", "(pid(s) 7) exited unexpectedly"):
        rule = r"^num_workers: a process that loads has ended, found Data"
        with pytest.raises(TrainingError, match=rule), said_in_one_line():
            raise RuntimeError(f"DataLoader worker {how}")
    with pytest.raises(RuntimeError, match="shapes"), said_in_one_line():
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(("refused", "free"), [(0, 40), (1, 40), (0, 1)])
def test_what_cudnn_cannot_compute_is_out_of_memory_only_where_memory_was_refused(monkeypatch, refused, free):
    """PyTorch says the same of a layer in bfloat16 that a card cannot compute, and a smaller batch is no help there."""
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"num_ooms": refused})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80))
    is_full = refused or free < 2
    kind, rule = (
        (OutOfMemoryError, "out of memory") if is_full else (TrainingError, "cuDNN cannot compute this network")
    )
    with pytest.raises(kind, match=rf"^graphics card: {rule} \(GET was unable") as raised, said_in_one_line():
        raise RuntimeError("GET was unable to find an engine to execute this computation")
    assert type(raised.value) is kind


def test_auto_is_a_card_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["graphics", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(ConfigError, match=rf"device: must be auto, cpu, or a device of this machine, found {name}"):
        device_of(name)
