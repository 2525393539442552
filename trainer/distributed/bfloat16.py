"""Whether this machine computes in bfloat16 faster than in float32."""

import pathlib
import re

import tensorflow as tf

_CPUINFO = pathlib.Path("/proc/cpuinfo")
# What Intel, AMD and Arm call such instructions.
_CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
# What makes them fast on an Intel. A Xeon with AVX512_BF16 alone was slower in
# bfloat16, and an AMD EPYC with it was faster: docs/speed.md.
_INTEL, _NEEDED_ON_INTEL = "GenuineIntel", "amx_bf16"
# Ampere's.
_COMPUTE_CAPABILITY = (8, 0)


def hardware(gpus=None, cpuinfo=_CPUINFO):
    """Returns what computes in bfloat16, or None if nothing here does.

    Args:
        gpus: list of the `tf.config.PhysicalDevice` that compute; None for
            all. Where there are none, it is the CPU.
        cpuinfo: `pathlib.Path` of what Linux says of the CPU.
    """
    if gpus is None:
        gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        for gpu in gpus:
            details = tf.config.experimental.get_device_details(gpu)
            if details.get("compute_capability", (0, 0)) < _COMPUTE_CAPABILITY:
                return None
        return details.get("device_name", "this GPU")
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:  # No Linux, which alone says it there.
        return None
    known = _words(text, "flags|Features")
    if _INTEL in _words(text, "vendor_id") and _NEEDED_ON_INTEL not in known:
        return None
    found = [name.upper() for name in _CPU_FLAGS if name in known]
    return f"this CPU ({', '.join(found)})" if found else None


def _words(text, name):
    """Returns the words of the first line of `/proc/cpuinfo` with a name."""
    line = re.search(rf"^(?:{name})\s*:(.*)$", text, re.MULTILINE)
    return set(line[1].split()) if line else set()
