import pytest
import torch
from pytorch_lightning import Trainer

from fistula.errors import ConfigError
from fistula.learning.training import hardware
from fistula.learning.training.hardware import check_shares, device_of, num_processes, settings

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
    assert settings(card) == {"precision": "bf16-mixed", "deterministic": False, "benchmark": True}
    assert settings(card | exact) == {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert settings(card)["precision"] == "32-true"


def test_without_a_card_auto_is_the_processor_and_nothing_else_that_lightning_may_find():
    assert settings(AUTO | {"accelerator": "auto"})["accelerator"] == "cpu"


def test_the_tasks_of_two_machines_are_counted_and_each_has_its_devices(four_cards, monkeypatch):
    trainer = AUTO | {"accelerator": "gpu", "devices": 4}
    assert num_processes(trainer) == 4
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert num_processes(trainer) == 8
    assert settings(trainer)["num_nodes"] == 2
    assert settings(AUTO | {"devices": 4})["devices"] == 4
    rule = r"trainer\.devices: must be the tasks that srun starts on each of 2 machines, found 2\. Give srun"
    with pytest.raises(ConfigError, match=rule):
        num_processes(trainer | {"devices": 2})


def test_a_process_without_a_patient_of_its_own_is_refused():
    check_shares({"train": 20, "val": 4}, 4)
    with pytest.raises(ConfigError, match=r"must give each process something of val, which has 4, found 5 processes"):
        check_shares({"train": 20, "val": 4}, 5)


def test_batch_norm_is_over_all_cards_of_a_run_and_frozen_layers_stop_no_process(four_cards):
    several = settings(AUTO | {"accelerator": "gpu", "devices": 2})
    assert several["sync_batchnorm"] is True
    assert several["strategy"] == "ddp_find_unused_parameters_true"
    assert settings(AUTO | {"devices": 2})["sync_batchnorm"] is False  # PyTorch has it for cards alone
    assert hardware.AUTO["card"]["benchmark"]


def test_auto_is_a_card_where_there_is_one():
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_of("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["graphics", "cuda:99", ""])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(ConfigError, match=rf"device: must be auto, cpu, or a device of this machine, found {name}"):
        device_of(name)
