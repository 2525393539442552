"""Which machine types and GPUs exist together in Vertex AI training.

From Google's table, as it was when it announced the end of P100 for 15
September 2026. Left out: P100; GB200, whose machines have ARM processors;
TPUs, which the trainer does not use.
"""

import difflib
import re

from trainer.errors import ConfigError

SOURCE = (
    "https://docs.cloud.google.com/vertex-ai/docs/training/configure-compute"
)
DATE = "mid-2026"
_MOST_NEAREST, _LEAST_LIKENESS = 3, 0.5

# GPUs that come with their machine: {GPU: {GPUs per machine: machine types}},
# the machine type to choose first.
_WITH_MACHINE = {
    "NVIDIA_L4": {
        1: (
            "g2-standard-8",
            "g2-standard-4",
            "g2-standard-12",
            "g2-standard-16",
            "g2-standard-32",
        ),
        2: ("g2-standard-24",),
        4: ("g2-standard-48",),
        8: ("g2-standard-96",),
    },
    "NVIDIA_RTX_PRO_6000": {
        1: ("g4-standard-48",),
        2: ("g4-standard-96",),
        4: ("g4-standard-192",),
        8: ("g4-standard-384",),
    },
    "NVIDIA_TESLA_A100": {
        1: ("a2-highgpu-1g",),
        2: ("a2-highgpu-2g",),
        4: ("a2-highgpu-4g",),
        8: ("a2-highgpu-8g",),
        16: ("a2-megagpu-16g",),
    },
    "NVIDIA_A100_80GB": {
        1: ("a2-ultragpu-1g",),
        2: ("a2-ultragpu-2g",),
        4: ("a2-ultragpu-4g",),
        8: ("a2-ultragpu-8g",),
    },
    "NVIDIA_H100_80GB": {
        1: ("a3-highgpu-1g",),
        2: ("a3-highgpu-2g",),
        4: ("a3-highgpu-4g",),
        8: ("a3-highgpu-8g",),
    },
    "NVIDIA_H100_MEGA_80GB": {8: ("a3-megagpu-8g",)},
    "NVIDIA_H200_141GB": {8: ("a3-ultragpu-8g",)},
    "NVIDIA_B200": {8: ("a4-highgpu-8g",)},
}

# GPUs that are attached to an N1 machine: {GPU: {GPUs: the most vCPUs}}.
_ON_N1 = {
    "NVIDIA_TESLA_T4": {1: 16, 2: 32, 4: 96},
    "NVIDIA_TESLA_P4": {1: 16, 2: 32, 4: 96},
    "NVIDIA_TESLA_V100": {1: 8, 2: 16, 4: 32, 8: 96},
}

# {family: vCPUs}; a machine type is FAMILY-VCPUS.
_N1 = {
    "n1-standard": (4, 8, 16, 32, 64, 96),
    "n1-highmem": (2, 4, 8, 16, 32, 64, 96),
    "n1-highcpu": (16, 32, 64, 96),
}
_WITHOUT_GPU = {
    "n2-standard": (8, 4, 16, 32, 48, 64, 80),
    "n2-highmem": (2, 4, 8, 16, 32, 48, 64, 80),
    "n2-highcpu": (16, 32, 48, 64, 80),
    "n4-standard": (2, 4, 8, 16, 32, 48, 64, 80),
    "n4-highmem": (2, 4, 8, 16, 32, 48, 64, 80),
    "n4-highcpu": (2, 4, 8, 16, 32, 48, 64, 80),
    "e2-standard": (4, 8, 16, 32),
    "e2-highmem": (2, 4, 8, 16),
    "e2-highcpu": (16, 32),
    "c2-standard": (4, 8, 16, 30, 60),
    "m1-ultramem": (40, 80, 160),
    "m1-megamem": (96,),
    **_N1,
}

ACCELERATORS = (*_WITH_MACHINE, *_ON_N1)

# What Dynamic Workload Scheduler does not queue for, and what it does (the page
# schedule-jobs-dws).
NO_FLEX_START = ("NVIDIA_RTX_PRO_6000", *_ON_N1)
FLEX_START = tuple(name for name in ACCELERATORS if name not in NO_FLEX_START)


def gpu_counts(accelerator):
    """Returns how many of a GPU one machine can have, a tuple of int."""
    return tuple(_WITH_MACHINE.get(accelerator) or _ON_N1[accelerator])


def knows(accelerator, gpus):
    """Whether the table has a machine with these GPUs; 0 of "" is none."""
    if not accelerator:
        return gpus == 0
    return accelerator in ACCELERATORS and gpus in gpu_counts(accelerator)


def machine_types(accelerator, gpus):
    """Returns the machine types that exist with these GPUs.

    Args:
        accelerator: str, a name of the API's `AcceleratorType`; empty: no GPU.
        gpus: int, on one machine; with `accelerator` it is one that the table
            `knows`.

    Returns:
        A list of str, the one to choose first.
    """
    if not accelerator:
        return _names(_WITHOUT_GPU)
    if accelerator in _WITH_MACHINE:
        return list(_WITH_MACHINE[accelerator][gpus])
    most = _ON_N1[accelerator][gpus]
    fitting = {
        family: [count for count in vcpus if count <= most]
        for family, vcpus in _N1.items()
    }
    # Eight vCPUs for each GPU keep it fed, as on the other machines.
    fitting["n1-standard"].sort(key=lambda count: abs(count - 8 * gpus))
    return _names(fitting)


def choose(accelerator, gpus):
    """Returns a machine type that exists with these GPUs.

    Raises:
        ConfigError: the table has none; the message has what it has.
    """
    if knows(accelerator, gpus):
        return machine_types(accelerator, gpus)[0]
    if accelerator not in ACCELERATORS:
        names = nearest(accelerator, ACCELERATORS) or ACCELERATORS
        raise ConfigError(
            f"--accelerator={accelerator} is not in this version's table of "
            f"machines ({DATE}, {SOURCE}); give its --machine_type as well, or "
            f"one of {', '.join(names)}."
        )
    counts = " or ".join(map(str, gpu_counts(accelerator)))
    raise ConfigError(
        f"No machine has {gpus} {accelerator} in this version's table of "
        f"machines ({DATE}, {SOURCE}); give its --machine_type as well, or "
        f"--gpus={counts}."
    )


def check(machine_type, accelerator, gpus):
    """Refuses a machine type that does not go with these GPUs.

    The table is of one day. What it does not have may exist by now, and is
    not refused.

    Args:
        machine_type: str.
        accelerator: str, a name of the API's `AcceleratorType`; empty: no GPU.
        gpus: int, on one machine.

    Returns:
        A warning when the table does not tell, or None.

    Raises:
        ConfigError: the table has all of them, but not together; the message
            has the machine types that would do.
    """
    if machine_type not in _MACHINE_TYPES:
        what = f"--machine_type={machine_type}"
        names = nearest(machine_type, _MACHINE_TYPES)
        return not_checked(what, "Vertex AI", names)
    if not knows(accelerator, gpus):
        what = f"--accelerator={accelerator} with --gpus={gpus}"
        return not_checked(what, "Vertex AI", nearest_gpus(accelerator))
    choices = machine_types(accelerator, gpus)
    if machine_type in choices:
        return None
    gpu = f"{gpus} {accelerator}" if accelerator else "no GPU"
    raise ConfigError(
        f"--machine_type={machine_type} does not go with {gpu} in this "
        f"version's table of machines ({DATE}, {SOURCE}); use one of "
        f"{', '.join(choices)}."
    )


def not_checked(what, who, names=()):
    """Returns the warning about what the table does not have.

    Args:
        what: str, the flags.
        who: str, what will take them or not.
        names: list of str, what in the table may have been meant.
    """
    meant = f" (the nearest in it: {', '.join(names)})" if names else ""
    return (
        f"{what} is not in this version's table of machines{meant}, so it is "
        f"not checked; {who} decides."
    )


def nearest_gpus(accelerator):
    """Returns the GPUs that may have been meant by a name, or the counts.

    Args:
        accelerator: str.

    Returns:
        A list of str: names; of a GPU that the table has, how many of it one
        machine can have.
    """
    if accelerator in ACCELERATORS:
        counts = " or ".join(map(str, gpu_counts(accelerator)))
        return [f"{counts} {accelerator}"]
    return nearest(accelerator, ACCELERATORS)


def nearest(name, names):
    """Returns at most three names that are like another, the nearest first."""
    by_core = {_core(each): each for each in sorted(names)}
    found = difflib.get_close_matches(
        _core(name), by_core, _MOST_NEAREST, _LEAST_LIKENESS
    )
    return [by_core[core] for core in found]


def _core(name):
    """Returns what tells a name from the others."""
    return re.sub("^nvidia[_-](tesla[_-])?", "", name.lower())


def _names(families):
    return [
        f"{family}-{count}"
        for family, vcpus in families.items()
        for count in vcpus
    ]


_MACHINE_TYPES = {
    *_names(_WITHOUT_GPU),
    *(
        name
        for of_count in _WITH_MACHINE.values()
        for names in of_count.values()
        for name in names
    ),
}
