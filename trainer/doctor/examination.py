"""All checks in their order: what is cheap and decides most comes first."""

import functools

import tensorflow as tf

from trainer import places
from trainer.distributed.devices import determinism_kept
from trainer.doctor import (
    accelerators,
    bucket,
    facts,
    folders,
    host,
    network,
    pace,
    resume,
    rows,
    software,
)
from trainer.doctor.case import Case


def run(config, topology, stop, console):
    """Looks at a machine and at what a job will need.

    Args:
        config: a `TrainConfig`.
        topology: the `Topology` of several machines; None for one alone.
        stop: a `StopSignal`.
        console: a `Console`.

    Yields:
        A `Row` for each check, as it is done.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    case = Case(config, topology, stop, console)
    with determinism_kept():
        for name, check in _checks(case):
            stop.check()
            yield rows.look(name, check)


def _checks(case):
    """Yields (name, function) of each check that concerns the job."""
    in_bucket = places.parse(case.config.job_dir).in_bucket
    checks = {
        "Python": software.python,
        "TensorFlow": software.tensorflow,
        "NVIDIA driver": software.driver,
        "clock": host.clock,
        "cores": host.cores,
        "shared memory": host.shared_memory,
        "machines": network.machines if case.topology else None,
        "bucket: list": bucket.lists if in_bucket else None,
        "bucket: write": bucket.writes if in_bucket else None,
        "data": facts.check,
        "schedule": pace.steps,
        "devices": accelerators.there,
    }
    gpus = len(tf.config.list_physical_devices("GPU"))
    for device in [f"GPU:{index}" for index in range(gpus)] or ["CPU:0"]:
        checks[device] = functools.partial(accelerators.multiplies, device)
    several = gpus > 1 or case.config.virtual_devices > 1
    checks |= {
        "all-reduce": accelerators.all_reduce if several else None,
        "memory": host.memory,
        "GPU memory": host.gpu_memory if gpus else None,
        "job folder": folders.job_folder,
        "job": resume.job,
        "time": pace.hours,
        "data folder": folders.data_folder,
    }
    for name, check in checks.items():
        if check:
            yield name, functools.partial(check, case)
