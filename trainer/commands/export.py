"""Command: any checkpoint as a SavedModel for servers, and as Keras files."""

import sys

from absl import flags

from trainer import config as config_lib, files, places
from trainer.runtime.command import quiet_tensorflow, report_errors

# TensorFlow Serving looks for folders named by versions, and serves the
# highest.
_SAVED_MODEL, _VERSION = "saved_model", "1"


def save_models(vae, folder):
    """Writes `encoder.keras`, `decoder.keras` and `saved_model/1`.

    None of them needs this package. Each replaces what was there, and is
    there whole or not at all.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`; made if it is not there.
    """
    versions = folder / _SAVED_MODEL
    versions.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(folder)
    files.remove_unfinished(versions)
    for part in (vae.encoder, vae.decoder):
        # Keras wants a name that ends in .keras, and writes in place.
        unfinished = folder / f"{files.TEMPORARY_PREFIX}{part.name}.keras"
        part.save(unfinished)
        files.publish(unfinished, folder / f"{part.name}.keras")
    with files.new_folder(versions / _VERSION) as unfinished:
        _save_saved_model(vae, unfinished)


def save_model_for_vertex(vae, folder):
    """Writes what Vertex AI takes as the model of a training job.

    Its TensorFlow containers want the SavedModel at the top of the folder.
    https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
    The Keras files stand beside it.

    Args:
        vae: a `trainer.model.vae.VAE`.
        folder: a `pathlib.Path`, replaced as a whole.
    """
    with files.new_folder(folder) as unfinished:
        _save_saved_model(vae, unfinished)
        for part in (vae.encoder, vae.decoder):
            part.save(unfinished / f"{part.name}.keras")


def _save_saved_model(vae, folder):
    # Imported here: a command loads TensorFlow when its flags are right.
    from trainer.model import saved_model

    saved_model.save_saved_model(vae, folder)


def main():
    """Exports a checkpoint; the console script `vae-export`.

    Returns:
        The exit code, as `trainer.task.main`.
    """
    flag_values = config_lib.new_job_flags()
    flags.DEFINE_string(
        "output",
        "",
        "folder for the models; default JOB_DIR/export",
        flag_values=flag_values,
    )
    with report_errors() as outcome:
        if config_lib.parse_command(flag_values, sys.argv[1:], "vae-export"):
            with quiet_tensorflow():
                from trainer.model import saved_model  # noqa: F401 - loaded quietly.
            _export(flag_values)
    return outcome.exit_code


def _export(flag_values):
    from trainer.job_dir.open import publish_folder
    from trainer.model.trained import open_trained
    from trainer.runtime.console import Console

    output = flag_values["output"].value
    output = output and places.parse_local(output, "--output")
    console = Console()
    with open_trained(flag_values, console) as trained:
        job = trained.job
        folder = output or job.export
        save_models(trained.vae, folder)
        if not output:
            publish_folder(job, folder)
        console.line(
            f"SavedModel, encoder and decoder of step {trained.step}: "
            f"{output or f'{job.location}/export'}"
        )


if __name__ == "__main__":
    sys.exit(main())
