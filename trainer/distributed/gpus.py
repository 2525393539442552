"""What a session records of its GPUs: all that their digits depend on."""

import contextlib
import os
import pathlib
import re
from importlib import metadata

import tensorflow as tf

from trainer.runtime import gpu_environment

_DRIVER = pathlib.Path("/proc/driver/nvidia/version")
# The wheels that TensorFlow loads, by what they are called here.
_WHEELS = {
    "cublas": "nvidia-cublas-cu12",
    "cudnn": "nvidia-cudnn-cu12",
    "nccl": "nvidia-nccl-cu12",
}


def describe(gpus, replicas, environ=os.environ, driver=_DRIVER):
    """Returns what a session records of its GPUs, JSON values; None of none.

    A version that nothing here tells is None.

    Args:
        gpus: list of the `tf.config.PhysicalDevice` that compute.
        replicas: int, of all machines together.
        environ: a mapping, such as `os.environ`.
        driver: `pathlib.Path` of what the kernel module says of itself.
    """
    if not gpus:
        return None
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    build = tf.sysconfig.get_build_info()
    return {
        # A slice of a GPU (MIG) has its profile in its name.
        "model": _joined(each.get("device_name") for each in details),
        "compute_capability": _joined(
            ".".join(map(str, each.get("compute_capability", ())))
            for each in details
        ),
        "count": len(gpus),
        "replicas": replicas,
        "driver": driver_version(driver),
        "cuda": _wheel("nvidia-cuda-runtime-cu12") or build.get("cuda_version"),
        **{
            name: _wheel(wheel) or build.get(f"{name}_version")
            for name, wheel in _WHEELS.items()
        },
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "xla_autotuning": gpu_environment.autotuning(environ),
        "nccl_algo": environ.get("NCCL_ALGO"),
        "cublas_workspace": environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def driver_version(path=_DRIVER):
    """Returns the version of the NVIDIA driver, str; None where none is.

    Args:
        path: `pathlib.Path` of what the kernel module says of itself.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    # "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..."
    found = re.search(r"Kernel Module\D*?(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def uses_tf32(config):
    """Whether a job rounds the factors of its products to TensorFloat-32.

    That has 10 bits of mantissa in place of 23, and TensorFlow switches it on
    where it is not told otherwise.
    https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution

    Args:
        config: a `TrainConfig`.
    """
    if config.tf32 == "auto":
        return not config.deterministic
    return config.tf32 == "on"


@contextlib.contextmanager
def full_float32():
    """Computes without TensorFloat-32 in the block, where there is a GPU."""
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    if not allowed or not tf.config.list_physical_devices("GPU"):
        yield
        return
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def _joined(names):
    """Returns the different names in their order, as one text."""
    return " and ".join(dict.fromkeys(name or "unknown" for name in names))


def _wheel(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
