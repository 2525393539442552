"""All checks in their order: what is cheap and decides most comes first."""

import contextlib
import dataclasses
import functools
import threading

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

# A check may take so long. The first kernels of a GPU are compiled meanwhile,
# for which a job waits as long: "could take 30 minutes or longer"
# (tensorflow#60739).
SECONDS, COMPILING_SECONDS = 300.0, 1800.0


def run(config, topology, stop, console, hung=None):
    """Looks at a machine and at what a job will need.

    Args:
        config: a `TrainConfig`.
        topology: the `Topology` of several machines; None for one alone.
        stop: a `StopSignal`.
        console: a `Console`.
        hung: function that ends this process; it gets the `Row` of a check
            that does not end, on a thread of its own. None: such a check is
            waited for.

    Yields:
        A `Row` for each check, as it is done.

    Raises:
        InterruptedJobError: the stop signal came.
    """
    case = Case(config, topology, stop, console)
    with determinism_kept():
        for name, check in _checks(case):
            stop.check()
            with _limited(name, hung):
                row = rows.look(name, check)
            yield row


@contextlib.contextmanager
def _limited(name, hung):
    """Calls `hung` if the block does not end in time."""
    if hung is None:
        yield
        return
    compiles = name == "time" or name.startswith(("GPU:", "CPU:"))
    seconds = COMPILING_SECONDS if compiles else SECONDS
    row = rows.failure(
        f"It has not ended in {seconds:g} seconds; what comes after it was not "
        "looked at.",
        "Something that it waits for hangs: a device, the driver, or a file "
        "system of the network. Restart the machine, or take another.",
    )
    row = dataclasses.replace(row, name=name)
    timer = threading.Timer(seconds, hung, [row])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
