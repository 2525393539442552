"""VAE Trainer: a training job for convolutional variational autoencoders.

Importing this package is cheap on purpose: TensorFlow takes seconds to load,
and a job must be able to answer a stop signal before that.
"""

__version__ = "0.3.0"


def load(job_dir, checkpoint="last", model=""):
    """Returns the trained model of a job directory.

    Args:
        job_dir: the `--job_dir` of the training run.
        checkpoint: `"last"`, `"best"` (by test loss) or a step number.
        model: the `--model` of the training run. A job of
            `package.module:function` needs it: the code that Python finds
            under this name is run.

    Returns:
        A `trainer.model.vae.VAE` with the weights of that checkpoint.

    Raises:
        trainer.errors.JobDirError: there is no such job or checkpoint.
        trainer.errors.ConfigError: this version cannot read its record, or
            its model is another.
    """
    from trainer.model import trained

    return trained.load_model(job_dir, checkpoint, model)
