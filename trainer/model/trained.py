"""A trained model with all that belongs to it, as the commands want it."""

import contextlib
import dataclasses

from trainer.config import TrainConfig
from trainer.data import sources
from trainer.errors import ConfigError, JobDirError
from trainer.job_dir import checkpoint
from trainer.job_dir.open import JobDir, open_to_read
from trainer.model import averages
from trainer.model.build import build_vae, description
from trainer.model.vae import VAE
from trainer.model.weights import variables_of
from trainer.model_flags import BUILT_IN
from trainer.runtime.console import Console


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint of a job.

    Attributes:
        job: the `JobDir`.
        config: the `TrainConfig` of the job.
        step: of the checkpoint.
        vae: the `VAE` with the weights of the checkpoint.
        class_names: tuple of str, of the classes that the model is given, by
            label; empty if it is given none.
    """

    job: JobDir
    config: TrainConfig
    step: int
    vae: VAE
    class_names: tuple[str, ...] = ()

    def data(self, console, stop):
        """Returns the `Dataset` that the model was trained on.

        Raises:
            As `sources.load`.
            DataError: it is not what it was.
        """
        data = sources.load(
            self.config,
            console,
            stop,
            recorded_name=self.job.record()["data"]["name"],
        )
        self.job.check_data(data)
        return data


def at_each_checkpoint(trained):
    """Yields a `Trained` for each checkpoint of its job, in order.

    They share one model, which has the weights of each until the next one is
    asked for, and those of the last in the end.

    Args:
        trained: a `Trained`.

    Raises:
        JobDirError: a checkpoint is damaged.
    """
    job = trained.job
    for step in checkpoint.list_steps(job):
        folder = job.checkpoint(step)
        try:
            saved = checkpoint.read(folder)
        except checkpoint.DamagedCheckpointError as error:
            if step not in checkpoint.list_steps(job):
                continue  # A training that runs has removed it just now.
            raise JobDirError(
                f"{folder} is damaged ({error}); restore it, or move it away."
            ) from error
        _assign(trained.vae, saved, trained.config, job)
        yield dataclasses.replace(trained, step=step)


def load_model(job_dir, wanted="last", model=""):
    """Returns the `VAE` of a job directory; see `trainer.load`."""
    with open_to_read(job_dir, Console()) as job:
        return _load(job, str(wanted), model).vae


@contextlib.contextmanager
def open_trained(flag_values, console, stop, also=()):
    """Reads the checkpoint that the flags of a command name.

    Args:
        flag_values: as from `runtime.flags.new_job_flags`, parsed.
        console: a `Console`.
        stop: a `StopSignal`.
        also: as of `open_to_read`.

    Yields:
        A `Trained`. The job directory of a bucket is there during the block.

    Raises:
        JobDirError: there is no such job or checkpoint, or it is damaged.
        ConfigError: its model is another than the flags name.
        InterruptedJobError: the stop signal came.
    """
    with open_to_read(flag_values["job_dir"].value, console, stop, also) as job:
        yield _load(
            job, flag_values["checkpoint"].value, flag_values["model"].value
        )


def _load(job, wanted, model):
    """Returns the `Trained` of a checkpoint: see `checkpoint.select`."""
    # First of all: it says so when there is no job.
    config, image_shape = job.config(), tuple(job.of_data("image_shape"))
    _check_named(job, config.model, model)
    job.check_model(description(config))
    class_names = job.classes()
    saved = checkpoint.select(job, wanted)
    try:
        vae = build_vae(config, image_shape, job.arithmetic(), len(class_names))
    except ValueError as error:
        raise JobDirError(
            f"{job.config_path} records what no model can be made of ({error})"
            "; restore it, or give another --job_dir."
        ) from error
    _assign(vae, saved, config, job)
    return Trained(job, config, saved.step, vae, class_names)


def _assign(vae, saved, config, job):
    """Gives a model the weights of a checkpoint, averaged ones if it can."""
    arrays = saved.variables
    if config.ema:
        arrays = averages.arrays_of(vae, arrays)
    checkpoint.assign(variables_of(vae, None), arrays, job.location)


def _check_named(job, recorded, named):
    """Refuses to run code that a job directory names, and the user does not.

    Args:
        job: the `JobDir`, which may be of somebody else.
        recorded: str, the `--model` that the job records.
        named: str, the `--model` that the user gave; empty if none.

    Raises:
        ConfigError: the user named another, or has to name this one.
    """
    if named and named != recorded:
        raise ConfigError(
            f"--model={named}, but {job.location} was trained with "
            f"--model={recorded}; give that, or another --job_dir."
        )
    if not named and recorded not in BUILT_IN:
        raise ConfigError(
            f"{job.location} was trained with --model={recorded}, and reading "
            "it would run the code that Python finds under that name here; if "
            f"you trust that, add --model={recorded} (in Python: "
            f'trainer.load(..., model="{recorded}")).'
        )
