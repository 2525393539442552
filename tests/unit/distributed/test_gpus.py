"""What is set up and recorded of GPUs, of which none is here."""

import os

import pytest
import tensorflow as tf

from tests.tools.commands import run_command
from tests.tools.gpu_machines import (
    EIGHT_H100,
    MACHINES,
    ONE_L4,
    TWO_MIG,
    stub,
)
from trainer.config import TrainConfig
from trainer.distributed import devices, gpus
from trainer.errors import ConfigError, JobDirError
from trainer.model import trained

CONFIG = TrainConfig(deterministic=False, batch_size=128)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No variables of another test."""
    for name in ("NCCL_ALGO", "CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "as it was")


def test_a_cpu_has_nothing_to_record():
    assert gpus.describe([], 4) is None
    assert gpus._wheel("no-such-wheel") is None
    assert gpus.driver_version() is None or os.path.exists("/proc/driver")


@pytest.mark.parametrize("name", MACHINES)
def test_the_gpus_of_a_machine_are_recorded(monkeypatch, tmp_path, name):
    machine = MACHINES[name]
    asked = stub(monkeypatch, tmp_path, machine)
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_autotune_level=0")
    cluster = devices.connect(CONFIG)
    assert cluster.describe().startswith(f"{machine.count} GPU replica")
    assert cluster.gpu == {
        "model": machine.model,
        "compute_capability": ".".join(map(str, machine.compute_capability)),
        "count": machine.count,
        "replicas": machine.count,
        "driver": machine.driver,
        "cuda": "12.9.79",
        "cublas": "12.9.1.4",
        "cudnn": "9.10.2.21",
        "nccl": "2.27.7",
        "tf32": True,
        "xla_autotuning": 0,
        "nccl_algo": "Ring",
        "cublas_workspace": None,
    }
    assert asked.growing == [(device.name, True) for device in machine.devices]
    assert asked.parts == {}


@pytest.mark.parametrize(
    ("tf32", "deterministic", "expected"),
    [
        ("auto", True, False),
        ("auto", False, True),
        ("on", True, True),
        ("off", False, False),
    ],
)
def test_tf32_follows_the_flag(
    monkeypatch, tmp_path, tf32, deterministic, expected
):
    asked = stub(monkeypatch, tmp_path, ONE_L4)
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: None
    )
    config = TrainConfig(tf32=tf32, deterministic=deterministic)
    assert devices.connect(config).gpu["tf32"] is expected
    assert asked.tf32 is expected


def test_likelihoods_are_computed_without_tf32(monkeypatch, tmp_path):
    asked = stub(monkeypatch, tmp_path, ONE_L4)
    with gpus.full_float32():
        assert asked.tf32 is False
    assert asked.tf32 is True
    with pytest.raises(KeyError), gpus.full_float32():
        raise KeyError
    assert asked.tf32 is True


def test_vae_evaluate_computes_without_tf32(monkeypatch, tmp_path):
    asked = stub(monkeypatch, tmp_path, ONE_L4)

    def opened(*args):
        raise JobDirError(f"TF32 is {asked.tf32}")

    monkeypatch.setattr(trained, "open_trained", opened)
    assert run_command("vae-evaluate").err == "ERROR: TF32 is False\n"
    assert asked.tf32 is True


def test_a_cpu_is_not_told_of_tf32(monkeypatch):
    def refuse(on):
        raise AssertionError

    monkeypatch.setattr(
        tf.config.experimental, "enable_tensor_float_32_execution", refuse
    )
    with gpus.full_float32():
        devices.connect(CONFIG)


def test_one_gpu_is_split_with_a_limit_of_memory(monkeypatch, tmp_path):
    asked = stub(monkeypatch, tmp_path, ONE_L4)
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    config = TrainConfig(
        deterministic=False, virtual_devices=4, gpu_memory_limit_gib=6.0
    )
    cluster = devices.connect(config)
    assert asked.parts == {"/physical_device:GPU:0": [1536] * 4}
    assert asked.growing == []
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert cluster.strategy.devices == ["GPU:0", "GPU:1", "GPU:2", "GPU:3"]
    assert (cluster.gpu["count"], cluster.gpu["replicas"]) == (1, 4)


def test_each_gpu_keeps_to_the_limit(monkeypatch, tmp_path):
    asked = stub(monkeypatch, tmp_path, EIGHT_H100)
    devices.connect(TrainConfig(deterministic=False, gpu_memory_limit_gib=2.5))
    assert asked.parts == {
        f"/physical_device:GPU:{index}": [2560] for index in range(8)
    }


@pytest.mark.parametrize(
    ("machine", "settings", "message"),
    [
        (
            TWO_MIG,
            {"virtual_devices": 2, "gpu_memory_limit_gib": 2.0},
            "splits one device, but this machine has 2 GPUs",
        ),
        (ONE_L4, {"virtual_devices": 2}, "give --gpu_memory_limit_gib"),
    ],
)
def test_what_cannot_be_split_is_refused(
    monkeypatch, tmp_path, machine, settings, message
):
    stub(monkeypatch, tmp_path, machine)
    with pytest.raises(ConfigError, match=message):
        devices.connect(TrainConfig(deterministic=False, **settings))


def test_what_came_too_late_is_said(monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path, ONE_L4)

    def started(device, parts):
        raise RuntimeError("Virtual devices cannot be modified")

    monkeypatch.setattr(tf.config, "set_logical_device_configuration", started)
    with pytest.raises(ConfigError, match="came too late"):
        devices.connect(
            TrainConfig(deterministic=False, gpu_memory_limit_gib=1.0)
        )


def test_a_driver_that_says_something_else_is_unknown(tmp_path):
    assert gpus.driver_version(tmp_path) is None
    (tmp_path / "version").write_text("NVRM version: none\n")
    assert gpus.driver_version(tmp_path / "version") is None


def test_gpus_of_two_models_are_both_named(monkeypatch, tmp_path):
    stub(monkeypatch, tmp_path, TWO_MIG)
    names = iter(("NVIDIA L4", "Tesla T4"))
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda device: {"device_name": next(names)},
    )
    found = gpus.describe(TWO_MIG.devices, 2)
    assert found["model"] == "NVIDIA L4 and Tesla T4"
    assert found["compute_capability"] == "unknown"
