"""What Vertex AI tells a job through its environment, and wants to hear.

https://cloud.google.com/vertex-ai/docs/training/code-requirements
"""

import os

from trainer.errors import ConfigError, InterruptedJobError

# Vertex gives each of these a folder of that name, all in one base folder:
# that of the job, or the trial's own below it.
_FOLDERS = {
    "AIP_MODEL_DIR": "model",
    "AIP_CHECKPOINT_DIR": "checkpoints",
    "AIP_TENSORBOARD_LOG_DIR": "logs",
}
_TRIAL = "CLOUD_ML_TRIAL_ID"
# That of an abort (SIGABRT) in a container.
_RUN_AGAIN = 134
# Asks for it elsewhere, as under Kubeflow's TFJob.
_AS_ABORT = "RUN_AGAIN_AS_ABORT"
_METRIC = "total_loss"


def is_here():
    """Whether this process runs on Vertex AI."""
    return "CLOUD_ML_PROJECT_ID" in os.environ or any(
        name in os.environ for name in _FOLDERS
    )


def job_dir():
    """Returns the job directory that Vertex means, or None.

    The layout of a job directory has TensorBoard's events and the checkpoints
    just where Vertex expects them, so it is the folder around all of them.

    Raises:
        ConfigError: the folders that Vertex names are not in one folder.
    """
    bases = {}
    for variable, name in _FOLDERS.items():
        folder = os.environ.get(variable, "").rstrip("/")
        if folder:
            base, _, last = folder.rpartition("/")
            if last != name or not base:
                raise ConfigError(
                    f"{variable}={folder} does not end in /{name}; set "
                    "--job_dir, or give the Vertex job a base output directory."
                )
            bases[base] = variable
    if len(bases) > 1:
        raise ConfigError(
            f"{' and '.join(bases.values())} are not in one folder "
            f"({', '.join(bases)}); set --job_dir."
        )
    return next(iter(bases), None)


def wants_model(location):
    """Whether Vertex looks for the model of a job directory in `model/`."""
    wanted = os.environ.get("AIP_MODEL_DIR", "").rstrip("/")
    return wanted == f"{location.rstrip('/')}/{_FOLDERS['AIP_MODEL_DIR']}"


def exit_code(code):
    """Returns the exit code that means what ours does to who runs the job.

    Vertex takes most codes for an error of the program that will come again,
    75 among them, and ends the job; after an abort it runs the worker again.
    https://cloud.google.com/vertex-ai/docs/training/understanding-training-service
    So does the operator of a TFJob, whose manifest says so.
    """
    wants_abort = is_here() or _AS_ABORT in os.environ
    if wants_abort and code == InterruptedJobError.exit_code:
        return _RUN_AGAIN
    return code


def trial_reporter():
    """Returns what tells Vertex how good this trial is.

    Returns:
        A function of a test row of `metrics.jsonl`, which reports its
        `total_loss`; one that does nothing where no trial is running.

    Raises:
        ConfigError: this is a trial, and cloudml-hypertune is not installed.
    """
    if _TRIAL not in os.environ:
        return lambda row: None
    try:
        import hypertune
    except ImportError as error:
        raise ConfigError(
            f"{_TRIAL} says that this is a trial of a tuning job, but "
            "cloudml-hypertune is not installed to report its result; install "
            'it: pip install "vae-trainer[tuning]".'
        ) from error
    tuner = hypertune.HyperTune()

    def report(row):
        tuner.report_hyperparameter_tuning_metric(
            hyperparameter_metric_tag=_METRIC,
            metric_value=row[_METRIC],
            global_step=row["step"],
        )

    return report
