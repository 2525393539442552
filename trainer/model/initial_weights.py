"""The weights of another job, for a new job to begin with.

They are arrays by name: no model of that job is built, and no code of it runs.
"""

import contextlib
import dataclasses
import os

import numpy as np

from trainer import places
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import checkpoint as checkpoint_lib
from trainer.job_dir.open import open_to_read
from trainer.model import averages
from trainer.model.weights import variables_of, weights_in

_NAMED = 10  # Of the weights that do not fit, in a message.


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights of a checkpoint of another job.

    Attributes:
        job: str, where that job lies.
        step: int, of the checkpoint.
        sha256: str, of its state file.
        arrays: dict of NumPy arrays by name: of each weight its average, if
            that job has one.
        are_averages: bool, whether it has.
    """

    job: str
    step: int
    sha256: str
    arrays: dict[str, np.ndarray]
    are_averages: bool

    def record(self):
        """Returns what a job records of them."""
        return {"job": self.job, "step": self.step, "sha256": self.sha256}

    def sentence(self, vae):
        """Returns what a model takes of them, and what not and why."""
        weights = variables_of(vae, None)
        fits, faults = fit(weights, self.arrays)
        count = (
            f"{len(fits)} of {len(weights)} weights"
            if faults
            else f"all {len(weights)} weights"
        )
        averaged = ", as their averages" if self.are_averages else ""
        rest = f"; not: {_listed(faults)}" if faults else ""
        return (
            f"Taken from {self.job} at step {self.step}: {count}{averaged}"
            f"{rest}."
        )


def refuse_itself(config):
    """Refuses a job that would begin with its own weights.

    Raises:
        ConfigError: `--init_from` names the job directory.
    """
    if not config.init_from:
        return
    folder, _ = places.split_checkpoint(config.init_from, "--init_from")
    source, job = places.parse(folder), places.parse(config.job_dir)
    are_local = not (source.in_bucket or job.in_bucket)
    if source == job or (
        are_local
        and os.path.realpath(source.path) == os.path.realpath(job.path)
    ):
        raise ConfigError(
            f"--init_from={config.init_from} is the --job_dir of this job; to "
            "go on with it leave --init_from out, or give another --job_dir "
            "to begin anew with its weights."
        )


def read(job, config, console, stop):
    """Returns the `InitialWeights` of a job without a checkpoint, or None.

    A job that was killed before it had its own copy takes those that it has
    recorded, or none.

    Args:
        job: a claimed `JobDir`.
        config: a `TrainConfig`.
        console: a `Console`.
        stop: a `StopSignal`.

    Raises:
        JobDirError: there is no such job or checkpoint, or it is damaged, or
            not what this job has recorded.
        ConfigError: a newer version of this package wrote it.
    """
    recorded = job.initial_weights()
    if job.exists and not recorded:
        return None
    if not job.exists and not config.init_from:
        return None
    if recorded:
        folder, which = recorded["job"], str(recorded["step"])
    else:
        folder, which = places.split_checkpoint(config.init_from, "--init_from")
    with (
        _named(job, recorded, config),
        open_to_read(folder, console, stop) as source,
    ):
        source.record()  # It says so when there is no job.
        saved = checkpoint_lib.select(source, which, f"--init_from={folder}@")
        if recorded and saved.sha256 != recorded["sha256"]:
            raise JobDirError(
                f"the checkpoint of step {saved.step} in {source.location} is "
                "another one now."
            )
        arrays, are_averages = weights_in(saved.variables)
        return InitialWeights(
            job=source.location,
            step=saved.step,
            sha256=saved.sha256,
            arrays=arrays,
            are_averages=are_averages,
        )


def fit(weights, arrays):
    """Returns which arrays can be which weights.

    Args:
        weights: dict of variables by name.
        arrays: dict of NumPy arrays by name.

    Returns:
        (fits, faults): a dict of arrays by name, and a dict of what is wrong
        with the others, by name.
    """
    fits, faults = {}, {}
    for name, weight in weights.items():
        array, shape = arrays.get(name), tuple(weight.shape)
        if array is None:
            faults[name] = "not there"
        elif array.shape != shape:
            faults[name] = f"shape {shape}, was {array.shape}"
        else:
            # Of another precision a value may become infinite.
            with np.errstate(over="ignore"):
                array = array.astype(weight.dtype)
            if np.all(np.isfinite(array)):
                fits[name] = array
            else:
                faults[name] = f"too large for {weight.dtype}"
    return fits, faults


def assign(vae, optimizer, arrays):
    """Gives a model the weights that fit it, and their average too.

    All workers of a job do so alike.

    Args:
        vae: a `VAE`.
        optimizer: its built `optimizer.Adam`.
        arrays: dict of NumPy arrays by name.

    Raises:
        ConfigError: none fits.
    """
    weights = variables_of(vae, None)
    fits, faults = fit(weights, arrays)
    if not fits:
        raise ConfigError(
            "No weight of the job that --init_from names fits this model "
            f"({_listed(faults)}); give the --model and --latent_dim of that "
            "job, or another one."
        )
    for name, array in fits.items():
        weights[name].assign(array)
    averages.begin(vae, optimizer)


@contextlib.contextmanager
def _named(job, recorded, config):
    """Says of an error that it is of the weights to begin with."""
    try:
        yield
    except (ConfigError, JobDirError) as error:
        if recorded:
            raise JobDirError(
                f"{job.location} was killed before it had a copy of the "
                f"weights that it begins with, and they cannot be read again: "
                f"{error} Restore them, or give another --job_dir."
            ) from error
        raise type(error)(f"--init_from={config.init_from}: {error}") from error


def _listed(faults):
    """Returns weights that do not fit and why, in one line that ends."""
    named = [f"{name} ({why})" for name, why in list(faults.items())[:_NAMED]]
    if len(faults) > _NAMED:
        named.append(f"{len(faults) - _NAMED} more")
    return ", ".join(named)
