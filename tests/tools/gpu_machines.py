"""Machines with GPUs, as TensorFlow's functions would describe them."""

import dataclasses
import types

import tensorflow as tf

from trainer.distributed import gpus as gpus_lib

DRIVER_TEXT = (
    "NVRM version: NVIDIA UNIX {kind}x86_64 Kernel Module  {version}  "
    "Release Build\nGCC version:  gcc version 12.3.0\n"
)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine with some GPUs of one model."""

    model: str
    compute_capability: tuple
    count: int
    driver: str = "550.54.15"
    kind: str = ""

    @property
    def devices(self):
        return [
            tf.config.PhysicalDevice(f"/physical_device:GPU:{index}", "GPU")
            for index in range(self.count)
        ]


ONE_L4 = Machine("NVIDIA L4", (8, 9), 1)
EIGHT_H100 = Machine(
    "NVIDIA H100 80GB HBM3", (9, 0), 8, "570.86.10", "Open Kernel Module for "
)
TWO_MIG = Machine("NVIDIA A100-SXM4-40GB MIG 3g.20gb", (8, 0), 2)
MACHINES = {"l4": ONE_L4, "h100": EIGHT_H100, "mig": TWO_MIG}


class Strategy:
    """Stands for a `tf.distribute.MirroredStrategy`."""

    def __init__(self, devices, operations):
        self.devices, self.operations = devices, operations
        self.num_replicas_in_sync = len(devices)


def stub(monkeypatch, tmp_path, machine):
    """Makes TensorFlow's functions speak of a machine.

    Returns:
        A namespace of what was asked for: `growing` (devices), `tf32` (bool)
        and `parts` (memory limits in MiB by device).
    """
    asked = types.SimpleNamespace(growing=[], tf32=True, parts={})
    config = tf.config
    version = tmp_path / f"driver-{machine.driver}"
    version.write_text(
        DRIVER_TEXT.format(kind=machine.kind, version=machine.driver)
    )

    def details(device):
        return {
            "device_name": machine.model,
            "compute_capability": machine.compute_capability,
        }

    def listed(kind=None):
        return machine.devices if kind == "GPU" else []

    def split(device, parts):
        asked.parts[device.name] = [part.memory_limit for part in parts]

    for owner, name, function in (
        (config, "list_physical_devices", listed),
        (config, "set_logical_device_configuration", split),
        (config, "get_logical_device_configuration", lambda device: None),
        (config.experimental, "get_device_details", details),
        (
            config.experimental,
            "set_memory_growth",
            lambda device, on: asked.growing.append((device.name, on)),
        ),
        (
            config.experimental,
            "enable_tensor_float_32_execution",
            lambda on: setattr(asked, "tf32", on),
        ),
        (
            config.experimental,
            "tensor_float_32_execution_enabled",
            lambda: asked.tf32,
        ),
        (tf.distribute, "MirroredStrategy", Strategy),
        (
            gpus_lib,
            "_wheel",
            {
                "nvidia-cuda-runtime-cu12": "12.9.79",
                "nvidia-cublas-cu12": "12.9.1.4",
                "nvidia-cudnn-cu12": "9.10.2.21",
                "nvidia-nccl-cu12": "2.27.7",
            }.get,
        ),
    ):
        monkeypatch.setattr(owner, name, function)
    monkeypatch.setattr(
        gpus_lib.describe, "__defaults__", (gpus_lib.os.environ, version)
    )
    return asked
