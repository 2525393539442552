"""What nvidia-smi and the PCI bus say of the GPUs of this machine."""

import dataclasses
import os
import pathlib
import shutil
import subprocess

from trainer.errors import TrainerError

_FIELDS = ("index", "name", "memory.total", "memory.free", "mig.mode.current")
_SECONDS = 20
_PCI = pathlib.Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU, as nvidia-smi sees it.

    Attributes:
        index: int.
        name: str.
        total_bytes, free_bytes: int, of its memory; None where it is not said.
        is_split: bool, whether it is cut into instances (MIG).
    """

    index: int
    name: str
    total_bytes: int | None
    free_bytes: int | None
    is_split: bool


def visible(environ=os.environ):
    """Returns the `Gpu` of this machine that TensorFlow may see, a list.

    Args:
        environ: a mapping, such as `os.environ`.

    Returns:
        None where there is no nvidia-smi, or where CUDA_VISIBLE_DEVICES names
        GPUs otherwise than by their numbers.

    Raises:
        TrainerError: nvidia-smi fails, or does not answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    found = _parsed(_asked(program))
    chosen = environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return found
    numbers = [part.strip() for part in chosen.split(",")]
    if not all(number.isdecimal() for number in numbers):
        return None
    return [gpu for gpu in found if str(gpu.index) in numbers]


def has_nvidia_device(folder=_PCI):
    """Whether the PCI bus has a display or compute device of NVIDIA's.

    Args:
        folder: `pathlib.Path` of the devices.
    """
    for device in folder.glob("*"):
        try:
            vendor, kind = (
                (device / name).read_text().strip()
                for name in ("vendor", "class")
            )
        except OSError:  # It was taken out meanwhile, or says nothing.
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _asked(program):
    try:
        done = subprocess.run(  # noqa: S603 - nothing in it is from outside.
            [
                program,
                f"--query-gpu={','.join(_FIELDS)}",
                "--format=csv,noheader,nounits",
            ],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainerError(
            f"nvidia-smi gave no answer in {_SECONDS} seconds; a GPU hangs: "
            "restart the machine, or take another."
        ) from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise TrainerError(
            f"nvidia-smi fails ({said[-1] if said else 'it says nothing'}); "
            "mend NVIDIA's driver, or take another machine."
        )
    return done.stdout


def _parsed(text):
    gpus = []
    for line in text.splitlines():
        index, name, total, free, mig = (
            part.strip() for part in line.split(",")
        )
        gpus.append(
            Gpu(int(index), name, _bytes(total), _bytes(free), mig == "Enabled")
        )
    return gpus


def _bytes(mebibytes):
    return int(mebibytes) << 20 if mebibytes.isdecimal() else None
