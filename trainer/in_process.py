"""A training inside of a process that is not ours: a script, a notebook."""

import os
import threading

from trainer.distributed import topology
from trainer.errors import ConfigError, TrainerError
from trainer.runtime import chatter, gpu_environment, training_flags
from trainer.runtime.console import Console
from trainer.runtime.interrupts import noticed

# TensorFlow has one set of devices, and one determinism, for all threads.
_TRAINING = threading.Lock()


def train(settings):
    """Trains as `trainer.train`, which says what it returns and raises.

    Args:
        settings: dict of the settings that are given, by name.
    """
    config = training_flags.config_of(settings)
    found = topology.find(os.environ, config.strategy)
    if found is not None:
        raise ConfigError(
            "TF_CONFIG, Slurm or Kubernetes says that this is one of "
            f"{len(found.hosts)} machines of a job, but trainer.train trains "
            "in this process alone; run vae-train on all of them, or give "
            'strategy="mirrored" to stay on this machine.'
        )
    if not _TRAINING.acquire(blocking=False):
        raise TrainerError(
            "This process is training a job already; call trainer.train when "
            "that has ended, or in another process."
        )
    try:
        # Before TensorFlow is imported: an import that an interrupt breaks off
        # cannot be made up for in the same process.
        with noticed() as stop:
            gpu_environment.prepare(config)
            chatter.import_tensorflow()
            from trainer import job
            from trainer.distributed import devices

            stop.check()
            if not devices.has_its_threads(config):
                Console(config.log_format).warning(
                    "TensorFlow ran in this process before the job and keeps "
                    "its threads, so the result is not that of vae-train bit "
                    "for bit. If that matters, train first in a new process."
                )
            with devices.determinism_kept():
                result = job.train_and_evaluate(config, stop=stop)
            # One that came too late to stop the job is not to be lost.
            stop.check()
            return result
    finally:
        _TRAINING.release()
