"""VAE Trainer: a training job for variational autoencoders.

`train` runs a job, and `load` returns the model of a job as a
`trainer.model.VAE`, which encodes, decodes and draws.

Importing this package is cheap on purpose: TensorFlow takes seconds to load,
and a job must be able to answer a stop signal before that.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from typing import TYPE_CHECKING, Any

from trainer import errors
from trainer.config import TrainConfig
from trainer.result import Result

if TYPE_CHECKING:
    from trainer.model.vae import VAE

# In the order of the API pages.
__all__ = ["train", "load", "Result", "errors", "__version__"]  # noqa: RUF022
__version__ = "0.4.0.dev0"


def train(**flags: Any) -> Result:
    """Trains a VAE, or goes on with one, as the command `vae-train` does.

    An interrupt (Ctrl-C, the stop button of a notebook, SIGTERM) saves the
    job and raises `InterruptedJobError`; calling this function again with the
    same arguments goes on. A second one, more than a second later, ends the
    call at once, and the work since the last checkpoint is done again. Signals
    are noticed in the main thread; in another one the job saves and ends when
    the main thread ends. What was set up for signals is afterwards as it was.

    A process trains one job at a time, on the devices of this machine.

    Args:
        **flags: the flags of `vae-train`, such as `job_dir="runs/vae",
            epochs=20, deterministic=False`. What is not given is at its
            default: docs/flags.md has all.

    Returns:
        A `Result`, also of a job that had finished before.

    Raises:
        trainer.errors.ConfigError: there is no such flag, or it cannot have
            that value; the sentence is that of the command.
        trainer.errors.InterruptedJobError: see above.
        trainer.errors.TrainerError: the job cannot go on; `trainer.errors`
            has the kinds.
    """
    from trainer import in_process

    return in_process.train(flags)


# So that help() and notebooks that complete names know all flags.
train.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.type,
        )
        for field in dataclasses.fields(TrainConfig)
    ],
    return_annotation=Result,
)


def load(
    job_dir: str | os.PathLike[str],
    checkpoint: str | int = "last",
    model: str = "",
) -> VAE:
    """Returns the trained model of a job directory.

    Args:
        job_dir: the `--job_dir` of the training run.
        checkpoint: `"last"`, `"best"` (by test loss) or a step number.
        model: the `--model` of the training run. A job of
            `package.module:function` needs it: the code that Python finds
            under this name is run.

    Returns:
        A `trainer.model.VAE` with the weights of that checkpoint.

    Raises:
        trainer.errors.JobDirError: there is no such job or checkpoint.
        trainer.errors.ConfigError: this version cannot read its record, or
            its model is another.
    """
    from trainer.runtime import chatter

    chatter.import_tensorflow()
    from trainer.model import trained

    return trained.load_model(job_dir, checkpoint, model)
