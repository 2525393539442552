"""A trained model with all that belongs to it, as the commands want it."""

import contextlib
import dataclasses

from trainer.config import TrainConfig
from trainer.data import datasets
from trainer.job_dir import checkpoint
from trainer.job_dir.job_dir import JobDir, open_to_read
from trainer.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint of a job.

    Attributes:
        job: the `JobDir`.
        config: the `TrainConfig` of the job.
        step: of the checkpoint.
        vae: the `VAE` with the weights of the checkpoint.
    """

    job: JobDir
    config: TrainConfig
    step: int
    vae: VAE

    def data(self, console, stop):
        """Returns the `Dataset` that the model was trained on.

        Raises:
            As `datasets.load`.
            DataError: it is not what it was.
        """
        data = datasets.load(
            self.config,
            console,
            stop,
            recorded_name=self.job.record()["data"]["name"],
        )
        self.job.check_data(data)
        return data


@contextlib.contextmanager
def open_trained(flag_values, console):
    """Reads the checkpoint that the flags of a command name.

    Args:
        flag_values: as from `runtime.flags.new_job_flags`, parsed.
        console: a `progress.Console`.

    Yields:
        A `Trained`. The job directory of a bucket is there during the block.

    Raises:
        JobDirError: there is no such job or checkpoint, or it is damaged.
    """
    with open_to_read(flag_values["job_dir"].value, console) as job:
        job.record()  # Says so when there is no job at all.
        saved = checkpoint.select(job, flag_values["checkpoint"].value)
        vae = checkpoint.model_of(job, saved)
        yield Trained(job, job.config(), saved.step, vae)
