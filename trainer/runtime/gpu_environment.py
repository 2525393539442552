"""What a GPU's libraries read from the environment, set before they load.

On a machine without an NVIDIA GPU nothing is set.
"""

import os
import pathlib

from trainer import places

# The kernel module's, of which a sandbox may show the device alone, and that of
# Windows' subsystem.
_DRIVER_FILES = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/dxg",
)
_LEVEL = "--xla_gpu_autotune_level"
# Autotuning that was done before, and kept:
# https://openxla.org/xla/persisted_autotuning
_KEPT = "--xla_gpu_load_autotune_results_from"


def has_gpu(environ=os.environ, driver_files=_DRIVER_FILES):
    """Whether there is a GPU's driver, and the user does not hide the GPUs.

    Args:
        environ: a mapping, such as `os.environ`.
        driver_files: paths, one of which is there where a driver is.
    """
    # "An empty string: no GPU is visible"; what follows an index that cannot
    # be is not visible either.
    # https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (
        not visible.strip() or visible.strip().startswith("-1")
    ):
        return False
    return any(map(os.path.exists, driver_files))


def prepare(config, environ=os.environ, driver_files=_DRIVER_FILES):
    """Sets what makes a GPU compute the same in another process.

    What the user has set stays. Call it before TensorFlow is imported: its
    libraries read these variables once, at their first use.

    Args:
        config: a `TrainConfig`.
        environ: a mapping, such as `os.environ`, which is changed.
        driver_files: as of `has_gpu`.
    """
    if not has_gpu(environ, driver_files):
        return
    if folder := _kernel_cache(environ):
        environ.setdefault("CUDA_CACHE_PATH", str(folder))
    if not config.deterministic:
        return
    # With several streams cuBLAS may choose another implementation, unless
    # each has a workspace of a fixed size (24 MiB together):
    # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # NCCL chooses by the size of a message and by what connects the GPUs, and
    # another algorithm adds in another order. Megatron's deterministic mode
    # admits but a few for the same reason.
    # https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html#nccl-algo
    environ.setdefault("NCCL_ALGO", "Ring")
    environ["XLA_FLAGS"] = _without_autotuning(environ.get("XLA_FLAGS", ""))


def _without_autotuning(flags):
    """Returns XLA's flags; without autotuning, unless they speak of it.

    XLA measures which kernel is the fastest, so that two processes may choose
    two: https://github.com/openxla/xla/blob/main/docs/determinism.md
    """
    # What does not begin with a dash is the name of a file of flags.
    is_file = bool(flags.strip()) and not flags.strip().startswith("-")
    if is_file or _LEVEL in flags or _KEPT in flags:
        return flags
    return f"{flags} {_LEVEL}=0".strip()


def autotuning(environ=os.environ):
    """Returns what XLA's flags say of autotuning, for the record of a job.

    Args:
        environ: a mapping, such as `os.environ`.

    Returns:
        int, its level (0: off); `"kept"` where results of before are used;
        `"file"` where the flags are in a file; None where nothing is said.
    """
    flags = environ.get("XLA_FLAGS", "").split()
    if flags and not flags[0].startswith("-"):
        return "file"
    if any(flag.startswith(_KEPT) for flag in flags):
        return "kept"
    levels = [
        flag.partition("=")[2] for flag in flags if flag.startswith(_LEVEL)
    ]
    # XLA takes the last one.
    return int(levels[-1]) if levels and levels[-1].isdecimal() else None


def _kernel_cache(environ):
    """Returns where to keep kernels that the driver compiles, or None.

    By default that is ~/.nv/ComputeCache. TensorFlow has none of its kernels
    compiled for compute capability 9.0, so an H100 would compile all of them
    at each start where the home folder cannot be written to.
    https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html
    """
    try:
        home = pathlib.Path(environ.get("HOME") or pathlib.Path.home())
    except RuntimeError:  # There is no home at all.
        home = None
    if home and os.access(home, os.W_OK):
        return None
    if not environ.get("XDG_CACHE_HOME") and not home:
        return None
    folder = places.cache_folder() / "cuda"
    around = folder
    while not around.exists():
        around = around.parent
    return folder if os.access(around, os.W_OK) else None
