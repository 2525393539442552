"""Command: the encoder and decoder of any checkpoint as Keras files."""

import pathlib
import sys

from absl import flags

from trainer import config as config_lib, files
from trainer.command import quiet_tensorflow, report_errors


def save_models(vae, folder):
    """Writes `encoder.keras` and `decoder.keras` into a folder.

    They load with `keras.models.load_model`, without this package.

    Args:
        vae: a `trainer.model.VAE`.
        folder: a `pathlib.Path`; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(folder)
    for part in (vae.encoder, vae.decoder):
        # Keras wants a name that ends in .keras, and writes in place.
        unfinished = folder / f"{files.TEMPORARY_PREFIX}{part.name}.keras"
        part.save(unfinished)
        files.publish(unfinished, folder / f"{part.name}.keras")


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
                from trainer import checkpoint, model  # noqa: F401 - quietly.
                from trainer.job_dir import open_to_read, publish_folder
                from trainer.progress import Console
            with open_to_read(flag_values["job_dir"].value, Console()) as job:
                job.record()
                saved = checkpoint.select(job, flag_values["checkpoint"].value)
                output = flag_values["output"].value
                folder = pathlib.Path(output or job.export)
                save_models(checkpoint.model_of(job, saved), folder)
                if not output:
                    publish_folder(job, folder)
                print(
                    f"Encoder and decoder of step {saved.step}: "
                    f"{output or f'{job.location}/export'}"
                )
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
