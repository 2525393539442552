"""Checks of what is installed: Python, TensorFlow, and the GPU's driver."""

import platform

import keras
import tensorflow as tf

from trainer.distributed import gpus
from trainer.doctor import rows, smi
from trainer.runtime import gpu_environment

_PYTHON = ((3, 10), (3, 14))
_TENSORFLOW = (2, 21)
# Of CUDA 12, in any minor version.
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
_LEAST_DRIVER = (525,)
# That of CUDA 12.5. From compute capability 9.0 on TensorFlow's kernels are
# PTX, most of it of ISA 8.5 (".version" in libtensorflow_cc.so.2 of 2.21),
# which wants a driver of CUDA 12.5 or later:
# https://docs.nvidia.com/cuda/parallel-thread-execution/#release-notes
# https://docs.nvidia.com/cuda/archive/12.5.1/cuda-toolkit-release-notes/
# NVIDIA's compatibility package makes an older one do, which nothing here can
# see: whether the GPU computes is for `accelerators.multiplies` to say.
_PTX_DRIVER, _PTX_CAPABILITY = (555,), (9, 0)


def python(case):
    """Whether this Python is one that the package admits."""
    del case
    version = platform.python_version()
    first, after = _PYTHON
    if first <= _numbers(version)[:2] < after:
        return rows.ok(version)
    return rows.failure(
        f"{version}, but vae-trainer wants 3.{first[1]} to 3.{after[1] - 1}.",
        "Make a virtual environment with one of these.",
    )


def tensorflow(case):
    """Whether this TensorFlow is one that the package admits."""
    del case
    version = tf.__version__
    if _numbers(version)[:2] < _TENSORFLOW:
        return rows.failure(
            f"{version}, but vae-trainer wants 2.21 or later.",
            'Install it: pip install --upgrade "tensorflow>=2.21".',
        )
    build = tf.sysconfig.get_build_info()
    cuda = (
        f"for CUDA {build.get('cuda_version')} and cuDNN "
        f"{build.get('cudnn_version')}"
        if build.get("is_cuda_build")
        else "without CUDA"
    )
    return rows.ok(f"{version} {cuda}, Keras {keras.__version__}")


def driver(case):
    """Whether the driver is recent enough for TensorFlow's CUDA."""
    del case
    if not gpu_environment.has_gpu():
        if smi.has_nvidia_device():
            return rows.failure(
                "There is an NVIDIA device, but no driver, or the GPUs are "
                "hidden (CUDA_VISIBLE_DEVICES).",
                "Install NVIDIA's driver, start the container with --gpus "
                "all, or unset CUDA_VISIBLE_DEVICES.",
            )
        return rows.ok("none, and no NVIDIA device: the CPU computes")
    version = gpus.driver_version()
    if version is None:
        return rows.warning(
            "An NVIDIA driver is there, but it does not say its version.",
            "Compare what nvidia-smi says with 525, the least for CUDA 12.",
        )
    if _numbers(version) < _LEAST_DRIVER:
        return rows.failure(
            f"{version} is too old for CUDA 12, which wants 525 or later.",
            "Update NVIDIA's driver, or take a newer image of the machine.",
        )
    if _numbers(version) < _PTX_DRIVER and _newest() >= _PTX_CAPABILITY:
        return rows.warning(
            f"{version} alone cannot compile TensorFlow's kernels for this "
            "GPU, which wants the driver of CUDA 12.5: 555 or later.",
            "Update NVIDIA's driver, or take a newer image of the machine; or "
            "see below whether the GPU multiplies, with NVIDIA's package "
            "cuda-compat.",
        )
    return rows.ok(version)


def _newest():
    """Returns the highest compute capability of the GPUs, a tuple of int."""
    return max(
        (
            tuple(details.get("compute_capability", (0, 0)))
            for details in map(
                tf.config.experimental.get_device_details,
                tf.config.list_physical_devices("GPU"),
            )
        ),
        default=(0, 0),
    )


def _numbers(version):
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
